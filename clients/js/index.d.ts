/** The client of one Tailrace address: starts, follows and ends streams, and comes back by itself when cut. */

/** How long to wait for what, in milliseconds. */
export interface Timeouts {
  /** From sending a request until its answer begins, per try. Default 30 000. */
  firstByteMs?: number;
  /** Silence, without even a heartbeat, after which a connection is taken for dead. Default 35 000. */
  idleMs?: number;
  /** A whole reading, reconnecting included; then an error of code `client_timeout`. Default: as long as it takes. */
  totalMs?: number;
  /** How long a start or a plain request is tried again before its error is thrown. Default 30 000. */
  startMs?: number;
  /** How long a stream that has begun is tried to be resumed, without progress. Default 120 000. */
  lostMs?: number;
}

export interface TailraceOptions {
  /** Address of the relay; the page's own origin without it. No slash at the end. */
  baseUrl?: string;
  /** The tenant's key, or what gives it before each request. */
  apiKey?: string | null | (() => string | null | undefined | Promise<string | null | undefined>);
  timeouts?: Timeouts;
  /** In place of the global one, for instance to send cookies: `(url, init) => fetch(url, {...init, credentials: "include"})`. */
  fetch?: typeof globalThis.fetch;
}

/** The body of `POST /v1/streams`; docs/api.md tells of every field. A text is one turn of the user. */
export interface StreamRequest {
  messages: { role: "user" | "assistant"; content: string | Record<string, unknown>[] }[];
  model?: string;
  system?: string | Record<string, unknown>[];
  max_tokens?: number;
  [field: string]: unknown;
}

export interface Usage {
  input_tokens?: number;
  output_tokens?: number;
  cache_read_tokens?: number;
  cache_write_tokens?: number;
}

export type EndStatus = "completed" | "cancelled" | "failed" | "incomplete";
export type BlockKind = "text" | "thinking" | "tool_use" | "tool_result" | "data";

/** An event of the stream, as docs/api.md describes it. Ignore the types you do not know. */
export type StreamEvent =
  | {
      type: "start";
      stream_id: string;
      provider: string;
      model: string;
      created_ms: number;
      max_tokens: number;
      max_tokens_asked?: number;
      metadata?: Record<string, string>;
    }
  | {
      type: "attempt";
      attempt: number;
      reason: "first" | "lease_expired" | "handed_over" | "provider_error";
      mode: "start" | "prefill" | "user_turn" | "restart";
      provider: string;
      model: string;
      follows: string;
    }
  | {
      type: "step";
      phase: "start" | "stop";
      step: number;
      message_id?: string;
      model?: string;
      stop_reason?: string;
      source?: string;
    }
  | { type: "block_start"; block: number; kind: BlockKind; id?: string; name?: string; data?: unknown; source?: string }
  | { type: "delta"; block: number; text?: string; json?: string; signature?: string; data?: unknown }
  | { type: "block_stop"; block: number }
  | { type: "usage"; step: number; usage: Usage }
  | { type: "data"; name: string; data: unknown; source?: string }
  /** Discard each block numbered `keep_blocks` or more: it is told anew. */
  | { type: "reset"; keep_blocks: number; reason: string }
  /** The answer failed; `end` follows. */
  | { type: "error"; code: string; message: string; retryable: boolean; retry_after_s?: number }
  | { type: "end"; status: EndStatus; stop_reason?: string; stop_sequence?: string; usage?: Usage };

export interface Block {
  block: number;
  kind: BlockKind;
  /** What a text or thinking block says so far. */
  text: string;
  /** A tool call's arguments so far. */
  json: string;
  signature: string;
  complete: boolean;
  id?: string;
  name?: string;
  data?: unknown;
  source?: string;
}

/** What the events read so far add up to; changed in place by each. */
export interface Answer {
  status: "queued" | "running" | EndStatus;
  model?: string;
  /** In the order of their numbers, without what a reset has discarded. */
  blocks: Block[];
  stop_reason?: string;
  stop_sequence?: string;
  usage?: Usage;
  error: { code: string; message: string; retryable: boolean } | null;
}

