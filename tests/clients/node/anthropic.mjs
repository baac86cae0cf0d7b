// The @anthropic-ai/sdk package: node anthropic.mjs RELAY CUTTER. One JSON line per thing tried.
//
// CUTTER leads to the relay, cuts its first connection before any byte of an answer, and its second in the middle.

import Anthropic from "@anthropic-ai/sdk";
import { Stream } from "@anthropic-ai/sdk/streaming";

const [relay, cutter] = process.argv.slice(2);
const client = new Anthropic({ baseURL: relay, apiKey: "any" });
const frail = new Anthropic({ baseURL: cutter, apiKey: "any" });

const request = (fields, more) => ({
  model: "sim",
  max_tokens: 1000,
  messages: [{ role: "user", content: JSON.stringify(fields) }],
  ...more,
});
const tell = (name, value) => console.log(JSON.stringify({ name, ...value }));
const textOf = (message) => message.content.map((block) => (block.type === "text" ? block.text : "")).join("");

const whole = await client.messages.create(request({ tokens: 3 }));
tell("whole", { text: textOf(whole), reason: whole.stop_reason, usage: whole.usage.output_tokens });

const streamed = await client.messages.stream(request({ tokens: 3, thinking: 2 })).finalMessage();
const [thinking] = streamed.content;
tell("streamed", { text: textOf(streamed), thinking: thinking.thinking, signature: thinking.signature });

const tools = [{ name: "weather", input_schema: { type: "object" } }];
const calling = request({ tokens: 1, tools: [{ name: "weather", input: { city: "Graz" } }] }, { tools });
const called = await client.messages.stream(calling).finalMessage();
const call = called.content.at(-1);
tell("tools", { reason: called.stop_reason, call: { type: call.type, name: call.name, input: call.input } });

try {
  await client.messages.create(request({ tokens: 1 }, { top_k: 5 }));
} catch (error) {
  tell("refused", { is: error instanceof Anthropic.BadRequestError, type: error.type });
}

try {
  await client.messages.stream(request({ tokens: 3, fail_at: 0, fault: "refused" })).finalMessage();
} catch (error) {
  tell("failed", { is: error instanceof Anthropic.APIError, type: error.type });
}

const stopped = client.messages.stream(request({ tokens: 900, per_second: 100 }));
stopped.once("text", async () => {
  const id = stopped.response.headers.get("x-stream-id");
  await client.post(`/v1/streams/${id}/cancel`);
});
tell("cancelled", { reason: (await stopped.finalMessage()).stop_reason });

const metadata = { user_id: "node-retry" };
const retried = await frail.messages.create(request({ tokens: 3 }, { metadata }));
const listed = await client.get("/v1/streams?metadata.user_id=node-retry");
tell("retried", { text: textOf(retried), streams: listed.streams.length });

// A stream that is cut goes on after the last event it told.
const events = [];
let last = "";
let resumes = 0;
let response = await frail.messages
  .create(request({ tokens: 60, per_second: 200 }, { stream: true }))
  .asResponse();
const path = `/v1/messages/${response.headers.get("x-stream-id")}/events`;
for (;;) {
  try {
    for await (const sse of Stream.rawEvents(response)) {
      last = sse.raw.find((line) => line.startsWith("id: "))?.slice(4) ?? last;
      events.push(JSON.parse(sse.data));
    }
    break;
  } catch (error) {
    if (++resumes > 3) throw error;
    response = await client.get(path, { headers: { "Last-Event-ID": last } }).asResponse();
  }
}
const text = events.map((event) => event.delta?.text ?? "").join("");
tell("resumed", { text, resumes, last: events.at(-1).type });

const again = [];
for await (const event of await client.get(path, { stream: true })) again.push(event);
tell("replayed", { same: JSON.stringify(again) === JSON.stringify(events) });
