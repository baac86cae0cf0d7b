/**
 * The block part of Markdown: paragraphs, headings, lists, quotes, code, tables and rules, as plain nodes.
 *
 * Departures from CommonMark, made for what models write: a line break in a paragraph is kept; four spaces make no
 * code; `---` is always a rule; a list nested with fewer spaces than the standard asks for is still nested.
 *
 * @typedef {import("./markdown-inline.js").MarkNode} MarkNode
 * @typedef {{node: MarkNode, line: number}} Placed a node and the line it begins on
 */
import { parseInline } from "./markdown-inline.js";
import { parseTable, startsTable } from "./markdown-table.js";

/** Quotes and lists inside each other; beyond, markers are text. */
const MAX_DEPTH = 8;

const FENCE = /^ {0,12}(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const TASK = /^\[([ xX])\] /;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(?:([ \t]+)(?=\S)|[ \t]*$)/;
/** A last line that may become anything: not shown until it is clear what it is. */
const UNDECIDED = /^[ \t]*(?:[-*+_]{1,2}|\d{1,9}[.)]?|#{1,6}|[`~]{1,2}|>|\[[ xX]?)[ \t]*$/;
/** Lines that may turn out to be the head of a table and the dashes below it. */
const BAR = /^ *\|/;
const BELOW_BAR = /^[ |:-]*$/;

/**
 * The blocks of `text`, each with the line it begins on.
 *
 * @param {string} text
 * @param {boolean} growing more will follow
 * @returns {Placed[]}
 */
export function parseBlocks(text, growing) {
  const lines = text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n");
  if (lines.at(-1) === "") {
    lines.pop();
    return new BlockParser(lines, growing, growing, 0).parse();
  }
  return new BlockParser(lines, growing, false, 0).parse();
}

/** One pass over the lines of one container. */
class BlockParser {
  #lines;
  #growing;
  #complete;
  #depth;
  #at = 0;
  /** @type {Placed[]} */
  #blocks = [];

  /**
   * @param {string[]} lines
   * @param {boolean} growing more may be added to the last line or after it
   * @param {boolean} complete the last line is complete
   * @param {number} depth
   */
  constructor(lines, growing, complete, depth) {
    this.#lines = lines;
    this.#growing = growing;
    this.#complete = complete;
    this.#depth = depth;
  }

  /** @returns {Placed[]} */
  parse() {
    while (this.#at < this.#lines.length) {
      const line = this.#at;
      const node = this.#block(this.#lines[line]);
      if (node !== null) {
        this.#blocks.push({ node, line });
      }
    }
    return this.#blocks;
  }

  /** Whether the block that has just been read may still grow. */
  get #openEnd() {
    return this.#growing && this.#at >= this.#lines.length;
  }

  /**
   * Take the block that begins with this line; null for a line that makes none.
   *
   * @param {string} line
   * @returns {MarkNode | null}
   */
  #block(line) {
    if (/^\s*$/.test(line) || this.#isUndecided(this.#at)) {
      this.#at += 1;
      return null;
    }
    const fence = FENCE.exec(line);
    if (fence !== null) {
      return this.#code(fence[1], fence[2].trim());
    }
    const heading = HEADING.exec(line);
    if (heading !== null) {
      this.#at += 1;
      const text = (heading[2] ?? "").trim().replace(/\s#+$/, "").trim();
      return { tag: `h${heading[1].length}`, children: parseInline(text, this.#openEnd && !this.#complete) };
    }
    if (RULE.test(line)) {
      this.#at += 1;
      return { tag: "hr" };
    }
    if (this.#depth < MAX_DEPTH && QUOTE.test(line)) {
      return this.#quote();
    }
    if (this.#depth < MAX_DEPTH && ITEM.test(line)) {
      return this.#list();
    }
    if (startsTable(line, this.#lines[this.#at + 1])) {
      return this.#table();
    }
    return this.#paragraph();
  }

  /**
   * Tell whether what comes next decides what this line is.
   *
   * @param {number} at
   */
  #isUndecided(at) {
    const [line, next, beyond] = [this.#lines[at], this.#lines[at + 1], this.#lines[at + 2]];
    if (!this.#growing || beyond !== undefined) {
      return false;
    }
    const mayBeTable = BAR.test(line) && (next === undefined || BELOW_BAR.test(next)) && !startsTable(line, next);
    return mayBeTable || (next === undefined && !this.#complete && UNDECIDED.test(line));
  }

  /**
   * @param {string} fence
   * @param {string} info
   * @returns {MarkNode}
   */
  #code(fence, info) {
    const indent = this.#lines[this.#at].indexOf(fence[0]);
    const language = /^[^\s{}]*/.exec(info)?.[0] ?? "";
    /** @type {string[]} */
    const inside = [];
    for (this.#at += 1; this.#at < this.#lines.length; this.#at += 1) {
      const line = this.#lines[this.#at];
      const closing = line.trim();
      const isRun = closing !== "" && closing === fence[0].repeat(closing.length);
      if (isRun && closing.length >= fence.length) {
        this.#at += 1;
        break;
      }
      const unfinished = this.#growing && !this.#complete && this.#at === this.#lines.length - 1;
      if (!(isRun && unfinished)) {
        inside.push(withoutIndent(line, indent));
      }
    }
    return { tag: "#code", attrs: { language }, text: inside.join("\n") };
  }

  /** @returns {MarkNode} */
  #quote() {
    /** @type {string[]} */
    const inside = [];
    while (this.#at < this.#lines.length) {
      const line = this.#lines[this.#at];
      const lazy = !QUOTE.test(line) && /\S/.test(inside.at(-1) ?? "") && !this.#interrupts(line);
      if (!QUOTE.test(line) && !lazy) {
        break;
      }
      inside.push(line.replace(QUOTE, ""));
      this.#at += 1;
    }
    return { tag: "blockquote", children: this.#nested(inside) };
  }

  /** @returns {MarkNode} */
  #list() {
    const first = /** @type {RegExpExecArray} */ (ITEM.exec(this.#lines[this.#at]));
    const kind = markerKind(first[2]);
    /** @type {MarkNode[]} */
    const items = [];
    for (let item = /** @type {RegExpExecArray | null} */ (first); item !== null; ) {
      const task = TASK.test(this.#lines[this.#at].slice(item[0].length));
      items.push({ tag: "li", attrs: task ? { class: "task" } : {}, children: this.#item(item) });
      const next = ITEM.exec(this.#lines[this.#at] ?? "");
      item = next !== null && markerKind(next[2]) === kind && !RULE.test(next.input) ? next : null;
    }
    const start = parseInt(first[2], 10);
    return kind.length === 1 && "-*+".includes(kind)
      ? { tag: "ul", children: items }
      : { tag: "ol", attrs: start === 1 ? {} : { start: String(start) }, children: items };
  }

  /**
   * The blocks of one list item; goes on behind the blank lines that follow it.
   *
   * @param {RegExpExecArray} marker
   * @returns {MarkNode[]}
   */
  #item(marker) {
    const outer = marker[1].length;
    const inner = outer + marker[2].length + Math.min(marker[3]?.length ?? 1, 4);
    const inside = [taskBox(this.#lines[this.#at].slice(marker[0].length))];
    let blank = inside[0] === "";
    for (this.#at += 1; this.#at < this.#lines.length; this.#at += 1) {
      const line = this.#lines[this.#at];
      const indent = line.search(/\S/);
      if (indent === -1) {
        blank = true;
        inside.push("");
      } else if (indent >= Math.min(inner, outer + 2) || (!blank && !this.#interrupts(line) && !ITEM.test(line))) {
        blank = false;
        inside.push(withoutIndent(line, inner));
      } else {
        break;
      }
    }
    return this.#nested(inside);
  }

  /** @returns {MarkNode} */
  #table() {
    const from = this.#at;
    while (this.#at < this.#lines.length && this.#lines[this.#at].includes("|")) {
      this.#at += 1;
    }
    return parseTable(this.#lines.slice(from, this.#at), this.#openEnd && !this.#complete);
  }

  /** @returns {MarkNode} */
  #paragraph() {
    const lines = [this.#lines[this.#at].trim()];
    for (this.#at += 1; this.#at < this.#lines.length; this.#at += 1) {
      const line = this.#lines[this.#at];
      if (!/\S/.test(line) || this.#interrupts(line) || startsTable(line, this.#lines[this.#at + 1])) {
        break;
      }
      if (!this.#isUndecided(this.#at)) {
        lines.push(line.trim());
      }
    }
    return { tag: "p", children: parseInline(lines.join("\n"), this.#openEnd) };
  }

  /**
   * Tell whether the line ends a paragraph by beginning something else.
   *
   * @param {string} line
   */
  #interrupts(line) {
    const item = ITEM.exec(line);
    const starts = item !== null && item[3] !== undefined && (!/\d/.test(item[2]) || parseInt(item[2], 10) === 1);
    return starts || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line);
  }

  /**
   * @param {string[]} lines
   * @returns {MarkNode[]}
   */
  #nested(lines) {
    const parser = new BlockParser(lines, this.#openEnd, this.#complete, this.#depth + 1);
    return parser.parse().map(({ node }) => node);
  }
}

/**
 * What two list markers must share to belong to one list.
 *
 * @param {string} marker
 */
function markerKind(marker) {
  return marker.length === 1 ? marker : `1${marker.at(-1)}`;
}

/**
 * @param {string} line
 * @param {number} most
 */
function withoutIndent(line, most) {
  const indent = line.search(/\S/);
  return line.slice(indent === -1 ? most : Math.min(indent, most));
}

/**
 * A task's box as a character.
 *
 * @param {string} text
 */
function taskBox(text) {
  return text.replace(TASK, (_, mark) => (mark === " " ? "\u2610 " : "\u2611 "));
}