/** Told whenever it changes. */
export interface Connection {
  phase: "connecting" | "open" | "waiting";
  /** When the next try is due (`waiting`), by `Date.now()`. */
  retryAtMs: number;
  /** Why it is waiting. */
  error: TailraceError | null;
}

export interface ReadOptions {
  /** Ends the reading, which then throws the signal's reason. The answer itself goes on. */
  signal?: AbortSignal;
  timeouts?: Timeouts;
  onConnection?: (connection: Connection) => void;
}

export interface StartOptions extends ReadOptions {
  /** Idempotency-Key: the same key and request attach to the stream that the first one started. A fresh one by default. */
  key?: string;
  /** When the answer was first asked for, by `Date.now()`, where a kept `key` is used again. */
  startedMs?: number;
  /** The stream that the key is known to have started, and how far it has been read. */
  id?: string | null;
  offset?: string | null;
}

export interface FollowOptions extends ReadOptions {
  /** Read what comes after; from the stream's start without it. */
  offset?: string | null;
}

/**
 * One answer: `for await (const event of stream)`. Lazy: the request goes out with the first event asked for.
 *
 * Every event is given out once and in order, over as many connections as that takes; where that cannot be kept, a
 * `reset` comes first. Leaving the loop closes the connection and nothing else: the answer goes on, and another loop
 * reads on. A loop that is begun while another one reads takes its place. Throws a `TailraceError` where trying again
 * cannot help.
 */
export class AnswerStream implements AsyncIterable<StreamEvent> {
  /** Known once the start has been answered. */
  readonly id: string | null;
  /** The offset of the last event given out: keep it, with the id, to follow the stream from here. */
  readonly offset: string | null;
  /** There is nothing left to read. */
  readonly ended: boolean;
  /** What was read by this object; not all of the answer where it began at an offset. */
  readonly answer: Answer;
  /** The text read so far, without thinking and tools. */
  readonly text: string;
  [Symbol.asyncIterator](): AsyncGenerator<StreamEvent, void, void>;
  /** Read to the end. The answer's `status` tells how it ended. */
  result(): Promise<Answer>;
  /** Stop the answer for every reader; gives the stream's state once it has ended. */
  cancel(options?: { signal?: AbortSignal }): Promise<any>;
  /** Stop reading. The answer goes on. */
  close(): void;
  /** Try again now, and drop a connection that looks dead. Done by itself when the page is visible or online again. */
  nudge(): void;
}

export class Tailrace {
  constructor(options?: TailraceOptions);
  readonly timeouts: Required<Timeouts>;
  /** An answer to read. Nothing is sent yet. */
  stream(request: string | StreamRequest, options?: StartOptions): AnswerStream;
  /** A stream that exists. */
  follow(id: string, options?: FollowOptions): AnswerStream;
  /** The stream as it stands, as `GET /v1/streams/{id}` tells it. */
  state(id: string, options?: { signal?: AbortSignal }): Promise<any>;
  /** Stop a stream for every reader; gives its state once it has ended. */
  cancel(id: string, options?: { signal?: AbortSignal }): Promise<any>;
  models(options?: {
    signal?: AbortSignal;
  }): Promise<{ id: string; provider: string; max_tokens: number; default: boolean }[]>;
  /** The JSON that a request is answered, which may be sent again until `startMs` is over, or `signal` says so. */
  ask(path: string, init?: Request): Promise<any>;
  /** The response to one request if its status is 2xx; everything else is thrown. */
  send(path: string, init?: Request): Promise<Response>;
}

interface Request {
  method?: string;
  headers?: Record<string, string>;
  /** Sent as JSON. */
  body?: unknown;
  signal?: AbortSignal;
}

/** A request that was refused, or that nobody answered. `message` is a sentence for people. */
export class TailraceError extends Error {
  /** Of the response; 0 where nobody answered. */
  readonly status: number;
  /** Of docs/api.md; or `connection_lost`, `unexpected_answer` (no relay), `client_timeout`. */
  readonly code: string;
  /** The same request may work later. */
  readonly retryable: boolean;
  /** What the server asks to wait. */
  readonly retryAfterMs: number;
}
