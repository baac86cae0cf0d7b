/**
 * An answer as the page keeps it, and how each event changes it. Plain data, so that it can be stored as it is.
 * Free of the DOM.
 *
 * @typedef {import("./stream.js").StreamEvent} StreamEvent
 *
 * @typedef {object} Block
 * @property {number} block its number in the stream
 * @property {string} kind text, thinking, tool_use, tool_result, data, or one this page does not know
 * @property {string} text what it says; a tool call's arguments as JSON; empty where it has only `data`
 * @property {string | null} name the tool's name
 * @property {unknown} data a tool's result, or what the provider sent
 * @property {boolean} complete
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
 * @property {Problem | null} problem why it failed
 * @property {string | null} stopReason
 * @property {boolean} claimed a worker has taken it up
 * @property {boolean} interrupted the page was away in between, so its own clock does not know the timings
 * @property {number} askedMs by `Date.now()`, as all times here
 * @property {number | null} firstTokenMs from being asked for to the first token
 * @property {number | null} tokensPerSecond
 * @property {number | null} outputTokens
 */

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
    problem: null,
    stopReason: null,
    claimed: false,
    interrupted: false,
    askedMs: Date.now(),
    firstTokenMs: null,
    tokensPerSecond: null,
    outputTokens: null,
  };
}

/**
 * 128 random bits as text. `crypto.randomUUID` would do, but browsers keep it from pages served without TLS.
 *
 * @returns {string}
 */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
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
  switch (event.type) {
    case "start":
      answer.model = event.model;
      break;
    case "attempt":
      answer.claimed = true;
      break;
    case "block_start":
      openBlock(answer, event);
      break;
    case "delta":
      extendBlock(answer, event);
      break;
    case "block_stop":
      blockOf(answer, event.block, "text").complete = true;
      break;
    case "reset":
      answer.blocks = answer.blocks.filter((block) => block.block < event.keep_blocks);
      answer.problem = null;
      break;
    case "error":
      answer.problem = { code: event.code, message: event.message };
      break;
    case "end":
      endAnswer(answer, event);
      break;
  }
}

/**
 * @param {Answer} answer
 * @param {StreamEvent} event
 */
function openBlock(answer, event) {
  const block = blockOf(answer, event.block, event.kind);
  block.kind = event.kind;
  block.name = event.name ?? null;
  block.data = event.data ?? null;
}

/**
 * @param {Answer} answer
 * @param {StreamEvent} event
 */
function extendBlock(answer, event) {
  const more = event.text ?? event.json ?? "";
  if (more === "") {
    return;
  }
  blockOf(answer, event.block, "text").text += more;
  answer.firstTokenMs ??= Date.now() - answer.askedMs;
}

/**
 * The block of that number; one that has not been announced is opened.
 *
 * @param {Answer} answer
 * @param {number} number
 * @param {string} kind
 * @returns {Block}
 */
function blockOf(answer, number, kind) {
  const found = answer.blocks.findLast((block) => block.block === number);
  if (found !== undefined) {
    return found;
  }
  const block = { block: number, kind, text: "", name: null, data: null, complete: false };
  const after = answer.blocks.findIndex((other) => other.block > number);
  answer.blocks.splice(after === -1 ? answer.blocks.length : after, 0, block);
  return block;
}

/**
 * @param {Answer} answer
 * @param {StreamEvent} event
 */
function endAnswer(answer, event) {
  answer.status = event.status;
  answer.stopReason = event.stop_reason ?? null;
  answer.outputTokens = event.usage?.output_tokens ?? null;
  for (const block of answer.blocks) {
    block.complete = true;
  }
  const writingMs = Date.now() - answer.askedMs - (answer.firstTokenMs ?? 0);
  if (answer.outputTokens !== null && answer.outputTokens > 1 && writingMs > 0) {
    answer.tokensPerSecond = ((answer.outputTokens - 1) * 1000) / writingMs;
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
    answer.problem = state.error ?? answer.problem;
  }
  answer.firstTokenMs = state.timings?.first_token_ms ?? null;
  answer.tokensPerSecond = state.timings?.tokens_per_second ?? null;
}
