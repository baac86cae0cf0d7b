/**
 * One answer, followed to its end whatever happens to the connection: the resume logic. Free of the DOM.
 *
 * Every event is given out once and in order. Where that cannot be kept (the server has lost or replaced what was
 * already read), a `reset` event comes first and says what to discard.
 *
 * @typedef {import("./api.js").Api} Api
 * @typedef {{type: string} & Record<string, any>} StreamEvent an event of docs/api.md; unknown types come too
 *
 * @typedef {object} Delivery
 * @property {StreamEvent} event
 * @property {string | null} offset where to resume once this event has been taken in
 *
 * @typedef {object} Connection what is known of the connection
 * @property {"connecting" | "open" | "waiting"} phase
 * @property {number} retryAtMs when the next try is due (waiting), by `Date.now()`; else 0
 * @property {string | null} trouble a sentence on why it is waiting
 *
 * @typedef {object} StreamOptions
 * @property {Api} api
 * @property {Record<string, unknown>} request body of POST /v1/streams; the same for the same `key`, always
 * @property {string} key Idempotency-Key: a POST that is repeated attaches to the stream the first one started
 * @property {number} startedMs when the answer was first asked for, by `Date.now()`
 * @property {string | null} [streamId] of an answer that was begun before
 * @property {string | null} [offset] how far that answer has been read
 * @property {(connection: Connection) => void} [onConnection]
 */
import { RequestFailure } from "./api.js";
import { fullJitterMs, Pause } from "./backoff.js";
import { readFrames } from "./sse.js";
import { SilenceError, Watchdog } from "./watchdog.js";

const BASE_DELAY_MS = 1000;
const MAX_DELAY_MS = 15_000;
/** Tries in a row without one event before the reader is asked: seven minutes on average. */
const MAX_FAILURES = 60;
/** A stream unknown this soon after its start may have been lost between two replicas: ask for it again. */
const RESTART_WINDOW_MS = 120_000;
/** Connections in a row that stay silent from the first byte on mean that something on the way gathers events. */
const SILENT_BEFORE_POLLING = 2;
const POLL_WAIT_S = 20;

/**
 * Follows one answer: `for await (const {event, offset} of new AnswerStream(options))`. The iteration ends after
 * the `end` event, or after `close()`; it throws `RequestFailure` when trying again cannot help.
 */
export class AnswerStream {
  #options;
  /** @type {string | null} */
  #streamId;
  /** @type {string | null} */
  #offset;
  /** Whether anything was given out that a replay from the start would repeat. */
  #delivered;
  #failures = 0;
  #silentConnections = 0;
  #baseDelayMs = BASE_DELAY_MS;
  #ended = false;
  #closed = false;
  #pause = new Pause();
  /** @type {AbortController | null} */
  #connection = null;
  /** @type {Watchdog | null} */
  #watchdog = null;

  /** @param {StreamOptions} options */
  constructor(options) {
    this.#options = options;
    this.#streamId = options.streamId ?? null;
    this.#offset = options.offset ?? null;
    this.#delivered = this.#offset !== null;
  }

  /** The stream's id; null until the server has named it. */
  get streamId() {
    return this.#streamId;
  }

  /** The network or the device is back: try now, and drop a connection that looks dead. */
  nudge() {
    this.#pause.end();
    this.#watchdog?.suspect();
  }

  /** Stop reading. The answer itself goes on. */
  close() {
    this.#closed = true;
    this.#connection?.abort();
    this.#pause.end();
  }

  /** @returns {AsyncGenerator<Delivery, void, void>} */
  async *[Symbol.asyncIterator]() {
    while (!this.#closed && !this.#ended) {
      /** @type {RequestFailure | null} */
      let failure = null;
      try {
        yield* this.#read();
      } catch (error) {
        // A cut shows as an error whose text is the browser's own; bytes that make no sense are treated alike.
        failure = error instanceof RequestFailure ? error : new RequestFailure("The connection was cut.");
      }
      if (this.#closed || this.#ended) {
        return;
      }
      await this.#recover(failure);
    }
  }

  /**
   * Decide what follows a connection that is over, and wait. Throws the failure when trying again cannot help.
   *
   * @param {RequestFailure | null} failure null: the server closed cleanly, e.g. to be replaced
   */
  async #recover(failure) {
    if (failure !== null && !this.#mayRetry(failure)) {
      throw failure;
    }
    this.#failures += 1;
    if (this.#failures > MAX_FAILURES) {
      throw new RequestFailure("The server could not be reached for several minutes.", { code: "unreachable" });
    }
    const jitterMs = fullJitterMs(this.#failures - 1, this.#baseDelayMs, MAX_DELAY_MS);
    const delayMs = (failure?.retryAfterMs ?? 0) + jitterMs;
    this.#tell("waiting", Date.now() + delayMs, failure?.message ?? null);
    await this.#pause.wait(delayMs);
  }

