/** The client of one Tailrace address. */
import { TailraceError, send } from "./http.js";
import { Retry } from "./retry.js";
import { AnswerStream } from "./stream.js";

export { AnswerStream, TailraceError };

const TIMEOUTS = { firstByteMs: 30_000, idleMs: 35_000, totalMs: Infinity, startMs: 30_000, lostMs: 120_000 };

export class Tailrace {
  #options;

  constructor(options = {}) {
    this.#options = options;
    this.timeouts = { ...TIMEOUTS, ...options.timeouts };
  }

  stream(request, options) {
    const body = typeof request === "string" ? { messages: [{ role: "user", content: request }] } : request;
    return new AnswerStream(this, { ...options, request: body });
  }

  follow(id, options) {
    return new AnswerStream(this, { ...options, id });
  }

  state(id, options) {
    return this.ask(`/v1/streams/${id}`, options);
  }

  cancel(id, options) {
    return this.ask(`/v1/streams/${id}/cancel`, { ...options, method: "POST" });
  }

  async models(options) {
    return (await this.ask("/v1/models", options)).models;
  }

  send(path, init) {
    return send(this.#options, path, init);
  }

  async ask(path, { signal, ...init } = {}) {
    const retry = new Retry();
    for (;;) {
      try {
        const limit = signal ?? AbortSignal.timeout(this.timeouts.firstByteMs);
        return await (await this.send(path, { ...init, signal: limit })).json();
      } catch (error) {
        signal?.throwIfAborted();
        await retry.wait(TailraceError.of(error), this.timeouts.startMs, signal);
      }
    }
  }
}
