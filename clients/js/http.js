/** One request to a relay. */
export class TailraceError extends Error {
  name = "TailraceError";

  constructor(message, { status = 0, code = "connection_lost", retryable = true, retryAfterMs = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, retryable, retryAfterMs });
  }

  static told(error, status, wait = error.retry_after_s ?? 0) {
    const waitMs = isNaN(wait) ? Date.parse(wait) - Date.now() : wait * 1000;
    return new TailraceError(error.message, { ...error, status, retryAfterMs: Math.max(waitMs, 0) || 0 });
  }

  // Every browser throws something else for a cut.
  static of(error) {
    return error instanceof TailraceError ? error : new TailraceError("The connection was cut.");
  }
}

export async function send({ baseUrl = "", apiKey, fetch = globalThis.fetch }, path, { body, headers, ...init }) {
  const key = await (typeof apiKey === "function" ? apiKey() : apiKey);
  const response = await fetch(baseUrl + path, {
    cache: "no-store",
    redirect: "manual", // the key must not go where somebody else points
    ...init,
    headers: {
      Accept: "application/json",
      ...(key && { Authorization: `Bearer ${key}` }),
      ...(body && { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body && JSON.stringify(body),
  }).catch(() => {
    throw new TailraceError("The server cannot be reached.");
  });
  if (response.ok) {
    return response;
  }
  const { status } = response;
  const told = (await response.json().catch(() => null))?.error ?? {
    message: `No relay answered (status ${status}).`,
    code: "unexpected_answer",
    retryable: status === 429 || status > 499,
  };
  throw TailraceError.told(told, status, response.headers.get("Retry-After") ?? undefined);
}
