// Reads answers with clients/js as the JSON of the argument says, and prints one JSON line about each reading:
// {told, text, status, id, offset, phases, error}.

import { Tailrace } from "../../../clients/js/index.js";

const job = JSON.parse(process.argv[2]);
const { url, request = "Hi", options = {}, timeouts, key, follow, times = 1 } = job;
const client = new Tailrace({ baseUrl: url, apiKey: key, timeouts });

async function read() {
  const told = [];
  const phases = [];
  const abort = new AbortController();
  const all = { ...options, signal: abort.signal, onConnection: ({ phase }) => phases.push(phase) };
  const stream = follow ? client.follow(follow, all) : client.stream(request, all);
  if (job.cancelFirst) {
    await stream.cancel();
  }
  if (job.abortAfterMs) {
    setTimeout(() => abort.abort(new Error("aborted by its caller")), job.abortAfterMs);
  }
  let error = null;
  try {
    for await (const event of stream) {
      told.push(event);
      if (told.length === job.leaveAt) {
        break;
      }
      if (told.length === job.closeAt) {
        stream.close();
      }
      if (told.length === job.cancelAt) {
        await stream.cancel();
      }
    }
    if (job.leaveAt) {
      for await (const event of stream) {
        told.push(event);
      }
    }
  } catch ({ name, message, status, code, retryable, retryAfterMs }) {
    error = { name, message, status, code, retryable, retryAfterMs };
  }
  const { text, id, offset, answer, ended } = stream;
  console.log(JSON.stringify({ told, text, status: answer.status, id, offset, ended, phases, error }));
}

for (let done = 0; done < times; done += 1) {
  await read();
}
