/** Links: where one begins and ends in a text, and which addresses are let through. */

const MAX_LABEL = 500;
const MAX_ADDRESS = 2000;

const DESTINATION =
  /^\(\s{0,9}(?:<([^<>\n]*)>|([^\s()<]*(?:\([^\s()]*\)[^\s()]*)*))(?:\s{1,9}(?:"[^"]*"|'[^']*'|\([^()]*\)))?\s{0,9}\)/;
const IN_ANGLES = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const BARE = /https?:\/\/[^\s<>"'`\]]{1,2000}/y;

/**
 * @typedef {object} Link
 * @property {string} label
 * @property {string | null} address null while it is still being written
 * @property {number} end where the text goes on
 */

/**
 * The address if a click on it can do no harm: http, https and mailto alone. Null for every other.
 *
 * @param {string} address
 * @returns {string | null}
 */
export function safeAddress(address) {
  const allowed = address.length <= MAX_ADDRESS && /^(?:https?:\/\/[^/\s]|mailto:[^\s])/i.test(address);
  return allowed && URL.canParse(address) ? address : null;
}

/** Finds the links of one text, at a cost proportional to its length. */
export class LinkFinder {
  #text;
  /** The first "](" that is not behind us; no label can end before it. */
  #nextEnd = 0;

  /** @param {string} text */
  constructor(text) {
    this.#text = text;
  }

  /**
   * The link `[label](address)` whose bracket opens at `open`; null when there is none, or none that is let through.
   *
   * @param {number} open
   * @param {boolean} growing
   * @returns {Link | null}
   */
  labelled(open, growing) {
    const close = this.#closingBracket(open);
    if (close === -1) {
      return null;
    }
    const label = this.#text.slice(open + 1, close) || "link";
    const rest = this.#text.slice(close + 1, close + 1 + MAX_LABEL + MAX_ADDRESS);
    const found = DESTINATION.exec(rest);
    if (found !== null) {
      const address = safeAddress(found[1] ?? found[2]);
      return address === null ? null : { label, address, end: close + 1 + found[0].length };
    }
    const atEnd = close + 1 + rest.length === this.#text.length;
    return growing && atEnd && /^\([^\s)]*$/.test(rest) ? { label, address: null, end: this.#text.length } : null;
  }

  /**
   * The address that stands for itself at `at`, bare or in angle brackets; null when there is none.
   *
   * @param {number} at
   * @returns {Link | null}
   */
  plain(at) {
    const pattern = this.#text[at] === "<" ? IN_ANGLES : BARE;
    pattern.lastIndex = at;
    const found = pattern.exec(this.#text);
    if (found === null) {
      return null;
    }
    const label = found[1] ?? withoutTrailing(found[0]);
    const address = safeAddress(label);
    return address === null ? null : { label, address, end: at + (found[1] ? found[0].length : label.length) };
  }

  /**
   * Where the bracket opened at `open` is closed, directly before a "("; -1 if it is not, or too far away.
   *
   * @param {number} open
   */
  #closingBracket(open) {
    if (this.#nextEnd < open) {
      const found = this.#text.indexOf("](", open);
      this.#nextEnd = found === -1 ? Infinity : found;
    }
    const limit = Math.min(this.#text.length, open + MAX_LABEL);
    for (let at = open + 1, depth = 1; at < limit && this.#nextEnd < limit; at += 1) {
      if (this.#text[at] === "\\") {
        at += 1;
      } else if (this.#text[at] === "[") {
        depth += 1;
      } else if (this.#text[at] === "]") {
        depth -= 1;
        if (depth === 0) {
          return this.#text[at + 1] === "(" ? at : -1;
        }
      }
    }
    return -1;
  }
}

/**
 * An address without the punctuation that belongs to the sentence around it.
 *
 * @param {string} address
 */
function withoutTrailing(address) {
  const trimmed = address.replace(/[.,:;!?*_~]{1,20}$/, "");
  return trimmed.endsWith(")") && !trimmed.includes("(") ? trimmed.slice(0, -1) : trimmed;
}
