/** Server-sent events from text cut anywhere. */
const MOST_CHARACTERS = 2 ** 24;

export class SseParser {
  retryMs = null;
  #rest = "";

  feed(text) {
    // A CR at the end may be half of a CRLF.
    const blocks = (this.#rest + text).split(/(?:\r\n|\n|\r(?!\n|$)){2}/);
    this.#rest = blocks.pop();
    if (this.#rest.length > MOST_CHARACTERS) {
      throw new RangeError("An event is too large.");
    }
    return blocks.map((block) => this.#event(block)).filter(({ data }) => data !== undefined);
  }

  #event(block) {
    let [id, data] = [null];
    for (const [, field, value] of block.matchAll(/^(id|data|retry)(?:: ?|$)(.*)/gm)) {
      if (field === "id") {
        id = value;
      } else if (field === "data") {
        data = data === undefined ? value : `${data}\n${value}`;
      } else {
        this.retryMs = +value;
      }
    }
    return { id, data };
  }
}
