/**
 * Tables of Markdown: a head, a row of dashes, and rows of cells between bars.
 *
 * @typedef {import("./markdown-inline.js").MarkNode} MarkNode
 */
import { parseInline } from "./markdown-inline.js";

const DASHES = /^\|? *:?-+:? *(?:\| *:?-+:? *)*\|?$/;
const MAX_DASHES = 1000;
const MAX_COLUMNS = 50;

/**
 * Tell whether a table begins with these two lines.
 *
 * @param {string} head
 * @param {string | undefined} below
 */
export function startsTable(head, below) {
  const dashes = below?.trim() ?? "";
  if (!head.includes("|") || dashes.length > MAX_DASHES || !DASHES.test(dashes)) {
    return false;
  }
  const columns = cells(head).length;
  return columns <= MAX_COLUMNS && cells(dashes).length === columns;
}

/**
 * The table of these lines, inside a box that can be scrolled sideways.
 *
 * @param {string[]} lines
 * @param {boolean} growing the last line is not complete
 * @returns {MarkNode}
 */
export function parseTable(lines, growing) {
  const sides = cells(lines[1]).map(sideOf);
  const rows = lines.slice(2).map((line, index, all) => row("td", line, sides, growing && index === all.length - 1));
  const head = { tag: "thead", children: [row("th", lines[0], sides, false)] };
  const table = { tag: "table", children: [head, { tag: "tbody", children: rows }] };
  return { tag: "div", attrs: { class: "table", tabindex: "0" }, children: [table] };
}

/**
 * @param {string} tag
 * @param {string} line
 * @param {string[]} sides
 * @param {boolean} growing
 * @returns {MarkNode}
 */
function row(tag, line, sides, growing) {
  const texts = cells(line);
  const children = sides.map((side, column) => ({
    tag,
    attrs: /** @type {Record<string, string>} */ (side === "" ? {} : { class: side }),
    children: parseInline(texts[column] ?? "", growing && column === texts.length - 1),
  }));
  return { tag: "tr", children };
}

/**
 * The texts between the bars; an escaped bar is text.
 *
 * @param {string} line
 * @returns {string[]}
 */
function cells(line) {
  const inside = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inside.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/**
 * @param {string} dashes
 * @returns {string} the class that aligns the column
 */
function sideOf(dashes) {
  return dashes.endsWith(":") ? (dashes.startsWith(":") ? "center" : "right") : "";
}
