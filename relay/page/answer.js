/**
 * An answer as the page keeps it: what its events add up to, and what the page itself knows of it. Plain data, so that
 * it can be stored as it is. Free of the DOM.
 *
 * @typedef {import("../clients/js/index.js").StreamEvent} StreamEvent
 * @typedef {import("../clients/js/index.js").Block} Block
 *
 * @typedef {"running" | "completed" | "cancelled" | "failed" | "incomplete"} Status
 * @typedef {{code: string, message: string}} Problem `message` is a sentence for the reader
 *
 * @typedef {object} Answer
 * @property {string} key the Idempotency-Key it was asked for with
 * @property {string | null} askedModel the model it was asked of; null: the server's default
 * @property {string | null} model the one that answers, once it is known
 * @property {string | null} streamId
 * @property {string | null} offset how far the stream has been taken in
 * @property {Status} status
 * @property {Block[]} blocks in order of their numbers
 * @property {Problem | null} error why it failed
 * @property {string} [stop_reason]
 * @property {{output_tokens?: number}} [usage]
 * @property {boolean} claimed a worker has taken it up
 * @property {boolean} interrupted the page was away in between, so its own clock does not know the timings
 * @property {number} askedMs by `Date.now()`, as all times here
 * @property {number | null} firstTokenMs from being asked for to the first token
 * @property {number | null} tokensPerSecond
 */
import { applyEvent as fold } from "../clients/js/answer.js";
import { randomKey } from "../clients/js/stream.js";

export { randomKey };

/**
 * A new answer that nobody has been asked for yet.
 *
 * @param {string | null} model null: the server's default
 * @returns {Answer}
 */
export function newAnswer(model) {
  return {
    key: randomKey(),
    askedModel: model,
    model,
    streamId: null,
    offset: null,
    status: "running",
    blocks: [],
    error: null,
    claimed: false,
    interrupted: false,
    askedMs: Date.now(),
    firstTokenMs: null,
    tokensPerSecond: null,
  };
}

/**
 * What the answer says, without thinking and tools: what is copied, and sent back as the next turn's context.
 *
 * @param {Answer} answer
 * @returns {string}
 */
export function answerText(answer) {
  const texts = answer.blocks.filter((block) => block.kind === "text").map((block) => block.text.trim());
  return texts.filter((text) => text !== "").join("\n\n");
}

/**
 * Take one event in. Events and fields the page does not know change nothing.
 *
 * @param {Answer} answer
 * @param {StreamEvent} event
 */
export function applyEvent(answer, event) {
  fold(answer, event);
  if (event.type === "attempt") {
    answer.claimed = true;
  } else if (event.type === "delta" && (event.text || event.json)) {
    answer.firstTokenMs ??= Date.now() - answer.askedMs;
  } else if (event.type === "end") {
    answer.blocks.forEach((block) => (block.complete = true));
    const tokens = answer.usage?.output_tokens ?? 0;
    const writingMs = Date.now() - answer.askedMs - (answer.firstTokenMs ?? 0);
    answer.tokensPerSecond = tokens > 1 && writingMs > 0 ? ((tokens - 1) * 1000) / writingMs : null;
  }
}

/**
 * Take over what only the server can know of an answer this page was not present for all of.
 *
 * @param {Answer} answer
 * @param {any} state of GET /v1/streams/{id}
 */
export function applyState(answer, state) {
  if (answer.status === "running" && state.status !== "queued" && state.status !== "running") {
    answer.status = state.status;
    answer.error = state.error ?? answer.error;
  }
  answer.firstTokenMs = state.timings?.first_token_ms ?? null;
  answer.tokensPerSecond = state.timings?.tokens_per_second ?? null;
}
