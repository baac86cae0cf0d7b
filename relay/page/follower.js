/**
 * Follows one answer from being asked for to its end: feeds events into it, stops it, and says how it stands.
 * Free of the DOM.
 *
 * @typedef {import("./answer.js").Answer} Answer
 * @typedef {import("./answer-state.js").Live} Live
 *
 * @typedef {object} FollowerOptions
 * @property {import("../clients/js/index.js").Tailrace} client
 * @property {Record<string, unknown>} request what the answer is asked for with
 * @property {Answer} answer changed in place
 * @property {() => void} onChange the answer or `live` has changed
 * @property {() => void} onMilestone what must survive a reload has changed: the stream's id, or the end
 * @property {(why: string) => Promise<boolean>} askForKey true when there is a new API key to try
 */
import { TailraceError } from "../clients/js/index.js";
import { applyEvent, applyState } from "./answer.js";

/** How long Stop tries to reach the server, and then how long the end may take to come through the stream. */
const STOP_MS = 8000;
const END_MS = 3000;

/** One answer being followed. */
export class Follower {
  /** @type {Live} */
  live = { phase: "connecting", retryAtMs: 0, trouble: null, resumed: false, stopping: false, failure: null };

  #options;
  #closed = false;
  /** @type {import("../clients/js/index.js").AnswerStream | null} */
  #stream = null;
  /** Ends the wait for the end to come through the stream. */
  #settled = () => {};

  /** @param {FollowerOptions} options */
  constructor(options) {
    this.#options = options;
    this.live.resumed = options.answer.offset !== null || options.answer.streamId !== null;
  }

  get answer() {
    return this.#options.answer;
  }

  /**
   * Follow until the answer has ended, the follower is closed, or going on is pointless. Never throws: what went
   * wrong is in the answer's `error` or in `live.failure`.
   */
  async run() {
    const { answer, askForKey } = this.#options;
    this.live.failure = null;
    for (;;) {
      try {
        await this.#follow();
        await this.#complete();
      } catch (error) {
        const failure = /** @type {TailraceError} */ (error);
        if (failure.status === 401 && !this.#closed && (await askForKey(failure.message))) {
          continue;
        }
        this.#giveUp(failure);
      }
      this.#settled();
      if (answer.status !== "running") {
        this.#options.onMilestone();
      }
      this.#options.onChange();
      return;
    }
  }

  /** The network or the device is back. */
  nudge() {
    if (this.live.failure !== null && !this.#closed) {
      void this.run();
    }
    this.#stream?.nudge();
  }

  /** Stop following. The answer goes on without us. */
  close() {
    this.#closed = true;
    this.#stream?.close();
    this.#settled();
  }

  /** End the answer itself. Ends within seconds, also when the server cannot be reached. */
  async stop() {
    if (this.live.stopping || this.#options.answer.status !== "running") {
      return;
    }
    this.live.stopping = true;
    this.#options.onChange();
    const limit = { signal: AbortSignal.timeout(STOP_MS) };
    await this.#settle((await this.#stream?.cancel(limit).catch(() => null)) ?? null);
  }

  /**
   * Wait for the end to come through the stream; if it does not, end the answer here.
   *
   * @param {any} state the stream's, after it was cancelled; null when the server could not be told
   */
  async #settle(state) {
    const { answer, onMilestone, onChange } = this.#options;
    this.#stream?.nudge();
    if (state !== null && this.#isLive()) {
      await new Promise((resolve) => {
        this.#settled = () => resolve(null);
        setTimeout(resolve, END_MS);
      });
    }
    if (!this.#isLive()) {
      return;
    }
    this.close();
    if (state !== null) {
      applyState(answer, state);
    }
    if (answer.status === "running") {
      answer.status = "cancelled";
      answer.error = { code: "unconfirmed", message: "The server could not be told and may go on writing." };
    }
    onMilestone();
    onChange();
  }

  #isLive() {
    return !this.#closed && this.#options.answer.status === "running";
  }

  async #follow() {
    const { client, request, answer, onChange, onMilestone } = this.#options;
    this.#stream = client.stream(request, {
      key: answer.key,
      startedMs: answer.askedMs,
      id: answer.streamId,
      offset: answer.offset,
      onConnection: (connection) => this.#note(connection),
    });
    for await (const event of this.#stream) {
      applyEvent(answer, event);
      answer.offset = this.#stream.offset;
      if (answer.streamId !== this.#stream.id) {
        answer.streamId = this.#stream.id;
        onMilestone();
      }
      onChange();
    }
  }

  /** @param {import("../clients/js/index.js").Connection} connection */
  #note({ phase, retryAtMs, error }) {
    const { answer, onChange, onMilestone } = this.#options;
    const trouble = phase === "connecting" ? this.live.trouble : (error?.message ?? null);
    Object.assign(this.live, { phase, retryAtMs, trouble });
    if (phase === "open") {
      this.live.resumed = true;
    } else if (phase === "waiting") {
      answer.interrupted = true;
    }
    const streamId = this.#stream?.id ?? null;
    if (streamId !== null && streamId !== answer.streamId) {
      answer.streamId = streamId;
      onMilestone();
    }
    onChange();
  }

  /** Ask once for what the events did not tell: the timings of an answer that was not read in one go. */
  async #complete() {
    const { answer, client } = this.#options;
    if (this.#closed || answer.streamId === null || !(answer.interrupted || answer.status === "running")) {
      return;
    }
    try {
      applyState(answer, await client.state(answer.streamId));
    } catch {
      answer.firstTokenMs = null;
      answer.tokensPerSecond = null;
    }
    if (answer.status === "running") {
      answer.status = "incomplete";
    }
  }

  /** @param {Error} error */
  #giveUp(error) {
    const { answer } = this.#options;
    const failure = error instanceof TailraceError ? error : new TailraceError(`This page failed: ${error.message}`);
    if (failure.status === 0 || failure.status === 401 || failure.retryable) {
      this.live.failure = failure.message;
    } else {
      answer.status = answer.blocks.length > 0 ? "incomplete" : "failed";
      answer.error = { code: failure.code, message: failure.message };
    }
  }
}
