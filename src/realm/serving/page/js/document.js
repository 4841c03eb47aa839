// One document, whole, at the place that a link names.

import { json } from "./api.js";
import { byId, el } from "./dom.js";
import { offerRemoval } from "./documents.js";
import * as notice from "./notice.js";
import { format } from "./route.js";
import * as status from "./status.js";
import { chunks, marked, unitsAt } from "./text.js";

const ANSWER_CHARACTERS = 200;
const view = byId("document");
let running = null;

export function stop() {
  running?.abort();
}

/** Show a document; `back` is where it was opened from, or null. */
export async function show(route, back) {
  stop();
  running = new AbortController();
  const { signal } = running;
  document.title = "realm";
  view.replaceChildren(el("h1", { id: "document-title", tabindex: -1 }, "Opening …"));
  const version = route.version === null ? "" : `?version=${route.version}`;
  try {
    const found = await json(`v1/documents/${encodeURIComponent(route.id ?? "")}${version}`, { signal });
    draw(found, route, back);
  } catch (error) {
    if (signal.aborted) return;
    view.replaceChildren(el("h1", { id: "document-title", tabindex: -1 }, "This document cannot be shown"));
    byId("document-title").focus({ preventScroll: true });
    const latest = () => location.replace(format("document", { id: route.id }));
    if (error.status === 404 && version) notice.show("problem", error.message, "Show it as it is now", latest);
    else notice.show("problem", error.message, "Try again", () => (notice.clear(), show(route, back)));
  }
}

function draw(found, route, back) {
  const name = found.title || found.id;
  document.title = `${name} – realm`;
  const facts = [["Id", found.id], ["Source", found.source], ...Object.entries(found.metadata), ["Version", String(found.version)]];
  const text = el("div", { class: "text", dir: "auto" }, [...parts(found.text, route)]);
  const remove = status.known()?.is_writable
    ? el("button", { class: "plain", type: "button", click: () => offerRemoval(found) }, "Remove this document")
    : null;
  view.replaceChildren(
    el("p", { class: "back" }, el("a", { href: back ?? "#/", "data-back": true }, back?.startsWith("#/ask") ? "Back to the answer" : back ? "Back" : "Ask a question")),
    el("h1", { id: "document-title", tabindex: -1 }, el("bdi", {}, name)),
    el("dl", { class: "facts" }, facts.filter(([, value]) => value).map(([key, value]) =>
      el("div", {}, el("dt", {}, el("bdi", {}, key)), el("dd", {}, el("bdi", {}, value))))),
    text,
    el("p", { class: "after" }, remove));
  const place = text.querySelector("mark");
  if (place) {
    place.tabIndex = -1;
    reach(place);
    place.focus({ preventScroll: true });
    notice.say(`${name}, at the marked place.`);
  } else {
    byId("document-title").focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

/** Bring a place to the middle. Parts get their real height only when they come near, so that once is not enough. */
function reach(place, times = 6) {
  if (times === 0 || !place.checkVisibility()) return;
  place.scrollIntoView({ block: "center" });
  requestAnimationFrame(() => reach(place, times - 1));
}

function* parts(text, { start, end }) {
  const [from, to] = start === null || end === null ? [0, 0] : [unitsAt(text, start), unitsAt(text, end)];
  const kind = to - from > ANSWER_CHARACTERS ? "part soft" : "part";
  for (const [at, part] of chunks(text)) yield el("div", { class: kind }, marked(part, from - at, to - at));
}
