/** One answer, read to its end whatever happens: the resume logic. */
import { applyEvent, newAnswer, textOf } from "./answer.js";
import { TailraceError } from "./http.js";
import { Retry } from "./retry.js";
import { SseParser } from "./sse.js";

/** Relays break every silence after 10 s. */
const STALE_MS = 15_000;
/** A connection that held so long is progress. */
const STEADY_MS = 5000;
/** A stream unknown so soon after its start was lost: start it again. */
const LOST_WITHIN_MS = 60_000;
const LOST = '{"type":"reset","keep_blocks":0,"reason":"stream_lost"}';
const SSE = "text/event-stream";

export class AnswerStream {
  answer = newAnswer();
  ended = false;
  #client;
  #options;
  #retry = new Retry();
  #leaving;
  #connection;
  #broken;
  #timer;
  #heardMs = 0;
  #deadlineMs = 0;
  #began = false;
  #again = false;
  #told;

  constructor(client, { id = null, offset = null, ...options }) {
    this.#client = client;
    this.#options = { key: randomKey(), startedMs: Date.now(), ...options };
    this.#options.timeouts = { ...client.timeouts, ...options.timeouts };
    this.id = id;
    this.offset = offset;
    this.#told = offset !== null;
  }

  get text() {
    return textOf(this.answer);
  }

  nudge() {
    this.#retry.nudge();
    if (Date.now() - this.#heardMs > STALE_MS) {
      this.#break(silent());
    }
  }

  close() {
    this.#leaving?.abort();
    this.#connection?.abort();
  }

  async cancel(options) {
    // Until the start is answered its key leads to the stream.
    this.id ??= (await this.#client.ask("/v1/streams", { ...options, ...this.#start() })).id;
    return this.#client.cancel(this.id, options);
  }

  async result() {
    for await (const _ of this);
    return this.answer;
  }

  async *[Symbol.asyncIterator]() {
    this.close();
    const { signal, timeouts } = this.#options;
    signal?.throwIfAborted();
    const leaving = (this.#leaving = new AbortController());
    const meanwhile = { signal: leaving.signal };
    const nudge = () => this.nudge();
    signal?.addEventListener("abort", () => this.close(), meanwhile);
    globalThis.addEventListener?.("online", nudge, meanwhile);
    globalThis.document?.addEventListener("visibilitychange", nudge, meanwhile);
    this.#deadlineMs ||= Date.now() + timeouts.totalMs;
    this.#retry.progress();
    try {
      while (!this.ended && !leaving.signal.aborted) {
        const openedMs = Date.now();
        let error = TailraceError.of();
        try {
          yield* this.#read();
        } catch (cause) {
          error = this.#broken ?? TailraceError.of(cause);
        }
        if (!this.ended && !leaving.signal.aborted) {
          await this.#recover(error, Date.now() - openedMs, leaving.signal);
        }
      }
      signal?.throwIfAborted();
    } finally {
      leaving.abort();
    }
  }

  async #recover(error, heldMs, signal) {
    const { request, startedMs, timeouts } = this.#options;
    if (this.#began && heldMs > STEADY_MS) {
      this.#retry.progress();
    }
    if (error.status === 404 && request && this.id && Date.now() - startedMs < LOST_WITHIN_MS) {
      error.retryable = this.#again = true;
    } else if (error.code === "invalid_offset" && this.offset) {
      error.retryable = true;
      this.offset = null;
    }
    // A proxy may answer in the place of a stream that exists.
    error.retryable ||= error.code === "unexpected_answer" && this.#began;
    const tell = (retryAtMs) => {
      if (retryAtMs > this.#deadlineMs) {
        throw outOfTime();
      }
      this.#tell("waiting", retryAtMs, error);
    };
    await this.#retry.wait(error, this.#began ? timeouts.lostMs : timeouts.startMs, signal, tell);
  }

  async *#read() {
    const connection = (this.#connection = new AbortController());
    const { signal } = connection;
    const { firstByteMs, idleMs } = this.#options.timeouts;
    this.#broken = null;
    this.#hear(firstByteMs);
    this.#tell("connecting");
    try {
      const response = await this.#open(signal);
      if (response.status === 204) {
        this.ended = true;
        return;
      }
      if (!response.headers.get("Content-Type")?.startsWith(SSE)) {
        throw new TailraceError("No relay answered.", { code: "unexpected_answer" });
      }
      this.#began = true;
      this.#tell("open");
      const parser = new SseParser();
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      while (!this.ended) {
        signal.throwIfAborted();
        this.#hear(idleMs);
        const { value, done } = await reader.read();
        if (done) {
          return;
        }
        const frames = parser.feed(decoder.decode(value, { stream: true }));
        this.#retry.baseMs = parser.retryMs ?? this.#retry.baseMs;
        yield* this.#give(frames, signal);
      }
    } finally {
      if (connection === this.#connection) {
        clearTimeout(this.#timer);
      }
      connection.abort();
    }
  }

  async #open(signal) {
    const headers = { Accept: SSE };
    if (!this.id || this.#again) {
      const response = await this.#client.send("/v1/streams", { ...this.#start(headers), signal });
      const id = response.headers.get("X-Stream-Id");
      this.#again = false;
      if (!id || id !== this.id) {
        this.id = id;
        this.offset = null;
        return response;
      }
      // It is there after all, but this response begins at its start.
    }
    if (this.offset) {
      headers["Last-Event-ID"] = this.offset;
    }
    return this.#client.send(`/v1/streams/${this.id}/events`, { headers, signal });
  }

  #start(headers) {
    const { request: body, key } = this.#options;
    return { method: "POST", headers: { ...headers, "Idempotency-Key": key }, body };
  }

  *#give(frames, signal) {
    // While the reader is busy nobody listens, and silence says nothing.
    clearTimeout(this.#timer);
    if (this.#told && !this.offset) {
      // What was given out comes again, perhaps from another stream.
      frames.unshift({ id: null, data: LOST });
    }
    for (const { id, data } of frames) {
      const event = JSON.parse(data);
      signal.throwIfAborted();
      if (event.type === "error" && !id) {
        throw TailraceError.told(event);
      }
      const reset = event.type === "reset";
      if (reset || !id || !this.offset || id > this.offset) {
        this.offset = reset ? id : id || this.offset;
        this.#told = !reset || id !== null;
        this.ended = event.type === "end";
        this.id = event.stream_id ?? this.id;
        this.#retry.progress();
        applyEvent(this.answer, event);
        yield event;
      }
    }
  }

  #tell(phase, retryAtMs = 0, error = null) {
    this.#options.onConnection?.({ phase, retryAtMs, error });
  }

  #hear(ms) {
    clearTimeout(this.#timer);
    this.#heardMs = Date.now();
    const leftMs = Math.min(this.#deadlineMs - this.#heardMs, 2 ** 31 - 1);
    this.#timer = setTimeout(() => this.#break(leftMs < ms ? outOfTime() : silent()), Math.min(ms, leftMs));
  }

  #break(why) {
    this.#broken = why;
    this.#connection?.abort();
  }
}

const silent = () => new TailraceError("The connection went silent.");

const outOfTime = () =>
  new TailraceError("The answer takes too long.", { code: "client_timeout", retryable: false });

// Browsers keep crypto.randomUUID from pages served without TLS.
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
