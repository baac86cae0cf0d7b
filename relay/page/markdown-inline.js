/**
 * The inline part of Markdown: emphasis, code, links and line breaks inside one paragraph, as plain nodes.
 *
 * Nothing here is HTML: a tag in the text stays text. The cost stays proportional to the text's length, because the
 * text is a model's and may be hostile.
 *
 * @typedef {object} MarkNode
 * @property {string} tag an element's name, "#text", or "#code" for a code block
 * @property {Record<string, string>} [attrs]
 * @property {MarkNode[]} [children]
 * @property {string} [text] of "#text" and "#code"
 */
import { MAX_PENDING, NodeStack, PUNCTUATION, WORD } from "./markdown-emphasis.js";
import { LinkFinder } from "./markdown-links.js";

/** Labels of links inside labels of links. */
const MAX_DEPTH = 2;
const SPECIAL = /[\\`*_~[!<&h\n]/g;
const LINE_BREAK = /<br\s?\/?>/iy;
const ENTITY = /&(?:amp|lt|gt|quot|apos|#39|nbsp);/y;
const ENTITIES = new Map([
  ["&amp;", "&"],
  ["&lt;", "<"],
  ["&gt;", ">"],
  ["&quot;", '"'],
  ["&apos;", "'"],
  ["&#39;", "'"],
  ["&nbsp;", "\u00a0"],
]);

/**
 * The nodes of `text`.
 *
 * @param {string} text
 * @param {boolean} growing more will follow: what is open at the end counts as closed there
 * @param {number} [depth] how many links this text lies in
 * @returns {MarkNode[]}
 */
export function parseInline(text, growing, depth = 0) {
  return new InlineParser(text, growing, depth).parse();
}

/** One pass over one text. */
class InlineParser {
  #text;
  #growing;
  #depth;
  #at = 0;
  #nodes;
  #links;
  /** Lengths of backtick runs known not to occur any more. @type {Set<number>} */
  #noTicks = new Set();

  /**
   * @param {string} text
   * @param {boolean} growing
   * @param {number} depth
   */
  constructor(text, growing, depth) {
    this.#text = text;
    this.#growing = growing;
    this.#depth = depth;
    this.#nodes = new NodeStack(growing);
    this.#links = new LinkFinder(text);
  }

  /** @returns {MarkNode[]} */
  parse() {
    while (this.#at < this.#text.length) {
      SPECIAL.lastIndex = this.#at;
      const next = SPECIAL.exec(this.#text)?.index ?? this.#text.length;
      this.#nodes.say(this.#text.slice(this.#at, next));
      this.#at = next;
      if (next < this.#text.length && !this.#special(this.#text[next])) {
        this.#nodes.say(this.#text[next]);
        this.#at = next + 1;
      }
    }
    return this.#nodes.finish(this.#text.length);
  }

  /**
   * Take what begins here with a special character. False when it is an ordinary character after all.
   *
   * @param {string} char
   * @returns {boolean}
   */
  #special(char) {
    switch (char) {
      case "\\":
        return this.#escape();
      case "`":
        return this.#code();
      case "!":
        return this.#text[this.#at + 1] === "[" && this.#labelled(this.#at + 1);
      case "[":
        return this.#labelled(this.#at);
      case "<":
        return this.#pattern(LINE_BREAK, () => this.#nodes.add({ tag: "br" })) || this.#plain();
      case "&":
        return this.#pattern(ENTITY, (entity) => this.#nodes.say(ENTITIES.get(entity) ?? entity));
      case "h":
        return !WORD.test(this.#text[this.#at - 1] ?? "") && this.#plain();
      case "\n":
        this.#nodes.add({ tag: "br" });
        this.#at += 1;
        return true;
      default:
        return this.#emphasis(char);
    }
  }

  #escape() {
    const next = this.#text[this.#at + 1] ?? "";
    if (next === "\n") {
      this.#nodes.add({ tag: "br" });
    } else if (PUNCTUATION.test(next)) {
      this.#nodes.say(next);
    } else {
      return false;
    }
    this.#at += 2;
    return true;
  }

  #code() {
    const ticks = runLength(this.#text, this.#at);
    const from = this.#at + ticks;
    let end = this.#noTicks.has(ticks) ? -1 : findRun(this.#text, from, ticks);
    if (end === -1) {
      this.#noTicks.add(ticks);
      if (!this.#growing || this.#text.length - from > MAX_PENDING || this.#text[from] === " ") {
        this.#nodes.say("`".repeat(ticks));
        this.#at = from;
        return true;
      }
      end = this.#text.length;
    }
    const inside = this.#text.slice(from, end).replaceAll("\n", " ");
    const padded = inside.length > 2 && inside.startsWith(" ") && inside.endsWith(" ");
    if (inside !== "") {
      const text = padded ? inside.slice(1, -1) : inside;
      this.#nodes.add({ tag: "code", children: [{ tag: "#text", text }] });
    }
    this.#at = end + ticks;
    return true;
  }

  /**
   * A link, or an image: shown as a link to it, because loading it would tell a stranger that it was read.
   *
   * @param {number} bracket
   */
  #labelled(bracket) {
    const link = this.#depth < MAX_DEPTH ? this.#links.labelled(bracket, this.#growing) : null;
    if (link === null) {
      return false;
    }
    const children = parseInline(link.label, false, this.#depth + 1);
    if (link.address === null || this.#depth > 0) {
      children.forEach((node) => this.#nodes.add(node));
    } else {
      this.#nodes.add({ tag: "a", attrs: { href: link.address }, children });
    }
    this.#at = link.end;
    return true;
  }

  /** An address that stands for itself. */
  #plain() {
    const link = this.#depth === 0 ? this.#links.plain(this.#at) : null;
    if (link === null || link.address === null) {
      return false;
    }
    const children = [{ tag: "#text", text: link.label }];
    this.#nodes.add({ tag: "a", attrs: { href: link.address }, children });
    this.#at = link.end;
    return true;
  }

  /**
   * @param {RegExp} pattern sticky
   * @param {(found: string) => void} take
   */
  #pattern(pattern, take) {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text);
    if (found !== null) {
      take(found[0]);
      this.#at += found[0].length;
    }
    return found !== null;
  }

  /** @param {string} marker */
  #emphasis(marker) {
    const [at, count] = [this.#at, runLength(this.#text, this.#at)];
    const [before, after] = [this.#text[at - 1] ?? " ", this.#text[at + count] ?? ""];
    this.#nodes.mark({ marker, count, at, before, after });
    this.#at += count;
    return true;
  }
}

/**
 * How often the character at `at` is repeated from there on.
 *
 * @param {string} text
 * @param {number} at
 */
function runLength(text, at) {
  let end = at;
  while (end < text.length && text[end] === text[at]) {
    end += 1;
  }
  return end - at;
}

/**
 * Where the next run of exactly `count` backticks begins; -1 if there is none.
 *
 * @param {string} text
 * @param {number} from
 * @param {number} count
 */
function findRun(text, from, count) {
  for (let at = text.indexOf("`", from); at !== -1; at = text.indexOf("`", at)) {
    const length = runLength(text, at);
    if (length === count) {
      return at;
    }
    at += length;
  }
  return -1;
}
