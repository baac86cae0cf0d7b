import type { Answer, Block, StartOptions, StreamRequest, Tailrace, TailraceOptions } from "./index.js";

export interface UseTailraceOptions extends TailraceOptions {
  /** In place of the options of one. */
  client?: Tailrace;
  /** A stream to follow, for instance one that was begun before a reload. */
  streamId?: string | null;
  /** Called with the id of each stream as it begins: keep it to find the stream again. */
  onStart?: (streamId: string) => void;
}

export interface TailraceState extends Omit<Answer, "status" | "error"> {
  /** `idle` before the first answer. */
  status: "idle" | Answer["status"];
  /** What is to be shown of the answer's text: smoothed while it comes, all of it at the end. */
  text: string;
  blocks: Block[];
  /** Why the answer failed, or why reading it was given up. */
  error: { code?: string; message: string } | null;
  streamId: string | null;
  connection: "closed" | "connecting" | "open" | "waiting";
  /** Start an answer. One that is still being read is left, and goes on by itself. */
  ask: (request: string | StreamRequest, options?: StartOptions) => Promise<void>;
  /** Stop the answer for every reader. */
  cancel: () => Promise<any> | undefined;
  /** Read on after an error. */
  retry: () => Promise<void> | null;
  /** Stop reading. The answer goes on. */
  close: () => void;
}

/** One answer at a time. Its functions stay the same over renders; options of the client count at the first one. */
export function useTailrace(options?: UseTailraceOptions): TailraceState;
