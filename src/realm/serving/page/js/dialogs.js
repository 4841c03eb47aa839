// Dialogs: filled in, cancelled or closed.

import { byId, toggle } from "./dom.js";

/**
 * Open a dialog. `submit` is called when it is sent, with options for the request that does it, and may say with an error
 * why it cannot be done yet. A request that was sent cannot be taken back, so that nothing closes the dialog before it has
 * ended; one that waits to be sent again can be given up. Gives whether it was done in the end.
 */
export function open(id, submit) {
  const dialog = byId(id);
  const form = dialog.querySelector("form");
  const [strong, cancel, wrong, state] = [".strong", "[data-cancel]", ".wrong", ".state"].map((each) => form.querySelector(each));
  const [heard, silent] = state.children;
  const ended = new AbortController();
  const { signal } = ended;
  const { promise, resolve } = Promise.withResolvers();
  let [isRunning, isSent, isDone] = [false, false, false];

  /** What keeps it waiting: the server's answer, or something else that is counted down, and can be given up. */
  function draw(why = "", left = "") {
    if (heard.textContent !== why) heard.textContent = why;
    silent.textContent = left;
    // Not `disabled`, which would lose the focus.
    strong.setAttribute("aria-disabled", isRunning);
    cancel.setAttribute("aria-disabled", isSent);
    dialog.setAttribute("closedby", isSent ? "none" : "closerequest");
  }

  function onWait(why, left) {
    isSent = why === null;
    draw(why ?? "Sent. Waiting for the server.", left);
    if (!isSent) show();
  }

  async function send(event) {
    event.preventDefault();
    if (isRunning) return;
    isRunning = true;
    toggle(wrong, false);
    onWait(null);
    try {
      await submit({ signal, onWait });
      isDone = true;
    } catch (error) {
      if (!signal.aborted) complain(error.message);
    }
    isRunning = isSent = false;
    draw();
    if (isDone) dialog.close();
    if (!dialog.open) end();
  }

  function complain(words) {
    wrong.textContent = words;
    wrong.setAttribute("role", "alert");
    toggle(wrong, true);
    show();
  }

  /** Some browsers close it all the same. */
  function show() {
    if (!dialog.open) dialog.showModal();
  }

  /** The event comes some time after the closing, when the dialog may be open again. */
  function end() {
    if (isSent || dialog.open) return;
    ended.abort();
    resolve(isDone);
  }

  form.reset();
  toggle(wrong, false);
  draw();
  form.addEventListener("submit", send, { signal });
  cancel.addEventListener("click", () => isSent || dialog.close(), { signal });
  dialog.addEventListener("cancel", (event) => isSent && event.preventDefault(), { signal });
  dialog.addEventListener("close", end, { signal });
  show();
  return promise;
}
