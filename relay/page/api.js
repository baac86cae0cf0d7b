/**
 * The native HTTP API as calls: one place that sends requests, adds the API key and turns failures into one type.
 * Free of the DOM.
 */

/** Longest wait for an answer that is not a stream. */
const CALL_TIMEOUT_MS = 20_000;
/** No server may send us away for longer than this. */
const MAX_RETRY_AFTER_MS = 300_000;
const RETRYABLE_STATUS = new Set([408, 425, 429, 500, 502, 503, 504]);

/** A request that was refused, or that nobody answered (`status` 0). `message` is a sentence for the reader. */
export class RequestFailure extends Error {
  name = "RequestFailure";

  /**
   * @param {string} message
   * @param {{status?: number, code?: string, retryable?: boolean, retryAfterMs?: number | null}} [facts]
   */
  constructor(message, { status = 0, code = "network", retryable = true, retryAfterMs = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * What the server said with a status that is not 2xx. Never throws: a body that is no JSON gets a sentence of ours.
 *
 * @param {Response} response
 * @returns {Promise<RequestFailure>}
 */
async function failureOf(response) {
  const status = response.status;
  let said = /** @type {any} */ (null);
  try {
    said = (await response.json()).error;
  } catch {
    // A proxy's error page: the status has to do.
  }
  return new RequestFailure(
    typeof said?.message === "string" ? said.message : `The server answered with status ${status}.`,
    {
      status,
      code: typeof said?.code === "string" ? said.code : `http_${status}`,
      retryable: typeof said?.retryable === "boolean" ? said.retryable : RETRYABLE_STATUS.has(status),
      retryAfterMs: retryAfterMs(response.headers.get("Retry-After"), said?.retry_after_s),
    },
  );
}

/**
 * How long the server asks us to stay away; null when it does not say.
 *
 * @param {string | null} header seconds or a date
 * @param {unknown} seconds the same in the error's body
 * @returns {number | null}
 */
function retryAfterMs(header, seconds) {
  let ms = typeof seconds === "number" ? seconds * 1000 : NaN;
  if (header !== null) {
    ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  }
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS) : null;
}

/** A connection to one server of the native API. */
export class Api {
  #base;
  #apiKey;

  /**
   * @param {{base?: string, apiKey?: () => string | null}} [options] `base`: address of the server, "" for the
   *   page's own; `apiKey`: asked before every request
   */
  constructor({ base = "", apiKey = () => null } = {}) {
    this.#base = base;
    this.#apiKey = apiKey;
  }

  /**
   * Send a request; the answer is a 2xx. Throws `RequestFailure` for every other, and for none; when `signal` is
   * aborted, throws its reason.
   *
   * @param {string} path
   * @param {{method?: string, headers?: Record<string, string>, body?: unknown, signal: AbortSignal}} request
   * @returns {Promise<Response>}
   */
  async send(path, { method = "GET", headers = {}, body, signal }) {
    const all = new Headers({ Accept: "application/json", ...headers });
    const key = this.#apiKey();
    if (key !== null) {
      all.set("Authorization", `Bearer ${key}`);
    }
    if (body !== undefined) {
      all.set("Content-Type", "application/json");
    }
    let response;
    try {
      response = await fetch(this.#base + path, {
        method,
        headers: all,
        body: body === undefined ? null : JSON.stringify(body),
        signal,
        cache: "no-store",
        credentials: "same-origin",
      });
    } catch {
      signal.throwIfAborted();
      throw new RequestFailure("The server cannot be reached.");
    }
    if (!response.ok) {
      throw await failureOf(response);
    }
    return response;
  }

  /**
   * Send a request and return the JSON of the answer, within `timeoutMs`. Throws `RequestFailure` alone.
   *
   * @param {string} path
   * @param {{method?: string, headers?: Record<string, string>, body?: unknown}} [request]
   * @param {number} [timeoutMs]
   * @returns {Promise<any>}
   */
  async call(path, request = {}, timeoutMs = CALL_TIMEOUT_MS) {
    try {
      return await (await this.send(path, { ...request, signal: AbortSignal.timeout(timeoutMs) })).json();
    } catch (error) {
      if (error instanceof RequestFailure) {
        throw error;
      }
      throw new RequestFailure("The server did not answer in time, or not in JSON.");
    }
  }

  /** @returns {Promise<{id: string, provider: string, max_tokens: number, default: boolean}[]>} */
  async models() {
    return (await this.call("/v1/models")).models;
  }

  /**
   * The stream's state, text and timings.
   *
   * @param {string} streamId
   */
  state(streamId) {
    return this.call(`/v1/streams/${encodeURIComponent(streamId)}`);
  }

  /**
   * End the stream; the answer is its state once it has ended.
   *
   * @param {string} streamId
   * @param {number} timeoutMs
   */
  cancel(streamId, timeoutMs) {
    return this.call(`/v1/streams/${encodeURIComponent(streamId)}/cancel`, { method: "POST" }, timeoutMs);
  }
}
