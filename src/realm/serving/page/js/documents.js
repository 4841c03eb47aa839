// The list of documents, a page at a time; adding and removing where the server lets itself be changed.

import { json } from "./api.js";
import * as dialogs from "./dialogs.js";
import { byId, count, el } from "./dom.js";
import * as notice from "./notice.js";
import { format } from "./route.js";
import * as status from "./status.js";

const PAGE = 50;
const view = byId("documents");
let running = null;
let shown = null;

export function stop() {
  running?.abort();
}

/** Show the page of the list that begins with the `start`-th document. */
export async function show(route) {
  stop();
  running = new AbortController();
  const { signal } = running;
  shown = route;
  document.title = "Documents – realm";
  if (byId("documents-title") === null) view.replaceChildren(heading());
  try {
    if (status.known() === null) await status.look();
    const start = Math.floor(route.start ?? 0);
    draw(await json(`v1/documents?start=${start}&limit=${PAGE}`, { signal }), start);
  } catch (error) {
    if (!signal.aborted) notice.show("problem", error.message, "Try again", () => (notice.clear(), show(route)));
  }
}

/** When the documents change, so does their list. */
export function wire() {
  status.onLook((isNew) => isNew && !view.hidden && shown !== null && void show(shown));
}

/** Kept, so that a list that changes does not take away what was typed. */
const field = el("input", { id: "by-id", type: "text", required: true, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
const opener = el("form", { class: "row", submit: openById },
  el("label", { for: "by-id" }, "Id of a document"), field, el("button", { class: "plain" }, "Open"));

function openById(event) {
  event.preventDefault();
  location.hash = format("document", { id: field.value.trim() });
}

const heading = () => el("h1", { id: "documents-title", tabindex: -1 }, "Documents");

function draw(page, start) {
  status.seen(page.version).catch(() => {});
  const add = status.known()?.is_writable
    ? el("button", { class: "strong", type: "button", id: "add", click: offerAdding }, "Add a document")
    : null;
  const focused = view.contains(document.activeElement) ? document.activeElement.id : "";
  view.replaceChildren(
    el("div", { class: "head" }, heading(), add),
    ...(page.total > PAGE ? [opener] : []),
    page.documents.length ? el("ul", { class: "documents" }, page.documents.map(entry)) : el("p", {}, "There are none here."),
    pager(page, start));
  byId(focused)?.focus();
  notice.say(`${count(page.total, "document")}.`);
}

function entry(document) {
  const name = document.title || document.id;
  const remove = status.known()?.is_writable
    ? el("button", { class: "plain", type: "button", "aria-label": `Remove ${name}`, click: () => offerRemoval(document) }, "Remove")
    : null;
  return el("li", {},
    el("a", { class: "place", href: format("document", { id: document.id }) }, el("bdi", {}, name)),
    el("bdi", { class: "id" }, document.title ? document.id : ""), remove);
}

function pager(page, start) {
  const last = start + page.documents.length;
  const link = (words, to, isThere) =>
    isThere ? el("a", { class: "button", href: format("documents", { start: to || null }) }, words) : el("span", {});
  return el("nav", { class: "pager", "aria-label": "Pages of the list" },
    link("Previous", Math.max(0, start - PAGE), start > 0),
    el("span", {}, last > start ? `${start + 1}–${last} of ${page.total}` : `0 of ${page.total}`),
    link("Next", page.next_start, page.next_start !== null));
}

/** A name that no other document has: from the title for people, at random for certainty. */
function newId(title) {
  const words = title.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 60);
  const random = [...crypto.getRandomValues(new Uint8Array(4))].map((byte) => byte.toString(16).padStart(2, "0"));
  return [words, random.join("")].filter(Boolean).join("-");
}

async function offerAdding() {
  let id = null;
  const isDone = await dialogs.open("add-dialog", async (sending) => {
    const [title, text] = [byId("new-title").value.trim(), byId("new-text").value];
    if (!text.trim()) throw new Error("The text is empty.");
    id ??= newId(title); // the same one however often it is sent
    await json("v1/documents", { method: "POST", body: { documents: [{ id, title, text }] }, ...sending });
  });
  if (isDone) await moved(`#/document?id=${encodeURIComponent(id)}`, "Added: answers may come from it now.");
}

/** Ask whether a document is to go, and take it out. */
export async function offerRemoval(document) {
  byId("remove-name").textContent = document.title || document.id;
  const isDone = await dialogs.open("remove-dialog", (sending) =>
    json(`v1/documents/${encodeURIComponent(document.id)}`, { method: "DELETE", ...sending }));
  if (isDone) await moved("#/documents", "Removed: no answer comes from it any more.");
}

async function moved(hash, words) {
  const isThere = location.hash === hash || (hash === "#/documents" && !view.hidden);
  await status.look().catch(() => {});
  if (!isThere) {
    location.hash = hash;
    await new Promise((resolve) => window.addEventListener("hashchange", resolve, { once: true }));
  }
  notice.show("news", words);
}
