/**
 * What the page says about an answer: its state in one word, the sentence beside it, the figures, and what can be
 * done next. Free of the DOM.
 *
 * @typedef {import("./answer.js").Answer} Answer
 *
 * @typedef {object} Live how an answer is being followed
 * @property {"connecting" | "open" | "waiting"} phase
 * @property {number} retryAtMs when the next try is due, by `Date.now()`
 * @property {string | null} trouble a sentence on why the connection is not open
 * @property {boolean} resumed it has been open before, here or before a reload
 * @property {boolean} stopping Stop has been pressed
 * @property {string | null} failure why following it was given up; the answer itself may go on
 *
 * @typedef {"queued" | "streaming" | "reconnecting" | "done" | "stopped" | "failed"} State
 *
 * @typedef {object} Description
 * @property {State} state
 * @property {string} label
 * @property {string} note a sentence; "" when there is nothing to say
 * @property {string} facts
 * @property {"retry" | "regenerate" | "reconnect" | null} remedy
 */

const STOP_NOTES = new Map([
  ["max_tokens", "It reached the length limit."],
  ["model_context_window_exceeded", "The conversation is as long as the model can read; start a new chat."],
  ["refusal", "The model declined to go on."],
]);

/**
 * @param {Answer} answer
 * @param {Live | null} live null when nobody follows it here
 * @returns {Description}
 */
export function describe(answer, live) {
  const facts = figures(answer);
  if (answer.status === "running") {
    return { facts, ...running(answer, live) };
  }
  const note = answer.error?.message ?? STOP_NOTES.get(answer.stop_reason ?? "") ?? "";
  switch (answer.status) {
    case "completed":
      return { state: "done", label: "Done", note, facts, remedy: "regenerate" };
    case "cancelled":
      return { state: "stopped", label: "Stopped", note, facts, remedy: "regenerate" };
    case "incomplete":
      return { state: "failed", label: "Incomplete", note: note || unfinished(answer), facts, remedy: "retry" };
    default:
      return { state: "failed", label: "Failed", note: note || unfinished(answer), facts, remedy: "retry" };
  }
}

/**
 * @param {Answer} answer
 * @param {Live | null} live
 * @returns {{state: State, label: string, note: string, remedy: Description["remedy"]}}
 */
function running(answer, live) {
  const quiet = { note: "", remedy: null };
  if (live === null || live.failure !== null) {
    const note = live?.failure ?? "The answer is not being followed.";
    return { state: "failed", label: "Connection lost", note, remedy: "reconnect" };
  }
  if (live.stopping) {
    return { state: "streaming", label: "Stopping", ...quiet };
  }
  if (live.phase === "waiting") {
    const seconds = Math.ceil((live.retryAtMs - Date.now()) / 1000);
    const label = seconds > 1 ? `Reconnecting in ${seconds} s` : "Reconnecting";
    return { state: "reconnecting", label, note: live.trouble ?? "", remedy: null };
  }
  if (live.phase === "connecting") {
    const again = live.resumed || live.trouble !== null;
    return { state: again ? "reconnecting" : "queued", label: again ? "Reconnecting" : "Sending", ...quiet };
  }
  if (answer.blocks.length > 0) {
    return { state: "streaming", label: "Streaming", ...quiet };
  }
  return answer.claimed
    ? { state: "streaming", label: "Starting", ...quiet }
    : { state: "queued", label: "Queued", ...quiet };
}

/** @param {Answer} answer */
function unfinished(answer) {
  return answer.blocks.length > 0 ? "The answer broke off. Fetch a complete one?" : "There was no answer.";
}

/**
 * @param {Answer} answer
 * @returns {string}
 */
function figures(answer) {
  const parts = [];
  if (answer.firstTokenMs !== null) {
    parts.push(`first token ${duration(answer.firstTokenMs)}`);
  }
  if (answer.tokensPerSecond !== null && answer.status !== "running") {
    parts.push(`${Math.round(answer.tokensPerSecond)} tokens/s`);
  }
  if (answer.usage !== undefined) {
    parts.push(`${answer.usage.output_tokens ?? 0} tokens`);
  }
  if (answer.model !== null) {
    parts.push(answer.model);
  }
  return parts.join(" \u00b7 ");
}

/** @param {number} ms */
function duration(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
