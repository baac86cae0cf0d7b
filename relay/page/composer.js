/** Where the reader writes: Enter sends, Shift+Enter makes a new line, and the button becomes Stop while an answer comes. */
import { byId, h } from "./dom.js";

/**
 * @typedef {object} ComposerEvents
 * @property {(text: string) => boolean} onSend false: it cannot be sent now and stays where it is
 * @property {() => void} onStop
 * @property {(model: string) => void} onModel
 */

/** The form at the foot of the page. */
export class Composer {
  #events;
  #form = byId("composer", HTMLFormElement);
  #text = byId("question", HTMLTextAreaElement);
  #models = byId("model", HTMLSelectElement);
  #send = byId("send", HTMLButtonElement);
  #stop = byId("stop", HTMLButtonElement);

  /** @param {ComposerEvents} events */
  constructor(events) {
    this.#events = events;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#text.addEventListener("keydown", (event) => this.#key(event));
    this.#text.addEventListener("input", () => this.#changed());
    this.#models.addEventListener("change", () => events.onModel(this.#models.value));
    this.#stop.addEventListener("click", () => events.onStop());
    this.#changed();
  }

  /** The model chosen; null while the server's models are not known. */
  get model() {
    return this.#models.value || null;
  }

  /**
   * Offer these models.
   *
   * @param {{id: string, default: boolean}[]} models
   * @param {string | null} chosen
   */
  showModels(models, chosen) {
    const known = models.find(({ id }) => id === chosen) ?? models.find((model) => model.default) ?? models[0];
    const options = models.map(({ id }) => h("option", { value: id }, id));
    this.#models.replaceChildren(...options);
    this.#models.value = known?.id ?? "";
    this.#models.hidden = models.length === 0;
  }

  /** @param {boolean} running an answer is coming, which can be stopped */
  showRunning(running) {
    const hadFocus = document.activeElement === this.#stop;
    this.#send.hidden = running;
    this.#stop.hidden = !running;
    if (hadFocus && !running) {
      this.focus();
    }
  }

  /** @param {string} text */
  fill(text) {
    this.#text.value = text;
    this.#changed();
    this.focus();
  }

  focus() {
    this.#text.focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.#submit();
    }
  }

  #submit() {
    const text = this.#text.value.trim();
    if (text !== "" && this.#events.onSend(text)) {
      this.#text.value = "";
      this.#changed();
    }
  }

  /** Let the field be as high as its text, up to what the style allows. */
  #changed() {
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight}px`;
    this.#send.disabled = this.#text.value.trim() === "";
  }
}
