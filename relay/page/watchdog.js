/** Notices when a connection has gone silent: the server breaks every silence after 10 s, so a longer one is death. */
import { RequestFailure } from "./api.js";

/** Longest wait for the first byte, and then for any byte. */
const SILENCE_MS = 30_000;
/** Silence after which a connection is suspected dead when the device wakes up: one missed heartbeat. */
const STALE_MS = 15_000;
const CHECK_MS = 1000;

/** The connection was silent for too long. */
export class SilenceError extends RequestFailure {
  name = "SilenceError";

  constructor() {
    super("The connection went silent.", { code: "silent" });
  }
}

/** Watches one connection, from now until `stop()`, and aborts it with a `SilenceError` at the first long silence. */
export class Watchdog {
  #connection;
  #heardMs = Date.now();
  #timer;

  /** @param {AbortController} connection */
  constructor(connection) {
    this.#connection = connection;
    this.#timer = setInterval(() => this.#abortAfter(SILENCE_MS), CHECK_MS);
  }

  /** Something has arrived. */
  heard() {
    this.#heardMs = Date.now();
  }

  /** The device may have slept: do not wait out the silence of a connection that looks dead. */
  suspect() {
    this.#abortAfter(STALE_MS);
  }

  stop() {
    clearInterval(this.#timer);
  }

  /** @param {number} silenceMs */
  #abortAfter(silenceMs) {
    if (Date.now() - this.#heardMs > silenceMs) {
      this.#connection.abort(new SilenceError());
    }
  }
}
