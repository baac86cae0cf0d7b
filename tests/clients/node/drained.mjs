// Every SDK with a stream running on a relay that leaves: node drained.mjs LEAVING OTHER. One JSON line per thing told.
//
// Each says `begun` at its first words; the relay is drained once all have. Then each goes on at the other relay.

import Anthropic from "@anthropic-ai/sdk";
import { Stream } from "@anthropic-ai/sdk/streaming";
import OpenAI from "openai";
import { chunks } from "./chunks.mjs";

const [leaving, other] = process.argv.slice(2);
const anthropic = (url) => new Anthropic({ baseURL: url, apiKey: "any" });
const openai = (url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "any" });

const script = JSON.stringify({ tokens: 120, per_second: 30 });
const messages = [{ role: "user", content: script }];
const tell = (name, value) => console.log(JSON.stringify({ name, ...value }));

// What was told until the SDK's own error, if it was one; a clean end would be taken for the answer's.
async function toldUntilCut(name, stream, textOf) {
  const told = [];
  let words = "";
  try {
    for await (const event of stream) {
      told.push(event);
      if (!words && textOf(event)) tell("begun", { client: name });
      words += textOf(event);
    }
  } catch {
    return { told, cut: true, words };
  }
  return { told, cut: false, words };
}

// The whole by its own address at the other relay begins with what was told, and its rest can be had alone.
async function goOn(name, { told, cut, words }, textOf, follow) {
  const all = await follow("");
  const rest = await follow(all[told.length - 1].id);
  const joined = [...told, ...rest.map((one) => one.event)];
  const same = JSON.stringify(joined) === JSON.stringify(all.map((one) => one.event));
  tell(name, { cut, begun: words !== "", rest: rest.length > 0, same, text: joined.map(textOf).join("") });
}

async function messagesOf() {
  const textOf = (event) => event.delta?.text ?? "";
  const request = { model: "sim", max_tokens: 1000, messages, stream: true };
  const { data, response } = await anthropic(leaving).messages.create(request).withResponse();
  const until = await toldUntilCut("messages", data, textOf);
  const path = `/v1/messages/${response.headers.get("x-stream-id")}/events`;
  await goOn("messages", until, textOf, async (last) => {
    const headers = last ? { "Last-Event-ID": last } : {};
    const found = [];
    for await (const sse of Stream.rawEvents(await anthropic(other).get(path, { headers }).asResponse())) {
      const id = sse.raw.find((line) => line.startsWith("id: ")).slice(4);
      found.push({ id, event: JSON.parse(sse.data) });
    }
    return found;
  });
}

async function chatOf() {
  const textOf = (chunk) => chunk.choices[0]?.delta?.content ?? "";
  const request = { model: "sim", messages, stream: true };
  const { data, response } = await openai(leaving).chat.completions.create(request).withResponse();
  const until = await toldUntilCut("chat", data, textOf);
  const url = new URL(`${response.headers.get("location")}/events?format=openai-chat`, other);
  await goOn("chat", until, textOf, async (last) => {
    const place = { id: last };
    const found = [];
    const answer = await fetch(url, { headers: last ? { "Last-Event-ID": last } : {} });
    for await (const event of chunks(answer, place)) found.push({ id: place.id, event });
    return found;
  });
}

async function responsesOf() {
  const textOf = (event) => (event.type === "response.output_text.delta" ? event.delta : "");
  const stream = await openai(leaving).responses.create({ model: "sim", input: script, stream: true });
  const until = await toldUntilCut("responses", stream, textOf);
  const id = until.told[0].response.id;
  const bare = ({ sequence_number, type, delta }) => ({ sequence_number, type, delta }); // the helper adds to events
  until.told = until.told.map(bare);
  await goOn("responses", until, textOf, async (last) => {
    const found = [];
    const after = last === "" ? {} : { starting_after: last };
    for await (const event of openai(other).responses.stream({ response_id: id, ...after }))
      found.push({ id: event.sequence_number, event: bare(event) });
    return found;
  });
}

await Promise.all([messagesOf(), chatOf(), responsesOf()]);
