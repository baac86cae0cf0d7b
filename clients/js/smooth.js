/** Token smoothing: bursts are shown at a steady pace. */
const DRAIN_MS = 140;
/** More at once is a replay: it appears whole. */
const REPLAY_CHARACTERS = 1500;

export function charactersDue(waiting, elapsedMs) {
  const share = waiting > REPLAY_CHARACTERS ? 1 : 1 - Math.exp(-elapsedMs / DRAIN_MS);
  return Math.max(Math.min(1, waiting), Math.ceil(waiting * share));
}

// Cuts no character in half.
export function wholeCharacter(text, at) {
  const code = text.charCodeAt(at - 1);
  return at < text.length && code >= 0xd800 && code <= 0xdbff ? at + 1 : at;
}

export class Smoother {
  #show;
  #text = "";
  #shown = 0;
  #lastMs = 0;
  #waiting = false;

  constructor(show) {
    this.#show = show;
  }

  to(text) {
    this.#text = text;
    if (!this.#waiting) {
      this.#schedule();
    }
  }

  flush() {
    this.#waiting = false;
    this.#shown = this.#text.length;
    this.#show(this.#text);
  }

  #schedule() {
    this.#waiting = true;
    // A hidden page and a server have no frames.
    if (globalThis.document?.hidden ?? true) {
      setTimeout(() => this.#frame(Infinity), 100);
    } else {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      requestAnimationFrame((nowMs) => {
        const elapsedMs = Math.min(nowMs - this.#lastMs, 50);
        this.#lastMs = nowMs;
        this.#frame(calm ? Infinity : elapsedMs);
      });
    }
  }

  #frame(elapsedMs) {
    if (this.#waiting) {
      const shown = Math.min(this.#shown, this.#text.length);
      this.#shown = wholeCharacter(this.#text, shown + charactersDue(this.#text.length - shown, elapsedMs));
      this.#waiting = false;
      if (this.#shown < this.#text.length) {
        this.#schedule();
      }
      this.#show(this.#text.slice(0, this.#shown));
    }
  }
}
