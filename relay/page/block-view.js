/**
 * How one block of an answer looks: text as Markdown that is still being written, thinking folded away, tool calls
 * with their arguments.
 *
 * @typedef {import("../clients/js/index.js").Block} Block
 *
 * @typedef {object} BlockView
 * @property {HTMLElement} element
 * @property {(block: Block, elapsedMs: number | null) => boolean} show show what is due of the block, everything
 *   if `elapsedMs` is null; true while more of what has arrived is to be shown
 */
import { setCode, codeBlock } from "./code-block.js";
import { h, setText } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { charactersDue, wholeCharacter } from "../clients/js/smooth.js";

/**
 * The view for a block of that kind.
 *
 * @param {string} kind
 * @returns {BlockView}
 */
export function blockView(kind) {
  if (kind === "text") {
    return new TextView();
  }
  return kind === "thinking" ? new ThinkingView() : new ToolView(kind);
}

/** @implements {BlockView} */
class TextView {
  element = h("div", { class: "prose" });
  #markdown = new MarkdownView(this.element);
  #shown = 0;
  #finished = false;

  /**
   * @param {Block} block
   * @param {number | null} elapsedMs
   */
  show(block, elapsedMs) {
    const waiting = block.text.length - this.#shown;
    if (waiting > 0) {
      const due = elapsedMs === null ? waiting : charactersDue(waiting, elapsedMs);
      const end = wholeCharacter(block.text, this.#shown + due);
      this.#markdown.append(block.text.slice(this.#shown, end));
      this.#shown = end;
    }
    const more = this.#shown < block.text.length;
    if (block.complete && !more && !this.#finished) {
      this.#finished = true;
      this.#markdown.finish();
    }
    return more;
  }
}

/** @implements {BlockView} */
class ThinkingView {
  #text = document.createTextNode("");
  #summary = h("summary", {}, "Thinking");
  element = h("details", { class: "aside thinking" }, this.#summary, h("p", {}, this.#text));

  /** @param {Block} block */
  show(block) {
    setText(this.#text, block.text);
    this.#summary.textContent = block.complete ? "Thought" : "Thinking";
    return false;
  }
}

/** A tool's call or result, or what a provider sent that nobody here knows. @implements {BlockView} */
class ToolView {
  #kind;
  #summary = h("summary", {});
  #body = codeBlock("json", "");
  #shown = "";
  element = h("details", { class: "aside tool" }, this.#summary, this.#body);

  /** @param {string} kind */
  constructor(kind) {
    this.#kind = kind;
    this.element.open = kind === "tool_use";
  }

  /** @param {Block} block */
  show(block) {
    const text = block.json || (block.data === undefined ? "" : JSON.stringify(block.data, null, 2));
    const due = block.complete ? indented(text) : text;
    if (due !== this.#shown || this.#summary.childNodes.length === 0) {
      this.#shown = due;
      setCode(this.#body, due);
      this.#body.hidden = due === "" || due === "{}";
      this.#summary.replaceChildren(...this.#title(block));
    }
    return false;
  }

  /** @param {Block} block */
  #title(block) {
    const what = { tool_use: "Tool call", tool_result: "Tool result" }[this.#kind] ?? "Data";
    return block.name === undefined ? [what] : [`${what} `, h("code", {}, block.name)];
  }
}

/**
 * JSON laid out for reading; what is no JSON as it is.
 *
 * @param {string} text
 */
function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
