// The keyboard: / to the question, unless switched off; arrows through the evidence; Escape back.

import { byId, toggle } from "./dom.js";

const SLASH = "realm-slash";
const slash = byId("slash");
const TYPING = "input, textarea, select, [contenteditable]";

/** `escape` is called where Escape is not anybody else's. */
export function wire(escape) {
  wireSlash();
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const isTyping = event.target.matches?.(TYPING);
    if (event.key === "/" && slash.checked && !isTyping) toQuestion(event);
    else if (event.key === "Escape") escape(event);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") step(event, isTyping);
  });
}

/** A key alone can be pressed by accident, or by a voice: the choice is kept (WCAG 2.1.4). */
function wireSlash() {
  const draw = () => toggle(document.querySelector(".field kbd"), slash.checked);
  try {
    slash.checked = localStorage.getItem(SLASH) !== "off";
  } catch { /* storage is switched off: chosen for now */ }
  slash.addEventListener("change", () => {
    draw();
    try {
      localStorage.setItem(SLASH, slash.checked ? "on" : "off");
    } catch { /* the same */ }
  });
  draw();
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
