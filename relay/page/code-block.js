/** A block of code: its language, a Copy button, and text that can grow. */
import { copyButton, h, setText } from "./dom.js";

/**
 * @param {string} language
 * @param {string} text
 * @returns {HTMLElement}
 */
export function codeBlock(language, text) {
  const code = h("code", {}, document.createTextNode(text));
  const label = language || "text";
  const head = h("figcaption", {}, h("span", {}, label), copyButton(() => code.textContent ?? ""));
  return h("figure", { class: "code" }, head, h("pre", { tabindex: "0", "aria-label": `Code, ${label}` }, code));
}

/**
 * Show `text` in a block made by `codeBlock`; what is shown already is not touched.
 *
 * @param {Element} block
 * @param {string} text
 */
export function setCode(block, text) {
  const code = /** @type {Element} */ (block.querySelector("code"));
  setText(/** @type {Text} */ (code.firstChild), text);
}
