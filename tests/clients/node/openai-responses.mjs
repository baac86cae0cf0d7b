// The openai package on the Responses API: node openai-responses.mjs RELAY CUTTER. One JSON line per thing tried.
//
// CUTTER leads to the relay and cuts its first connection in the middle of an answer.

import OpenAI from "openai";

const [relay, cutter] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${relay}/v1`, apiKey: "any" });
const frail = new OpenAI({ baseURL: `${cutter}/v1`, apiKey: "any" });

const script = (fields) => JSON.stringify(fields);
const tell = (name, value) => console.log(JSON.stringify({ name, ...value }));

const whole = await client.responses.create({ model: "sim", input: script({ tokens: 3 }) });
tell("whole", { text: whole.output_text, status: whole.status });

const next = await client.responses.create({
  model: "sim",
  input: script({ tokens: 2 }),
  previous_response_id: whole.id,
});
const items = [];
for await (const item of client.responses.inputItems.list(next.id)) items.push(item.role);
tell("chained", { text: next.output_text, items });

const tools = [{ type: "function", name: "weather", parameters: { type: "object", properties: {} }, strict: false }];
const input = script({ tokens: 1, thinking: 2, tools: [{ name: "weather", input: { city: "Graz" } }] });
const helper = client.responses.stream({ model: "sim", input, tools });
const called = await helper.finalResponse();
tell("tools", {
  thought: called.output[0].summary[0].text,
  call: called.output.find((item) => item.type === "function_call").arguments,
});

try {
  await client.responses.create({ model: "sim", input: script({}), truncation: "auto" });
} catch (error) {
  tell("refused", { is: error instanceof OpenAI.BadRequestError, param: error.param });
}

const failing = await client.responses.stream({ model: "sim", input: script({ fail_at: 0, fault: "refused" }) });
const failed = await failing.finalResponse();
tell("failed", { status: failed.status, code: failed.error.code });

const background = await client.responses.create({
  model: "sim",
  input: script({ tokens: 5000, per_second: 100 }),
  background: true,
});
const cancelled = await client.responses.cancel(background.id);
tell("cancelled", { status: cancelled.status });

// A stream that breaks off is gone on with by the helper, from the last number there is.
let id = null;
let last = -1;
let text = "";
let cuts = 0;
const take = (event) => {
  id ??= event.response?.id;
  last = event.sequence_number;
  if (event.type === "response.output_text.delta") text += event.delta;
};
try {
  for await (const event of await frail.responses.create({
    model: "sim",
    input: script({ tokens: 60, per_second: 200 }),
    stream: true,
  }))
    take(event);
} catch {
  cuts += 1;
}
const resumed = client.responses.stream({ response_id: id, starting_after: last });
for await (const event of resumed) take(event);
tell("resumed", { text, cuts, whole: (await resumed.finalResponse()).output_text === text });