  /**
   * Tell whether trying again may help, and forget what the failure has shown to be wrong.
   *
   * @param {RequestFailure} failure
   * @returns {boolean}
   */
  #mayRetry(failure) {
    const fresh = Date.now() - this.#options.startedMs < RESTART_WINDOW_MS;
    if (failure.status === 404 && this.#streamId !== null && fresh) {
      this.#streamId = null;
      return true;
    }
    if (failure.code === "invalid_offset" && this.#offset !== null) {
      this.#offset = null;
      return true;
    }
    return failure.retryable;
  }

  /** Read over one connection until it ends. @returns {AsyncGenerator<Delivery, void, void>} */
  async *#read() {
    const connection = new AbortController();
    this.#connection = connection;
    this.#watchdog = new Watchdog(connection);
    this.#tell("connecting", 0, null);
    try {
      const polling = this.#silentConnections >= SILENT_BEFORE_POLLING;
      yield* polling ? this.#poll(connection.signal) : this.#subscribe(connection.signal);
    } catch (error) {
      if (connection.signal.reason instanceof SilenceError) {
        // What an aborted read throws differs between browsers; the reason it was aborted for does not.
        this.#silentConnections += 1;
        throw connection.signal.reason;
      }
      throw error;
    } finally {
      this.#watchdog.stop();
      this.#watchdog = null;
      this.#connection = null;
      if (!this.#ended) {
        connection.abort();
      }
    }
  }

  /**
   * Read server-sent events.
   *
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<Delivery, void, void>}
   */
  async *#subscribe(signal) {
    const response = await this.#open(signal, "text/event-stream");
    if (response.status === 204) {
      this.#ended = true;
      return;
    }
    if (!response.headers.get("Content-Type")?.startsWith("text/event-stream") || response.body === null) {
      throw new RequestFailure("Something between this page and the server answered in its place.");
    }
    yield* this.#restartIfReplayed();
    const frames = readFrames(response.body, (parser) => {
      this.#watchdog?.heard();
      this.#silentConnections = 0;
      this.#baseDelayMs = parser.retryMs ?? this.#baseDelayMs;
    });
    for await (const frame of frames) {
      yield this.#deliver(JSON.parse(frame.data), frame.id);
      if (this.#ended) {
        return;
      }
    }
  }

  /**
   * Ask for the next events again and again: for networks that hold server-sent events back.
   *
   * @param {AbortSignal} signal
   * @returns {AsyncGenerator<Delivery, void, void>}
   */
  async *#poll(signal) {
    if (this.#streamId === null) {
      await (await this.#open(signal, "application/json")).json();
    }
    yield* this.#restartIfReplayed();
    while (!this.#ended) {
      const query = new URLSearchParams({ mode: "poll", wait: String(POLL_WAIT_S) });
      if (this.#offset !== null) {
        query.set("offset", this.#offset);
      }
      const path = `/v1/streams/${encodeURIComponent(/** @type {string} */ (this.#streamId))}/events?${query}`;
      const response = await this.#options.api.send(path, { signal });
      this.#tell("open", 0, null);
      const batch = response.status === 204 ? { events: [], done: true } : await response.json();
      this.#watchdog?.heard();
      for (const { id, data } of batch.events) {
        yield this.#deliver(data, id);
      }
      this.#ended ||= batch.done;
    }
  }

  /**
   * Start the answer or come back to it. The answer to a POST begins at the stream's start.
   *
   * @param {AbortSignal} signal
   * @param {string} accept
   * @returns {Promise<Response>}
   */
  async #open(signal, accept) {
    const { api, request, key } = this.#options;
    let response;
    if (this.#streamId === null) {
      this.#offset = null;
      const headers = { Accept: accept, "Idempotency-Key": key };
      response = await api.send("/v1/streams", { method: "POST", headers, body: request, signal });
      this.#streamId = response.headers.get("X-Stream-Id") || null;
    } else {
      /** @type {Record<string, string>} */
      const headers = { Accept: accept };
      if (this.#offset !== null) {
        headers["Last-Event-ID"] = this.#offset;
      }
      response = await api.send(`/v1/streams/${encodeURIComponent(this.#streamId)}/events`, { headers, signal });
    }
    this.#tell("open", 0, null);
    return response;
  }

  /** What was given out comes again from the start: have it discarded. @returns {Generator<Delivery, void, void>} */
  *#restartIfReplayed() {
    if (this.#delivered && this.#offset === null) {
      this.#delivered = false;
      yield { event: { type: "reset", keep_blocks: 0, reason: "replayed" }, offset: null };
    }
  }

  /**
   * Note the progress an event is.
   *
   * @param {StreamEvent} event
   * @param {string | null} id
   * @returns {Delivery}
   */
  #deliver(event, id) {
    this.#failures = 0;
    this.#offset = id || this.#offset;
    this.#delivered = true;
    this.#ended = event.type === "end";
    if (event.type === "start") {
      this.#streamId = event.stream_id;
    }
    return { event, offset: this.#offset };
  }

  /**
   * @param {Connection["phase"]} phase
   * @param {number} retryAtMs
   * @param {string | null} trouble
   */
  #tell(phase, retryAtMs, trouble) {
    this.#options.onConnection?.({ phase, retryAtMs, trouble });
  }
}
