/** Token smoothing: how much of the text that has arrived is shown in each frame. Free of the DOM. */

/** Text that has arrived is shown within about this time, so that bursts flow instead of jumping. */
const DRAIN_MS = 140;
/** More than this at once is a replay, not writing: it appears whole. */
const REPLAY_CHARACTERS = 1500;

/**
 * How many of the characters waiting to be shown are due now.
 *
 * @param {number} waiting
 * @param {number} elapsedMs since the last frame
 * @returns {number}
 */
export function charactersDue(waiting, elapsedMs) {
  if (waiting > REPLAY_CHARACTERS) {
    return waiting;
  }
  return Math.min(waiting, Math.max(1, Math.ceil(waiting * (1 - Math.exp(-elapsedMs / DRAIN_MS)))));
}

/**
 * The same place or the next one that does not cut a character in half.
 *
 * @param {string} text
 * @param {number} at
 * @returns {number}
 */
export function wholeCharacter(text, at) {
  const code = text.charCodeAt(at - 1);
  return at < text.length && code >= 0xd800 && code <= 0xdbff ? at + 1 : at;
}
