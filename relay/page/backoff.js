/** When to try again: exponential backoff with full jitter, and waits that can be cut short. Free of the DOM. */

/**
 * A random delay in milliseconds between 0 and `baseMs * 2^failures`, never over `capMs`. Full jitter: after an
 * outage the clients come back spread out, not all at once.
 *
 * @param {number} failures how many tries in a row have failed, from 0
 * @param {number} baseMs
 * @param {number} capMs
 * @returns {number}
 */
export function fullJitterMs(failures, baseMs, capMs) {
  return Math.random() * Math.min(capMs, baseMs * 2 ** Math.min(failures, 30));
}

/** One wait at a time that somebody else may end early. */
export class Pause {
  /** @type {(() => void) | null} */
  #end = null;

  /**
   * Resolves after `ms` milliseconds or at `end()`, whichever is first.
   *
   * @param {number} ms
   * @returns {Promise<void>}
   */
  wait(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.end(), ms);
      this.#end = () => {
        clearTimeout(timer);
        this.#end = null;
        resolve();
      };
    });
  }

  /** End the wait that is under way, if there is one. */
  end() {
    this.#end?.();
  }
}
