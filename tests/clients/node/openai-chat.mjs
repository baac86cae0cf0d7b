// The openai package on Chat Completions: node openai-chat.mjs RELAY CUTTER. One JSON line per thing tried.
//
// CUTTER leads to the relay, cuts its first connection before any byte of an answer, and its second in the middle.

import OpenAI from "openai";
import { chunks } from "./chunks.mjs";

const [relay, cutter] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${relay}/v1`, apiKey: "any" });
const frail = new OpenAI({ baseURL: `${cutter}/v1`, apiKey: "any" });

const script = (fields) => [{ role: "user", content: JSON.stringify(fields) }];
const tell = (name, value) => console.log(JSON.stringify({ name, ...value }));
const textOf = (chunk) => chunk.choices[0]?.delta?.content ?? "";

const whole = await client.chat.completions.create({ model: "sim", messages: script({ tokens: 3 }) });
tell("whole", { text: whole.choices[0].message.content, usage: whole.usage.completion_tokens });

const streamed = await client.chat.completions.create({
  model: "sim",
  messages: script({ tokens: 3 }),
  stream: true,
  stream_options: { include_usage: true },
});
let text = "";
let usage = null;
for await (const chunk of streamed) {
  text += textOf(chunk);
  usage = chunk.usage ?? usage;
}
tell("streamed", { text, usage: usage.completion_tokens });

const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];
const messages = script({ tokens: 1, tools: [{ name: "weather", input: { city: "Graz" } }] });
const helper = client.chat.completions.stream({ model: "sim", messages, tools });
const called = (await helper.finalChatCompletion()).choices[0];
tell("tools", { reason: called.finish_reason, calls: called.message.tool_calls.map((call) => call.function) });

try {
  await client.chat.completions.create({ model: "sim", messages, n: 2 });
} catch (error) {
  tell("refused", { is: error instanceof OpenAI.BadRequestError, param: error.param });
}

try {
  const failing = await client.chat.completions.create({
    model: "sim",
    messages: script({ tokens: 3, fail_at: 0, fault: "refused" }),
    stream: true,
  });
  for await (const chunk of failing) textOf(chunk);
} catch (error) {
  tell("failed", { is: error instanceof OpenAI.APIError, code: error.code });
}

const { data: stopped, response: stoppable } = await client.chat.completions
  .create({ model: "sim", messages: script({ tokens: 5000, per_second: 100 }), stream: true })
  .withResponse();
const shown = [];
const reasons = [];
for await (const chunk of stopped) {
  if (textOf(chunk)) shown.push(textOf(chunk));
  if (shown.length === 1) await client.post(`/streams/${stoppable.headers.get("x-stream-id")}/cancel`);
  if (chunk.choices[0]?.finish_reason) reasons.push(chunk.choices[0].finish_reason);
}
tell("cancelled", { reasons, first: shown[0], ended: shown.length < 5000 });

const metadata = { test: "node-retry" };
const retried = await frail.chat.completions.create({ model: "sim", messages: script({ tokens: 3 }), metadata });
const listed = await (await fetch(`${relay}/v1/streams?metadata.test=node-retry`)).json();
tell("retried", { text: retried.choices[0].message.content, streams: listed.streams.length });

// A stream that is cut goes on after the last chunk it told, from its own address.
const place = { id: "" };
let response = await frail.chat.completions
  .create({ model: "sim", messages: script({ tokens: 60, per_second: 200 }), stream: true })
  .asResponse();
const url = new URL(`${response.headers.get("location")}/events?format=openai-chat`, relay);
let resumes = 0;
let told = "";
for (;;) {
  try {
    for await (const chunk of chunks(response, place)) told += textOf(chunk);
    break;
  } catch {
    resumes += 1;
    response = await fetch(url, { headers: { "Last-Event-ID": place.id } });
  }
}
tell("resumed", { text: told, resumes });
