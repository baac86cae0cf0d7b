/** Puts the page together: its parts, its keys, and what the browser tells it about tabs and the network. */
import { Tailrace } from "../clients/js/index.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { byId } from "./dom.js";
import { KeyDialog } from "./key-dialog.js";
import { PageView } from "./page-view.js";
import { pollingFetch } from "./polling.js";
import { Store } from "./store.js";

/** How long a server that cannot be reached is tried before the reader is asked. */
const PATIENCE_MS = 420_000;

/** The first conversation has been opened. */
let started = false;

const store = new Store(browserStorage());
const keys = new KeyDialog();
const client = new Tailrace({
  apiKey: () => keys.key,
  fetch: pollingFetch(),
  timeouts: { startMs: PATIENCE_MS, lostMs: PATIENCE_MS },
});
const view = new PageView(() => {
  chat.again(composer.model);
  composer.focus();
});
const composer = new Composer({
  onSend: (question) => send(question),
  onStop: () => chat.stop(),
  onModel: (model) => (store.model = model),
});
const chat = new Chat({
  client,
  store,
  view,
  askForKey: (why) => keys.ask(why),
  onRunning: (running) => composer.showRunning(running),
});

/**
 * Ask, and give the conversation its address.
 *
 * @param {string} question
 */
function send(question) {
  const sent = chat.send(question, composer.model ?? store.model);
  if (sent && location.hash.slice(1) !== chat.id) {
    history.replaceState(null, "", `#${chat.id}`);
  }
  return sent;
}

/** Show the conversation the address names; without one, the answer that is still coming, or a welcome. */
function openAddressed() {
  const conversations = store.all();
  let id = location.hash.slice(1);
  const latest = conversations[0];
  if (id === "" && !started && latest?.turns.at(-1)?.answers.at(-1)?.status === "running") {
    id = latest.id;
    history.replaceState(null, "", `#${id}`);
  }
  started = true;
  view.showEarlier(conversations);
  chat.open(/^[0-9a-f]{32}$/.test(id) ? id : "");
  composer.focus();
}

/** Fetch the models on offer, for as long as it takes: a relay may be restarting. */
async function offerModels() {
  for (let again = true; again; ) {
    try {
      composer.showModels(await client.models(), store.model);
      return;
    } catch (error) {
      const { status, message, retryable } = /** @type {import("../clients/js/index.js").TailraceError} */ (error);
      again = status === 401 ? await keys.ask(message) : retryable;
    }
  }
}

/** @returns {Storage | null} null where the browser keeps pages from storing anything */
function browserStorage() {
  try {
    localStorage.setItem("tailrace.probe", "");
    localStorage.removeItem("tailrace.probe");
    return localStorage;
  } catch {
    return null;
  }
}

addEventListener("hashchange", openAddressed);
addEventListener("pagehide", () => chat.save());
addEventListener("online", () => chat.nudge());
addEventListener("storage", (event) => Store.idOf(event) === chat.id && chat.sync());
document.addEventListener("visibilitychange", () => (document.hidden ? chat.save() : chat.nudge()));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing && document.querySelector("dialog[open]") === null) {
    chat.stop();
  }
});
byId("new-chat", HTMLAnchorElement).addEventListener("click", (event) => {
  event.preventDefault();
  history.pushState(null, "", location.pathname);
  openAddressed();
});
byId("forget", HTMLButtonElement).addEventListener("click", () => {
  store.clear();
  view.showEarlier([]);
  composer.focus();
});
for (const example of document.querySelectorAll("button.example")) {
  example.addEventListener("click", () => send(example.textContent ?? ""));
}
addEventListener("popstate", () => location.hash === "" && openAddressed());

history.scrollRestoration = "manual";
openAddressed();
void offerModels();
