// The keyboard: / to the question, arrows through the evidence, Escape back.

import { byId } from "./dom.js";

const TYPING = "input, textarea, select, [contenteditable]";

/** `escape` is called where Escape is not anybody else's. */
export function wire(escape) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const isTyping = event.target.matches?.(TYPING);
    if (event.key === "/" && !isTyping) toQuestion(event);
    else if (event.key === "Escape") escape(event);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") step(event, isTyping);
  });
}

function toQuestion(event) {
  event.preventDefault();
  if (byId("ask").hidden) location.hash = "#/";
  byId("question").focus();
  byId("question").select();
}

/** From the question to the first passage, from passage to passage, and back. */
function step(event, isTyping) {
  const places = [...document.querySelectorAll("main section:not([hidden]) a.place")];
  const now = places.indexOf(document.activeElement);
  const isQuestion = event.target === byId("question");
  if (!places.length || (now < 0 && !isQuestion) || (isTyping && !isQuestion)) return;
  const next = now + (event.key === "ArrowDown" ? 1 : -1);
  if (next >= places.length || (isQuestion && event.key === "ArrowUp")) return;
  event.preventDefault();
  const target = next < 0 ? byId("question") : places[next];
  if (!target.checkVisibility()) return;
  target.focus();
  target.scrollIntoView({ block: "nearest" });
}
