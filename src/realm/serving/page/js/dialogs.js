// Dialogs: filled in, cancelled or closed.

import { byId, toggle } from "./dom.js";

/**
 * Open a dialog. `submit` is called with it when it is sent, and may say with an error why it cannot be yet.
 * Gives whether it was sent in the end.
 */
export function open(id, submit) {
  const dialog = byId(id);
  const form = dialog.querySelector("form");
  const strong = form.querySelector(".strong");
  const wrong = form.querySelector(".wrong");
  const ended = new AbortController();
  const { signal } = ended;
  let isDone = false;
  form.reset();
  if (wrong) toggle(wrong, false);

  async function send(event) {
    event.preventDefault();
    strong.disabled = true;
    try {
      await submit(signal);
      isDone = true;
      dialog.close();
    } catch (error) {
      if (error.name === "AbortError") return;
      wrong.textContent = error.message;
      wrong.setAttribute("role", "alert");
      toggle(wrong, true);
    } finally {
      strong.disabled = false;
    }
  }

  return new Promise((resolve) => {
    form.addEventListener("submit", send, { signal });
    form.querySelector("[data-cancel]").addEventListener("click", () => dialog.close(), { signal });
    dialog.addEventListener("close", () => (ended.abort(), resolve(isDone)), { signal });
    dialog.showModal();
  });
}
