// What the page has to say: one line to be seen, and the same to be heard.

import { byId, toggle } from "./dom.js";

const line = byId("notice");
const [text, button] = [line.querySelector("p"), line.querySelector("button")];
let act = null;
let counted = null;
button.addEventListener("click", () => act?.());

/** Say something to screen readers that everybody else sees anyway. */
export function say(words) {
  byId("said").textContent = words;
}

/** Show one line, with a button if there is something to be done. `kind` is "problem" or "news". */
export function show(kind, words, label = null, action = null) {
  line.dataset.kind = kind;
  text.textContent = words;
  button.textContent = label ?? "";
  act = action;
  toggle(button, label !== null);
  toggle(line, true);
  if (kind === "problem") byId("warned").textContent = words;
  else say(words);
}

/** Count down: heard once, then changed silently. Without a reason it is over, unless something else has been said since. */
export function countDown(why, left) {
  const words = why && `${why} ${left}`;
  const isShown = counted !== null && text.textContent === counted;
  if (words === null) isShown && clear();
  else if (isShown) text.textContent = words;
  else show("news", words);
  counted = words;
}

export function clear() {
  toggle(line, false);
  byId("warned").textContent = "";
}
