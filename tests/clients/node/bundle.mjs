// Makes one module of another, with the clients' packages under their usual names: node bundle.mjs FROM TO PLATFORM
// MAJOR. MAJOR is that of `ai`.

import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const [entry, outfile, platform, major] = process.argv.slice(2);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
await build({
  entryPoints: [entry],
  outfile,
  platform,
  bundle: true,
  format: "esm",
  jsx: "automatic",
  loader: { ".js": "jsx" },
  logLevel: "error",
  nodePaths: [here("node_modules")],
  packages: platform === "node" ? "external" : "bundle",
  alias: {
    "@tailrace/client": here("../../../clients/js/index.js"),
    "@tailrace/client/react": here("../../../clients/js/react.js"),
    ai: `ai${major}`,
    "@ai-sdk/react": `@ai-sdk/react${major}`,
    ...(major === "7" ? { "@workflow/ai": "@ai-sdk/workflow/client" } : {}),
  },
  define: { "process.env.NODE_ENV": '"development"' },
});
