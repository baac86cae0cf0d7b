// Prints which of the clients' packages can be imported here: one JSON line each. react-dom18 is not among them: beside
// React 19 only a page that gives it React 18 can load it.

const NAMES = [
  "@ai-sdk/react6",
  "@ai-sdk/react7",
  "@ai-sdk/workflow",
  "@anthropic-ai/sdk",
  "@workflow/ai",
  "ai",
  "ai6",
  "ai7",
  "openai",
  "react",
  "react-dom",
  "react18",
];

// Only this part of it is for browsers; the rest asks for a server's runtime.
const PARTS = { "@ai-sdk/workflow": "@ai-sdk/workflow/client" };

for (const name of NAMES) {
  const exports = Object.keys(await import(PARTS[name] ?? name)).length;
  console.log(JSON.stringify({ name, exports }));
}
