/**
 * Server-sent events from text: the parser of the event-stream format, without EventSource and without the DOM.
 *
 * @typedef {object} Frame
 * @property {string | null} id the frame's `id:`, null when it has none
 * @property {string} event the frame's `event:`, "message" when it has none
 * @property {string} data its `data:` lines, joined by line feeds
 */

/** Longest unfinished frame in characters: more than any event of the API, less than what hurts a browser. */
const MAX_PENDING = 16 * 1024 * 1024;

/**
 * Parser of one connection. Give it text as it comes, in pieces cut anywhere.
 * Comments are dropped; `retry:` is kept in `retryMs` (null until the server says one).
 */
export class SseParser {
  /** @type {number | null} */
  retryMs = null;

  #line = "";
  #afterCarriageReturn = false;
  /** @type {string[]} */
  #data = [];
  #pending = 0;
  /** @type {string | null} */
  #id = null;
  #event = "";

  /**
   * Frames that `text` completes, in order. Throws `RangeError` when a frame grows past the bound.
   *
   * @param {string} text
   * @returns {Frame[]}
   */
  feed(text) {
    /** @type {Frame[]} */
    const frames = [];
    let from = this.#afterCarriageReturn && text[0] === "\n" ? 1 : 0;
    if (text !== "") {
      this.#afterCarriageReturn = text[text.length - 1] === "\r";
    }
    const ends = /\r\n|\n|\r/g;
    ends.lastIndex = from;
    for (let end = ends.exec(text); end !== null; end = ends.exec(text)) {
      this.#take(this.#line + text.slice(from, end.index), frames);
      this.#line = "";
      from = ends.lastIndex;
    }
    this.#line += text.slice(from);
    if (this.#line.length + this.#pending > MAX_PENDING) {
      throw new RangeError("The server sent an event that is too large.");
    }
    return frames;
  }

  /**
   * @param {string} line
   * @param {Frame[]} frames
   */
  #take(line, frames) {
    if (line === "") {
      this.#dispatch(frames);
      return;
    }
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") {
      this.#data.push(value);
      this.#pending += value.length;
    } else if (field === "event") {
      this.#event = value;
    } else if (field === "id" && !value.includes("\0")) {
      this.#id = value;
    } else if (field === "retry" && /^\d{1,7}$/.test(value)) {
      this.retryMs = Number(value);
    }
  }

  /** @param {Frame[]} frames */
  #dispatch(frames) {
    if (this.#data.length > 0) {
      frames.push({ id: this.#id, event: this.#event || "message", data: this.#data.join("\n") });
    }
    this.#data = [];
    this.#pending = 0;
    this.#id = null;
    this.#event = "";
  }
}

/**
 * Frames of an open response body, as they come. `onBytes` is called for every piece that arrives, comments too.
 * Leaving the iteration early does not close the body: abort its request for that.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {(parser: SseParser) => void} onBytes
 * @returns {AsyncGenerator<Frame, void, void>}
 */
export async function* readFrames(body, onBytes) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new SseParser();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      return;
    }
    const frames = parser.feed(decoder.decode(value, { stream: true }));
    onBytes(parser);
    yield* frames;
  }
}
