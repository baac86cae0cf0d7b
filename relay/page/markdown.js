/**
 * Markdown shown while it is being written. Builds DOM nodes from a fixed set of elements and never parses HTML,
 * so nothing in the text can become more than text.
 *
 * Only what may still change is looked at again: blocks that are finished are left alone, and inside the open block
 * only the nodes that differ are touched. A long answer costs per token what a short one does, and a selection
 * made by the reader survives.
 *
 * @typedef {import("./markdown-inline.js").MarkNode} MarkNode
 */
import { codeBlock, setCode } from "./code-block.js";
import { setText } from "./dom.js";
import { parseBlocks } from "./markdown-blocks.js";
import { safeAddress } from "./markdown-links.js";

const ELEMENTS = new Set(
  "p h1 h2 h3 h4 h5 h6 hr blockquote ul ol li strong em del code a br div table thead tbody tr th td".split(" "),
);
const ATTRIBUTES = new Set(["href", "start", "class", "tabindex"]);

/** One text, growing inside `root`, which it owns. */
export class MarkdownView {
  #root;
  /** What follows the finished blocks. */
  #tail = "";
  /** @type {MarkNode[]} */
  #shown = [];
  /** Where the nodes of the tail begin in `root`. */
  #settled = 0;

  /** @param {Element} root an empty element */
  constructor(root) {
    this.#root = root;
  }

  /**
   * Show more of the text.
   *
   * @param {string} more
   */
  append(more) {
    if (more !== "") {
      this.#tail += more;
      this.#render(true);
    }
  }

  /** The text is complete: what only looked like emphasis or code is so no more. */
  finish() {
    this.#render(false);
  }

  /** @param {boolean} growing */
  #render(growing) {
    const blocks = parseBlocks(this.#tail, growing);
    const nodes = blocks.map(({ node }) => node);
    patchChildren(this.#root, this.#settled, this.#shown, nodes);
    const settled = growing ? settledCount(blocks, this.#tail) : 0;
    this.#shown = nodes.slice(settled);
    this.#settled += settled;
    if (settled > 0) {
      this.#tail = this.#tail.slice(lineStart(this.#tail, blocks[settled].line));
    }
  }
}

/**
 * How many of the blocks cannot change any more: those before one that begins with a complete line.
 *
 * @param {import("./markdown-blocks.js").Placed[]} blocks
 * @param {string} text
 */
function settledCount(blocks, text) {
  const completeLines = text.split("\n").length - 1;
  const last = blocks.findLastIndex(({ line }) => line < completeLines);
  return Math.max(last, 0);
}

/**
 * @param {string} text
 * @param {number} line
 */
function lineStart(text, line) {
  let at = 0;
  for (let skipped = 0; skipped < line; skipped += 1) {
    at = text.indexOf("\n", at) + 1;
  }
  return at;
}

/**
 * Make the children of `parent` from `first` on show `after` where they showed `before`.
 *
 * @param {Element} parent
 * @param {number} first
 * @param {MarkNode[]} before
 * @param {MarkNode[]} after
 */
function patchChildren(parent, first, before, after) {
  let dom = /** @type {ChildNode | null} */ (parent.childNodes[first] ?? null);
  for (let index = 0; index < after.length; index += 1) {
    const [old, node] = [before[index], after[index]];
    const next = dom?.nextSibling ?? null;
    if (dom === null) {
      parent.append(build(node));
    } else if (old !== undefined && isSameKind(old, node)) {
      patch(dom, old, node);
    } else {
      dom.replaceWith(build(node));
    }
    dom = next;
  }
  while (dom !== null) {
    const next = dom.nextSibling;
    dom.remove();
    dom = next;
  }
}

/**
 * @param {MarkNode} one
 * @param {MarkNode} other
 */
function isSameKind(one, other) {
  const [mine, theirs] = [Object.entries(one.attrs ?? {}), other.attrs ?? {}];
  return (
    one.tag === other.tag &&
    mine.length === Object.keys(theirs).length &&
    mine.every(([name, value]) => theirs[name] === value)
  );
}

/**
 * @param {Node} dom
 * @param {MarkNode} old
 * @param {MarkNode} node
 */
function patch(dom, old, node) {
  if (node.tag === "#code") {
    setCode(/** @type {Element} */ (dom), node.text ?? "");
  } else if (node.tag === "#text") {
    setText(/** @type {Text} */ (dom), node.text ?? "");
  } else if (node.children !== undefined) {
    patchChildren(/** @type {Element} */ (dom), 0, old.children ?? [], node.children);
  }
}

/**
 * @param {MarkNode} node
 * @returns {Node}
 */
function build(node) {
  if (node.tag === "#text" || !(node.tag === "#code" || ELEMENTS.has(node.tag))) {
    return document.createTextNode(node.text ?? "");
  }
  if (node.tag === "#code") {
    return codeBlock(node.attrs?.language ?? "", node.text ?? "");
  }
  const element = document.createElement(node.tag);
  for (const [name, value] of Object.entries(node.attrs ?? {})) {
    if (ATTRIBUTES.has(name) && (name !== "href" || safeAddress(value) !== null)) {
      element.setAttribute(name, value);
    }
  }
  if (node.tag === "a") {
    element.setAttribute("rel", "noopener noreferrer");
    element.setAttribute("target", "_blank");
  }
  element.append(...(node.children ?? []).map(build));
  return element;
}
