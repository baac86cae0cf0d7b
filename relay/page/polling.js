/**
 * A `fetch` for networks that hold server-sent events back: after two connections without a byte, events are asked for
 * as JSON again and again, and given on as the event stream that was wanted. Free of the DOM.
 */

const EVENTS = "text/event-stream";
const SILENT_MS = 20_000;
const SILENT_BEFORE_POLLING = 2;
const POLL_WAIT_S = 20;

/** @returns {typeof globalThis.fetch} one that remembers how silent its connections were */
export function pollingFetch() {
  let silences = 0;
  return async (input, init = {}) => {
    const url = String(input);
    if (new Headers(init.headers).get("Accept") !== EVENTS) {
      return fetch(url, init);
    }
    if (silences >= SILENT_BEFORE_POLLING) {
      return polled(url, init);
    }
    const askedMs = Date.now();
    let heard = false;
    init.signal?.addEventListener("abort", () => {
      silences += !heard && Date.now() - askedMs > SILENT_MS ? 1 : 0;
    });
    const response = await fetch(url, init);
    if (response.status !== 200 || response.body === null) {
      return response;
    }
    const noted = new TransformStream({
      transform(bytes, controller) {
        heard = true;
        silences = 0;
        controller.enqueue(bytes);
      },
    });
    return new Response(response.body.pipeThrough(noted), response);
  };
}

/**
 * The same events by long-polling, as an event stream.
 *
 * @param {string} url of a start or of a stream's events
 * @param {RequestInit} init
 * @returns {Promise<Response>}
 */
async function polled(url, init) {
  const headers = new Headers(init.headers);
  headers.set("Accept", "application/json");
  let offset = headers.get("Last-Event-ID");
  const answer = new Headers({ "Content-Type": EVENTS });
  let address = url;
  if (init.method === "POST") {
    const started = await fetch(url, { ...init, headers });
    if (!started.ok) {
      return started;
    }
    const { id } = await started.json();
    answer.set("X-Stream-Id", id);
    address = `${url}/${id}/events`;
  }
  const ask = () => {
    const query = new URLSearchParams({ mode: "poll", wait: String(POLL_WAIT_S), ...(offset === null ? {} : { offset }) });
    return fetch(`${address}?${query}`, { ...init, method: "GET", body: null, headers });
  };
  // Asked once before there is an answer, so that a refusal is one.
  let next = await ask();
  if (next.status !== 200) {
    return next;
  }
  const body = new ReadableStream({
    async pull(controller) {
      const { events, done } = await next.json();
      controller.enqueue(new TextEncoder().encode(`: polled\n\n${events.map(frame).join("")}`));
      offset = events.at(-1)?.id ?? offset;
      next = done ? next : await ask();
      if (done || next.status === 204) {
        controller.close();
      } else if (!next.ok) {
        controller.error(new Error(`status ${next.status}`));
      }
    },
  });
  return new Response(body, { headers: answer });
}

/** @param {{id: string, data: unknown}} event */
function frame({ id, data }) {
  return `id: ${id}\ndata: ${JSON.stringify(data)}\n\n`;
}
