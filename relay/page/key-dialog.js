/** Asks for the API key where the server wants one. The key is kept for this tab's session alone. */
import { byId } from "./dom.js";

const KEY = "tailrace.key";

/** The dialog and the key it was given. */
export class KeyDialog {
  #dialog = byId("key-dialog", HTMLDialogElement);
  #form = byId("key-form", HTMLFormElement);
  #input = byId("key-input", HTMLInputElement);
  #why = byId("key-why", HTMLElement);
  /** @type {string | null} */
  #key = storedKey();
  /** @type {Promise<boolean> | null} */
  #asking = null;

  constructor() {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#dialog.close(this.#input.value.trim());
    });
    byId("key-cancel", HTMLButtonElement).addEventListener("click", () => this.#dialog.close(""));
  }

  get key() {
    return this.#key;
  }

  /**
   * Ask for a key. True when there is a new one to try; false when the reader would rather not. Whoever asks while
   * the dialog is open shares its answer.
   *
   * @param {string} why what the server said
   * @returns {Promise<boolean>}
   */
  ask(why) {
    this.#asking ??= new Promise((resolve) => {
      this.#why.textContent = why;
      this.#input.value = "";
      this.#dialog.returnValue = "";
      this.#dialog.addEventListener("close", () => resolve(this.#take(this.#dialog.returnValue)), { once: true });
      this.#dialog.showModal();
    });
    return this.#asking;
  }

  /** @param {string} key */
  #take(key) {
    this.#asking = null;
    this.#input.value = "";
    if (key === "") {
      return false;
    }
    this.#key = key;
    try {
      sessionStorage.setItem(KEY, key);
    } catch {
      // Storage is blocked: the key holds until the page is closed.
    }
    return true;
  }
}

/** @returns {string | null} */
function storedKey() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}
