/** Small helpers to build elements and to put text on the clipboard. */

/**
 * A new element.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string>} attrs
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attrs, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * A button.
 *
 * @param {string} label
 * @param {string} className
 * @param {() => void} act
 */
export function button(label, className, act) {
  const element = h("button", { type: "button", class: className }, label);
  element.addEventListener("click", act);
  return element;
}

/**
 * A button that copies, and says so.
 *
 * @param {() => string} text asked for when it is pressed
 */
export function copyButton(text) {
  const element = button("Copy", "quiet", async () => {
    element.textContent = (await copy(text())) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (element.textContent = "Copy"), 1600);
  });
  return element;
}

/**
 * Put the text on the clipboard. False when the browser does not let us.
 *
 * @param {string} text
 * @returns {Promise<boolean>}
 */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages served without TLS have no clipboard API; the older way still works there.
    return copySelection(text);
  }
}

/** @param {string} text */
function copySelection(text) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const area = h("textarea", { class: "unseen", readonly: "" });
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}

/**
 * The element of the page with that id. It is part of index.html.
 *
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) {
    throw new Error(`the page has no ${kind.name} #${id}`);
  }
  return found;
}

/**
 * Change a text node by as little as possible: a selection inside it survives.
 *
 * @param {Text} node
 * @param {string} text
 */
export function setText(node, text) {
  if (text.length > node.data.length && text.startsWith(node.data)) {
    node.appendData(text.slice(node.data.length));
  } else if (text !== node.data) {
    node.data = text;
  }
}
