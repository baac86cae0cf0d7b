/**
 * Emphasis: which of the markers in a paragraph (stars, underscores, tildes) open and close what, by the rules of
 * CommonMark. Collects the paragraph's nodes as they are found.
 *
 * @typedef {import("./markdown-inline.js").MarkNode} MarkNode
 *
 * @typedef {object} Span an emphasis that is open
 * @property {string} marker
 * @property {number} count how many of its marker characters are still unused
 * @property {number} at where it opened
 * @property {boolean} afterWord it follows a letter or digit directly
 * @property {MarkNode[]} children
 *
 * @typedef {object} Run a row of equal marker characters
 * @property {string} marker
 * @property {number} count
 * @property {number} at
 * @property {string} before the character before it
 * @property {string} after the character after it; "" at the end of the text
 */

/** More at once are no emphasis but an attack; beyond, markers are text. */
const MAX_OPEN_SPANS = 32;
/** How far back an emphasis without its end is still believed to be meant as one while the text grows. */
export const MAX_PENDING = 500;
export const PUNCTUATION = /[!-/:-@[-`{-~\u2010-\u2027\u2030-\u205e]/;
export const WORD = /[\p{L}\p{N}]/u;

/** The nodes of one paragraph while it is being read. */
export class NodeStack {
  #growing;
  /** @type {MarkNode[]} */
  #root = [];
  /** @type {Span[]} */
  #open = [];

  /** @param {boolean} growing more text will follow */
  constructor(growing) {
    this.#growing = growing;
  }

  /** @param {MarkNode} node */
  add(node) {
    const into = this.#open.at(-1)?.children ?? this.#root;
    const last = into.at(-1);
    if (node.tag === "#text" && last?.tag === "#text") {
      last.text = /** @type {string} */ (last.text) + node.text;
    } else {
      into.push(node);
    }
  }

  /** @param {string} text */
  say(text) {
    if (text !== "") {
      this.add({ tag: "#text", text });
    }
  }

  /** @param {Run} run */
  mark(run) {
    const { marker, count, at, before } = run;
    const after = run.after || (this.#growing ? "a" : " ");
    const canOpen = flanks(before, after) && (marker !== "_" || !WORD.test(before));
    const canClose = flanks(after, before) && (marker !== "_" || !WORD.test(run.after || " "));
    if (run.after === "" && this.#growing && this.#isPartOfClose(run)) {
      return;
    }
    const left = canClose ? this.#close(marker, count) : count;
    const usable = marker === "~" ? left === 2 : left <= 3;
    if (left > 0 && canOpen && usable && this.#open.length < MAX_OPEN_SPANS) {
      this.#open.push({ marker, count: left, at, afterWord: WORD.test(before), children: [] });
    } else {
      this.say(marker.repeat(left));
    }
  }

  /**
   * The text is over. What is still open is believed to be emphasis if more will follow and it looks like it; else
   * its markers are text.
   *
   * @param {number} length of the text
   * @returns {MarkNode[]}
   */
  finish(length) {
    for (let span = this.#open.at(-1); span !== undefined; span = this.#open.at(-1)) {
      const pending = this.#growing && length - span.at < MAX_PENDING && !(span.afterWord && span.count === 1);
      if (!pending) {
        this.#giveUp();
      } else if (span.children.length === 0) {
        this.#open.pop();
      } else {
        this.#close(span.marker, span.count);
      }
    }
    return this.#root;
  }

  /**
   * Tell whether a run at the end of growing text is the first half of what closes the innermost emphasis.
   *
   * @param {Run} run
   */
  #isPartOfClose({ marker, count }) {
    const span = this.#open.at(-1);
    return span !== undefined && span.marker === marker && span.count > count && span.children.length > 0;
  }

  /**
   * Close what `count` markers can close, and return how many are left.
   *
   * @param {string} marker
   * @param {number} count
   */
  #close(marker, count) {
    while (count > 0) {
      const index = this.#open.findLastIndex(
        (span) => span.marker === marker && span.children.length > 0 && (marker !== "~" || count === 2),
      );
      if (index === -1) {
        return count;
      }
      while (this.#open.length > index + 1) {
        this.#giveUp();
      }
      const span = /** @type {Span} */ (this.#open.pop());
      const used = Math.min(2, count, span.count);
      const node = { tag: marker === "~" ? "del" : used === 2 ? "strong" : "em", children: span.children };
      if (span.count > used) {
        this.#open.push({ ...span, count: span.count - used, children: [node] });
      } else {
        this.add(node);
      }
      count -= used;
    }
    return count;
  }

  /** The innermost open emphasis was none: its markers are text. */
  #giveUp() {
    const span = /** @type {Span} */ (this.#open.pop());
    this.say(span.marker.repeat(span.count));
    span.children.forEach((node) => this.add(node));
  }
}

/**
 * Tell whether a run of markers between these two characters leans on the second.
 *
 * @param {string} far
 * @param {string} near
 */
function flanks(far, near) {
  return !/\s/.test(near) && (!PUNCTUATION.test(near) || /\s/.test(far) || PUNCTUATION.test(far));
}
