/** One answer on the page: its blocks, and the line below that says how it stands and what can be done. */
import { describe } from "./answer-state.js";
import { answerText } from "./answer.js";
import { blockView } from "./block-view.js";
import { button, copyButton, h } from "./dom.js";

/**
 * @typedef {import("./answer.js").Answer} Answer
 * @typedef {import("../clients/js/index.js").Block} Block
 * @typedef {import("./answer-state.js").Live} Live
 * @typedef {{block: Block, kind: string, view: import("./block-view.js").BlockView}} ShownBlock
 */

/** Shows one answer for as long as it is on the page. */
export class AnswerView {
  #answer;
  /** @type {Live | null} */
  #live = null;
  /** @type {ShownBlock[]} */
  #blocks = [];
  #body = h("div", { class: "blocks" });
  #state = h("span", { class: "state" });
  #facts = h("span", { class: "facts" });
  #note = h("p", { class: "note" });
  #copy;
  #remedy;

  /**
   * @param {Answer} answer
   * @param {() => void} onRemedy Retry, Regenerate or Reconnect was pressed
   */
  constructor(answer, onRemedy) {
    this.#answer = answer;
    this.#copy = copyButton(() => answerText(answer));
    this.#remedy = button("", "quiet remedy", onRemedy);
    const line = h("div", { class: "line" }, this.#state, this.#facts);
    const actions = h("div", { class: "actions" }, this.#copy, this.#remedy);
    this.element = h("article", { class: "answer", "aria-label": "Answer" }, this.#body, this.#note);
    this.element.append(h("footer", {}, line, actions));
    this.show(null, true);
  }

  /**
   * Say how the answer is being followed, and whether it is the last one, which alone can be asked for again.
   *
   * @param {Live | null} live
   * @param {boolean} last
   */
  show(live, last) {
    this.#live = live;
    const { state, label, note, facts, remedy } = describe(this.#answer, live);
    setIfNew(this.#state, label);
    setIfNew(this.#facts, facts);
    setIfNew(this.#note, note);
    this.#note.hidden = note === "";
    this.#copy.hidden = answerText(this.#answer) === "";
    this.#remedy.hidden = remedy === null || !last;
    this.#remedy.dataset.remedy = remedy ?? "";
    setIfNew(this.#remedy, { retry: "Retry", regenerate: "Regenerate", reconnect: "Reconnect" }[remedy ?? "retry"]);
    if (this.element.dataset.state !== state) {
      this.element.dataset.state = state;
      this.element.setAttribute("aria-busy", String(["queued", "streaming", "reconnecting"].includes(state)));
    }
  }

  /**
   * Show what is due of the text. True while more of what has arrived is to be shown.
   *
   * @param {number | null} elapsedMs since the last frame; null: show everything
   * @returns {boolean}
   */
  frame(elapsedMs) {
    this.#dropStale();
    for (const [index, block] of this.#answer.blocks.entries()) {
      if (this.#viewAt(index, block).show(block, elapsedMs)) {
        // What follows waits until this is shown: no text moves down what has been read already.
        return true;
      }
    }
    return false;
  }

  /** Remove the views of blocks that were discarded, and those behind them. */
  #dropStale() {
    const { blocks } = this.#answer;
    // By identity: what was discarded and told anew has the same number and kind, and another text.
    const first = this.#blocks.findIndex(({ block, kind }, index) => blocks[index] !== block || block.kind !== kind);
    const stale = first === -1 ? [] : this.#blocks.splice(first);
    stale.forEach(({ view }) => view.element.remove());
  }

  /**
   * @param {number} index
   * @param {Block} block
   */
  #viewAt(index, block) {
    if (index === this.#blocks.length) {
      const view = blockView(block.kind);
      this.#blocks.push({ block, kind: block.kind, view });
      this.#body.append(view.element);
    }
    return this.#blocks[index].view;
  }
}

/**
 * @param {HTMLElement} element
 * @param {string} text
 */
function setIfNew(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}
