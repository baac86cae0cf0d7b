// Reads streams of chunks, each a JSON line that lists the data of its events, as the AI SDK's client does: every chunk
// by the SDK's schema, every stream by its reader. Prints how much it read, and what the SDK would not have.

import { readFileSync } from "node:fs";

const [version, path] = process.argv.slice(2);
const ai = await import(`ai${version}`);
const found = { streams: 0, chunks: 0, problems: [] };

for (const line of readFileSync(path, "utf8").split("\n")) {
  const bodies = JSON.parse(line).filter((data) => data !== "[DONE]");
  const body = new Response(bodies.map((data) => `data: ${data}\n\n`).join("")).body;
  const chunks = [];
  for await (const parsed of ai.parseJsonEventStream({ stream: body, schema: ai.uiMessageChunkSchema })) {
    if (parsed.success) chunks.push(parsed.value);
    else found.problems.push(String(parsed.error));
  }
  found.streams += 1;
  found.chunks += chunks.length;
  const stream = new ReadableStream({
    start(controller) {
      chunks.forEach((chunk) => controller.enqueue(chunk));
      controller.close();
    },
  });
  // What the answer itself says of an error is no problem of the chunks.
  const told = chunks.filter((chunk) => chunk.type === "error").map((chunk) => chunk.errorText);
  const onError = (error) => told.includes(error.message) || found.problems.push(String(error));
  for await (const message of ai.readUIMessageStream({ stream, onError })) {
    if (message.role !== "assistant") found.problems.push(message.role);
  }
}

console.log(JSON.stringify(found));
