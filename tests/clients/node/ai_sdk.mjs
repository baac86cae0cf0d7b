// Drives a chat of @ai-sdk/react, as `useChat` does, through one scenario, and prints its state at each step as a line
// of JSON. Arguments: the SDK's major version, the scenario, the relay's URL, the script of the simulated model.

const [version, scenario, url, script] = process.argv.slice(2);
const { Chat } = await import(`@ai-sdk/react${version}`);
const ai = await import(`ai${version}`);
const { WorkflowChatTransport } = await import(version === "6" ? "@workflow/ai" : "@ai-sdk/workflow/client");

const api = version === "6" ? `${url}/api` : `${url}/api/v7`;
const DEADLINE_MS = 15_000;
const finishes = [];
console.error = () => {}; // WorkflowChatTransport tells every connection that it loses

function chatOf(id, transport, more = {}) {
  const onFinish = ({ isAbort, isError, finishReason }) => finishes.push({ isAbort, isError, finishReason });
  return new Chat({ id, transport, onFinish, ...more });
}

function usual(body = {}) {
  return new ai.DefaultChatTransport({ api: `${api}/chat`, body: { model: "sim", ...body } });
}

async function until(condition, what) {
  const endsAt = Date.now() + DEADLINE_MS;
  while (!condition()) {
    if (Date.now() > endsAt) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const idle = (chat) => until(() => ["ready", "error"].includes(chat.status), "an end");
const text = (message) => message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
const begun = (chat) => until(() => chat.messages.length > 1 && text(chat.lastMessage) !== "", "the first words");

function tell(chat) {
  const { status, error, messages } = chat;
  console.log(JSON.stringify({ status, error: error?.message ?? null, messages, finishes: finishes.splice(0) }));
}

const scenarios = {
  async plain() {
    const chat = chatOf("c-plain", usual());
    await chat.sendMessage({ text: script });
    tell(chat);
  },

  async refused() {
    const chat = chatOf("c-refused", usual({ model: "none" }));
    await chat.sendMessage({ text: script });
    tell(chat);
  },

  // A tool that the page runs; the SDK sends its output by itself, and the answer goes on in the same message.
  async tools() {
    const chat = chatOf("c-tools", usual(), {
      sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall({ toolCall }) {
        const { toolName: tool, toolCallId, input } = toolCall;
        chat.addToolOutput({ tool, toolCallId, output: { degrees: 21, asked: input } });
      },
    });
    await chat.sendMessage({ text: script });
    await until(() => finishes.length === 2, "the answer after the tool");
    await idle(chat);
    tell(chat);
  },

  // Whatever breaks the first connection, the page comes back as its user asks it to.
  async survive() {
    const chat = chatOf("c-survive", usual());
    await chat.sendMessage({ text: script });
    tell(chat);
    await chat.resumeStream();
    tell(chat);
  },

  // The page is closed in the middle and opened again, with nothing but the user's message stored.
  async reload() {
    const chat = chatOf("c-reload", usual());
    const sending = chat.sendMessage({ text: script });
    await begun(chat);
    await chat.stop();
    await sending;
    tell(chat);
    const reloaded = chatOf("c-reload", usual(), { messages: [chat.messages[0]] });
    await reloaded.resumeStream();
    tell(reloaded);
    await reloaded.resumeStream();
    tell(reloaded);
  },

  // Stopped from another device: this one is told, and there is nothing to resume.
  async stop() {
    const chat = chatOf("c-stop", usual());
    const sending = chat.sendMessage({ text: script });
    await begun(chat);
    const response = await fetch(`${api}/chat/c-stop/stop`, { method: "POST" });
    console.log(JSON.stringify(await response.json()));
    await sending;
    tell(chat);
    await chat.resumeStream();
    tell(chat);
  },

  async workflow() {
    const chat = chatOf("c-workflow", new WorkflowChatTransport({ api: `${api}/workflow`, maxConsecutiveErrors: 5 }));
    await chat.sendMessage({ text: script });
    tell(chat);
  },

  // A page that was reloaded wants no more than the end of it; it knows the run's id from before.
  async tail() {
    let run;
    const onChatSendMessage = (response) => (run = response.headers.get("x-workflow-run-id"));
    const first = chatOf("c-tail", new WorkflowChatTransport({ api: `${api}/workflow`, onChatSendMessage }));
    const sending = first.sendMessage({ text: script });
    await begun(first);
    const chat = chatOf(
      run,
      new WorkflowChatTransport({ api: `${api}/workflow`, initialStartIndex: -3, maxConsecutiveErrors: 5 }),
    );
    await chat.resumeStream();
    await sending;
    tell(chat);
  },
};

await scenarios[scenario]();
process.exit(0); // connections that are kept alive would keep the process
