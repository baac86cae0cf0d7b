/** When to try again: full jitter spreads clients out. */
const CAP_MS = 10_000;

export class Retry {
  baseMs = 250;
  #failures = 0;
  #sinceMs = 0;
  #wake;

  progress() {
    this.#failures = this.#sinceMs = 0;
  }

  nudge() {
    this.#sinceMs &&= Date.now();
    this.#wake?.();
  }

  async wait(error, budgetMs, signal, tell) {
    const now = Date.now();
    if (!this.#sinceMs || globalThis.navigator?.onLine === false) {
      this.#sinceMs = now;
    }
    const capMs = Math.max(CAP_MS, this.baseMs);
    const waitMs = error.retryAfterMs + Math.random() * Math.min(this.baseMs * 2 ** this.#failures, capMs);
    if (!error.retryable || now + waitMs - this.#sinceMs > budgetMs) {
      throw error;
    }
    this.#failures += 1;
    tell?.(now + waitMs);
    await new Promise((resolve) => {
      let timer = setTimeout(resolve, waitMs);
      this.#wake = () => {
        clearTimeout(timer);
        // What the server asked for is waited out.
        timer = setTimeout(resolve, signal?.aborted ? 0 : now + error.retryAfterMs - Date.now());
      };
      signal?.addEventListener("abort", this.#wake, { once: true });
    });
    this.#wake = null;
  }
}
