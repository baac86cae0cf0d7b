/**
 * The page: the turns of one conversation, the welcome when there are none, and the scroll that follows the text
 * only for a reader who is at its end.
 *
 * @typedef {import("./store.js").Turn} Turn
 * @typedef {import("./store.js").Conversation} Conversation
 * @typedef {import("./answer-state.js").Live} Live
 * @typedef {{turn: Turn, key: string, element: HTMLElement, answer: AnswerView}} ShownTurn
 */
import { AnswerView } from "./answer-view.js";
import { answerText } from "./answer.js";
import { byId, h } from "./dom.js";

/** A reader this near the end, in pixels, is at it. */
const NEAR_END_PX = 48;
const EARLIER_SHOWN = 5;

/** What is on the page apart from the composer and the dialog. */
export class PageView {
  #turns = byId("turns", HTMLOListElement);
  #welcome = byId("welcome", HTMLElement);
  #earlier = byId("earlier", HTMLElement);
  #earlierList = byId("earlier-list", HTMLUListElement);
  #announcer = byId("announcer", HTMLElement);
  #toEnd = byId("to-end", HTMLButtonElement);
  /** @type {ShownTurn[]} */
  #shown = [];
  #atEnd = true;
  #lastScroll = 0;
  #frame = 0;
  #frameMs = 0;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  /** @param {() => void} onRemedy what the last answer offers was asked for */
  constructor(onRemedy) {
    this.onRemedy = onRemedy;
    addEventListener("scroll", () => this.#noteScroll(), { passive: true });
    addEventListener("resize", () => this.#keepEnd());
    this.#toEnd.addEventListener("click", () => this.toEnd());
  }

  /**
   * Show these turns, and no others. Turns already shown as they are stay untouched.
   *
   * @param {Turn[]} turns
   */
  showTurns(turns) {
    this.#shown.at(-1)?.answer.frame(null);
    const same = this.#shown.findIndex(({ turn, key }, index) => turns[index] !== turn || keyOf(turn) !== key);
    const stale = same === -1 ? [] : this.#shown.splice(same);
    stale.forEach(({ element }) => element.remove());
    for (const turn of turns.slice(this.#shown.length)) {
      const answer = new AnswerView(/** @type {any} */ (turn.answers.at(-1)), () => this.onRemedy());
      const element = turnElement(turn, answer);
      this.#shown.push({ turn, key: keyOf(turn), element, answer });
      this.#turns.append(element);
      answer.frame(null);
    }
    this.#shown.forEach(({ answer }, index) => answer.show(null, index === turns.length - 1));
    this.#welcome.hidden = turns.length > 0;
    this.#keepEnd();
  }

  /**
   * Show how the last answer stands; its new text follows frame by frame.
   *
   * @param {Live | null} live
   */
  showLast(live) {
    this.#shown.at(-1)?.answer.show(live, true);
    this.#frame ||= requestAnimationFrame((nowMs) => this.#draw(nowMs));
  }

  /**
   * Offer earlier conversations on the welcome.
   *
   * @param {Conversation[]} conversations
   */
  showEarlier(conversations) {
    const links = conversations.slice(0, EARLIER_SHOWN).map(({ id, turns }) => {
      return h("li", {}, h("a", { href: `#${id}` }, turns[0].question.trim().slice(0, 120)));
    });
    this.#earlierList.replaceChildren(...links);
    this.#earlier.hidden = links.length === 0;
  }

  /**
   * Tell those who listen instead of looking.
   *
   * @param {string} sentence
   */
  announce(sentence) {
    this.#announcer.textContent = sentence;
  }

  /** Go to the end of the conversation and stay there while it grows. */
  toEnd() {
    this.#atEnd = true;
    this.#keepEnd();
  }

  /** @param {number} nowMs */
  #draw(nowMs) {
    const elapsedMs = this.#frameMs === 0 ? 16 : nowMs - this.#frameMs;
    const last = this.#shown.at(-1)?.answer;
    const more = last?.frame(this.#calm.matches ? null : elapsedMs) ?? false;
    this.#frame = more ? requestAnimationFrame((laterMs) => this.#draw(laterMs)) : 0;
    this.#frameMs = more ? nowMs : 0;
    this.#keepEnd();
  }

  #keepEnd() {
    const page = document.documentElement;
    if (this.#atEnd && this.#shown.length > 0) {
      this.#lastScroll = page.scrollHeight - page.clientHeight;
      page.scrollTop = page.scrollHeight;
    }
    this.#toEnd.hidden = this.#atEnd || this.#shown.length === 0;
  }

  #noteScroll() {
    const page = document.documentElement;
    const distance = page.scrollHeight - page.clientHeight - page.scrollTop;
    // Text that grows moves the end away without the reader having moved: only scrolling up is leaving.
    this.#atEnd = distance < NEAR_END_PX || (this.#atEnd && page.scrollTop >= this.#lastScroll);
    this.#lastScroll = page.scrollTop;
    this.#toEnd.hidden = this.#atEnd || this.#shown.length === 0;
  }
}

/** @param {Turn} turn */
function keyOf(turn) {
  return turn.answers.at(-1)?.key ?? "";
}

/**
 * @param {Turn} turn
 * @param {AnswerView} answer
 */
function turnElement(turn, answer) {
  const question = h("div", { class: "question" }, h("h2", { class: "unseen" }, "You"), h("p", {}, turn.question));
  const before = turn.answers.slice(0, -1).filter((earlier) => answerText(earlier) !== "");
  const kept = before.map((earlier) => {
    const view = new AnswerView(earlier, () => {});
    view.frame(null);
    view.show(null, false);
    return h("details", { class: "aside" }, h("summary", {}, "What was said before"), view.element);
  });
  return h("li", { class: "turn" }, question, ...kept, answer.element);
}
