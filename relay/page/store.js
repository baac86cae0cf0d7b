/**
 * Conversations kept in this browser, shared by its tabs, within bounds.
 *
 * Each conversation is one entry of localStorage. A tab writes one turn at a time, into what is stored at that
 * moment, so two tabs on one conversation add to it and neither undoes the other. Without storage (blocked by the
 * browser) everything lives until the page is closed.
 *
 * @typedef {import("./answer.js").Answer} Answer
 *
 * @typedef {object} Turn
 * @property {string} id
 * @property {number} askedMs
 * @property {string} question
 * @property {Answer[]} answers the last one counts; those before it were asked for again
 *
 * @typedef {object} Conversation
 * @property {1} version
 * @property {string} id
 * @property {number} changedMs
 * @property {Turn[]} turns in the order they were asked
 */

const PREFIX = "tailrace.chat.";
const MODEL = "tailrace.model";
/** What is beyond is forgotten, oldest first. Browsers give one site about five million characters. */
const MAX_CONVERSATIONS = 40;
const MAX_CHARACTERS = 2_000_000;

/** The conversations of this browser. */
export class Store {
  #storage;

  /** @param {Storage | null} storage null: keep everything in memory */
  constructor(storage) {
    this.#storage = storage ?? new MemoryStorage();
  }

  /**
   * The conversation, or null when there is none of that id, or none that can be understood.
   *
   * @param {string} id
   * @returns {Conversation | null}
   */
  load(id) {
    try {
      const found = JSON.parse(this.#storage.getItem(PREFIX + id) ?? "null");
      return found?.version === 1 && Array.isArray(found.turns) ? found : null;
    } catch {
      return null;
    }
  }

  /**
   * Every conversation, the one changed last first.
   *
   * @returns {Conversation[]}
   */
  all() {
    const found = this.#ids().map((id) => this.load(id));
    return found.filter((conversation) => conversation !== null).sort((one, other) => other.changedMs - one.changedMs);
  }

  /**
   * Write one turn into the stored conversation, which is made if it is not there. Returns false when there is no
   * room even after forgetting every other conversation.
   *
   * @param {string} id of the conversation
   * @param {Turn} turn
   * @returns {boolean}
   */
  putTurn(id, turn) {
    const conversation = this.load(id) ?? { version: /** @type {const} */ (1), id, changedMs: 0, turns: [] };
    const at = conversation.turns.findIndex((stored) => stored.id === turn.id);
    if (at === -1) {
      conversation.turns.push(turn);
      conversation.turns.sort((one, other) => one.askedMs - other.askedMs);
    } else if (!isBehind(turn, conversation.turns[at])) {
      conversation.turns[at] = turn;
    }
    conversation.changedMs = Date.now();
    return this.#write(conversation);
  }

  /** Forget every conversation. */
  clear() {
    for (const id of this.#ids()) {
      this.#storage.removeItem(PREFIX + id);
    }
  }

  /** The model chosen last; null: the server's default. */
  get model() {
    return this.#storage.getItem(MODEL) || null;
  }

  set model(name) {
    try {
      this.#storage.setItem(MODEL, name ?? "");
    } catch {
      // No room: the choice holds for this page.
    }
  }

  /**
   * The conversation that a `storage` event is about; null for other things.
   *
   * @param {StorageEvent} event
   * @returns {string | null}
   */
  static idOf(event) {
    return event.key?.startsWith(PREFIX) ? event.key.slice(PREFIX.length) : null;
  }

  #ids() {
    const keys = Array.from({ length: this.#storage.length }, (_, index) => this.#storage.key(index) ?? "");
    return keys.filter((key) => key.startsWith(PREFIX)).map((key) => key.slice(PREFIX.length));
  }

  /** @param {Conversation} conversation */
  #write(conversation) {
    const key = PREFIX + conversation.id;
    const text = JSON.stringify(conversation);
    let others = null;
    while (!this.#fits(conversation.id, text.length) || !this.#set(key, text)) {
      others ??= this.all().filter((other) => other.id !== conversation.id);
      const oldest = others.pop();
      if (oldest === undefined) {
        // Alone it may exceed our bound; then the browser's decides.
        return this.#set(key, text);
      }
      this.#storage.removeItem(PREFIX + oldest.id);
    }
    return true;
  }

  /**
   * Tell whether a conversation of that many characters stays within the bounds beside the others.
   *
   * @param {string} id
   * @param {number} characters
   */
  #fits(id, characters) {
    const others = this.#ids().filter((other) => other !== id);
    const sum = others.reduce((soFar, other) => soFar + (this.#storage.getItem(PREFIX + other)?.length ?? 0), characters);
    return others.length < MAX_CONVERSATIONS && sum <= MAX_CHARACTERS;
  }

  /**
   * @param {string} key
   * @param {string} value
   */
  #set(key, value) {
    try {
      this.#storage.setItem(key, value);
      return true;
    } catch {
      return false;
    }
  }
}

/**
 * Tell whether `turn` is an older state of what is stored: another tab has seen the end that this one has not.
 *
 * @param {Turn} turn
 * @param {Turn} stored
 */
function isBehind(turn, stored) {
  const [mine, theirs] = [turn.answers.at(-1), stored.answers.at(-1)];
  return (
    stored.answers.length > turn.answers.length ||
    (mine?.key === theirs?.key && mine?.status === "running" && theirs?.status !== "running")
  );
}

/** The part of `Storage` used here, in memory. */
class MemoryStorage {
  /** @type {Map<string, string>} */
  #items = new Map();

  get length() {
    return this.#items.size;
  }

  /** @param {number} index */
  key(index) {
    return Array.from(this.#items.keys())[index] ?? null;
  }

  /** @param {string} key */
  getItem(key) {
    return this.#items.get(key) ?? null;
  }

  /**
   * @param {string} key
   * @param {string} value
   */
  setItem(key, value) {
    this.#items.set(key, value);
  }

  /** @param {string} key */
  removeItem(key) {
    this.#items.delete(key);
  }
}
