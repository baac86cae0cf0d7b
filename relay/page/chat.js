/**
 * One conversation at a time: asks, follows, stops, asks again, and keeps what must survive a reload.
 *
 * An answer belongs to the server, not to this page: leaving a conversation only stops following it, and coming
 * back, here or in another tab, goes on where the stored part ends.
 *
 * @typedef {import("./store.js").Turn} Turn
 * @typedef {import("./answer.js").Answer} Answer
 *
 * @typedef {object} ChatParts
 * @property {import("../clients/js/index.js").Tailrace} client
 * @property {import("./store.js").Store} store
 * @property {import("./page-view.js").PageView} view
 * @property {(why: string) => Promise<boolean>} askForKey
 * @property {(running: boolean) => void} onRunning an answer has begun to come, or none is coming any more
 */
import { answerText, newAnswer, randomKey } from "./answer.js";
import { describe } from "./answer-state.js";
import { Follower } from "./follower.js";

/** How often the growing text is stored: what a reload then has to read again is no more than this. */
const SAVE_MS = 1000;
/** Answers kept of one question that was asked again. */
const MAX_ANSWERS = 5;

/** The conversation on the page. */
export class Chat {
  #parts;
  #id = "";
  /** @type {Turn[]} */
  #turns = [];
  /** @type {Follower | null} */
  #follower = null;
  #saveTimer = 0;
  #countdown = 0;
  /** Something has changed since it was last stored. */
  #dirty = false;

  /** @param {ChatParts} parts */
  constructor(parts) {
    this.#parts = parts;
  }

  get id() {
    return this.#id;
  }

  get isRunning() {
    return this.#turns.at(-1)?.answers.at(-1)?.status === "running" && this.#follower?.live.failure === null;
  }

  /**
   * Show the stored conversation of that id, or an empty one, and go on with its answer if that is still coming.
   *
   * @param {string} id
   */
  open(id) {
    this.#leave();
    this.#id = id || randomKey();
    this.#turns = this.#parts.store.load(this.#id)?.turns ?? [];
    this.#parts.view.showTurns(this.#turns);
    this.#parts.view.toEnd();
    this.#resume();
  }

  /**
   * Ask. False when an answer is still coming.
   *
   * @param {string} question
   * @param {string | null} model
   */
  send(question, model) {
    if (this.isRunning) {
      return false;
    }
    this.#turns.push({ id: randomKey(), askedMs: Date.now(), question, answers: [newAnswer(model)] });
    this.#begin();
    return true;
  }

  /** Stop the answer that is coming. */
  stop() {
    void this.#follower?.stop();
  }

  /**
   * Do what the last answer offers: go on following it, or ask again with what was said kept.
   *
   * @param {string | null} model
   */
  again(model) {
    const turn = this.#turns.at(-1);
    if (turn === undefined || this.isRunning) {
      return;
    }
    if (turn.answers.at(-1)?.status === "running") {
      this.#follow();
      return;
    }
    turn.answers = [...turn.answers.slice(1 - MAX_ANSWERS), newAnswer(model)];
    this.#begin();
  }

  /** The network or the device is back. */
  nudge() {
    this.#follower?.nudge();
  }

  /** Store what has been read so far: the page may be gone in a moment. */
  save() {
    clearTimeout(this.#saveTimer);
    this.#saveTimer = 0;
    const turn = this.#dirty ? this.#turns.at(-1) : undefined;
    this.#dirty = false;
    if (turn !== undefined && !this.#parts.store.putTurn(this.#id, turn)) {
      this.#parts.view.announce("This browser has no room left to keep the conversation.");
    }
  }

  /** Another tab has written to this conversation: take over what this one does not know. */
  sync() {
    const stored = this.#parts.store.load(this.#id)?.turns ?? [];
    const mine = new Map(this.#turns.map((turn) => [turn.id, turn]));
    this.#turns = stored.map((turn) => {
      const known = mine.get(turn.id);
      return known !== undefined && isSameAnswer(known, turn) ? known : turn;
    });
    const last = this.#turns.at(-1)?.answers.at(-1);
    if (this.#follower !== null && this.#follower.answer !== last) {
      this.#leave();
    }
    this.#parts.view.showTurns(this.#turns);
    this.#resume();
  }

  #resume() {
    const answer = this.#turns.at(-1)?.answers.at(-1);
    if (answer?.status === "running" && this.#follower === null) {
      answer.interrupted = true;
      this.#follow();
    } else {
      this.#changed();
    }
  }

  #saveNow() {
    this.#dirty = true;
    this.save();
  }

  #begin() {
    this.#saveNow();
    this.#parts.view.showTurns(this.#turns);
    this.#parts.view.toEnd();
    this.#follow();
  }

  #follow() {
    const answer = /** @type {Answer} */ (this.#turns.at(-1)?.answers.at(-1));
    this.#follower?.close();
    /** @type {Follower} */
    const follower = new Follower({
      client: this.#parts.client,
      request: requestFor(this.#turns),
      answer,
      askForKey: this.#parts.askForKey,
      onChange: () => follower === this.#follower && this.#changed(),
      onMilestone: () => follower === this.#follower && this.#saveNow(),
    });
    this.#follower = follower;
    this.#changed();
    void follower.run();
  }

  #leave() {
    if (this.#follower !== null) {
      this.save();
      this.#follower.close();
      this.#follower = null;
    }
  }

  #changed() {
    const { view, onRunning } = this.#parts;
    const answer = this.#turns.at(-1)?.answers.at(-1);
    const live = this.#follower?.live ?? null;
    view.showLast(live);
    onRunning(this.isRunning);
    clearTimeout(this.#countdown);
    if (answer?.status === "running") {
      this.#dirty = true;
      this.#saveTimer ||= setTimeout(() => this.save(), SAVE_MS);
      this.#countdown = live?.phase === "waiting" ? setTimeout(() => this.#changed(), 500) : 0;
    } else if (answer !== undefined && this.#follower !== null) {
      this.#follower = null;
      const { label, note } = describe(answer, null);
      view.announce(`${label}. ${note || `${answerText(answer).split(/\s+/).length} words.`}`);
    }
  }
}

/**
 * The request of the last answer. It is made from what is stored, so that after a reload it is the same again, as
 * the Idempotency-Key demands. Turns without an answer are left out: models expect each question answered.
 *
 * @param {Turn[]} turns
 */
function requestFor(turns) {
  const last = /** @type {Turn} */ (turns.at(-1));
  const messages = turns.slice(0, -1).flatMap(({ question, answers }) => {
    const said = answerText(/** @type {Answer} */ (answers.at(-1)));
    return said === "" ? [] : [{ role: "user", content: question }, { role: "assistant", content: said }];
  });
  const model = last.answers.at(-1)?.askedModel;
  return { ...(model ? { model } : {}), messages: [...messages, { role: "user", content: last.question }] };
}

/**
 * Tell whether two states of a turn are of the same answer, and the one on the page is not behind.
 *
 * @param {Turn} shown
 * @param {Turn} stored
 */
function isSameAnswer(shown, stored) {
  const [mine, theirs] = [shown.answers.at(-1), stored.answers.at(-1)];
  return mine?.key === theirs?.key && (mine?.status === theirs?.status || mine?.status === "running");
}
