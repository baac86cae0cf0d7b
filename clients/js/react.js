/** One answer at a time in a React component. */
import { useEffect, useState, useSyncExternalStore } from "react";
import { Tailrace } from "./index.js";
import { Smoother } from "./smooth.js";

export function useTailrace(options = {}) {
  const [session] = useState(() => new Session(options));
  const shown = useSyncExternalStore(session.subscribe, session.shown, session.shown);
  useEffect(() => {
    session.onStart = options.onStart;
  });
  useEffect(() => session.follow(options.streamId), [session, options.streamId]);
  useEffect(() => session.close, [session]);
  return shown;
}

class Session {
  #client;
  #stream = null;
  #connection = "closed";
  #error;
  #left = true;
  #listeners = new Set();
  #smoother = new Smoother((text) => this.#publish(text));
  #shown;

  constructor(options) {
    this.#client = options.client ?? new Tailrace(options);
    this.#publish("");
  }

  shown = () => this.#shown;

  subscribe = (listener) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  ask = (request, options) => this.#read((told) => this.#client.stream(request, { ...options, ...told }));

  follow = (id) => {
    // Strict mode leaves what it has just begun.
    if (id && (this.#left || id !== this.#stream.id)) {
      void this.#read((told) => this.#client.follow(id, told));
    }
  };

  retry = () => this.#stream && this.#read(() => this.#stream);

  cancel = () => this.#stream?.cancel();

  close = () => {
    this.#left = true;
    this.#stream?.close();
  };

  async #read(make) {
    this.close();
    const stream = make({ onConnection: ({ phase }) => stream === this.#stream && this.#changed(phase) });
    this.#stream = stream;
    this.#error = null;
    this.#left = false;
    this.#changed("connecting");
    try {
      for await (const { stream_id } of stream) {
        if (stream_id) {
          this.onStart?.(stream_id);
        }
        this.#smoother.to(stream.text);
      }
    } catch (error) {
      this.#error = stream === this.#stream ? error : this.#error;
    }
    if (stream === this.#stream) {
      this.#changed("closed");
      this.#smoother.flush();
    }
  }

  #changed(phase) {
    this.#connection = phase;
    this.#smoother.to(this.#stream.text);
  }

  #publish(text) {
    const { answer, id } = this.#stream ?? { answer: { status: "idle", blocks: [], error: null }, id: null };
    const { ask, cancel, retry, close } = this;
    const blocks = answer.blocks.map((block) => ({ ...block }));
    const error = this.#error ?? answer.error;
    const connection = this.#connection;
    this.#shown = { ...answer, text, blocks, error, streamId: id, connection, ask, cancel, retry, close };
    this.#listeners.forEach((listener) => listener());
  }
}
