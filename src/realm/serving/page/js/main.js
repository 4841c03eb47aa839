// Which of the views is shown, where it is scrolled to, and what has the focus.

import * as ask from "./ask.js";
import { byId, toggle } from "./dom.js";
import * as reader from "./document.js";
import * as documents from "./documents.js";
import * as keys from "./keys.js";
import * as notice from "./notice.js";
import { parse } from "./route.js";
import * as status from "./status.js";

const views = ["ask", "document", "documents"];
const places = new Map(); // of an address: how far it was scrolled, and the link that was followed from there
let now = null;
let before = null;

function show(hash, isAgain = false) {
  const route = parse(hash);
  if (now !== null && now !== hash) {
    notice.clear();
    places.set(now, { top: window.scrollY, link: document.activeElement?.getAttribute("href") ?? null });
    if (parse(now).view !== "document") before = now;
  }
  const isOther = now !== hash;
  now = hash;
  for (const view of views) toggle(byId(view), view === route.view);
  for (const link of document.querySelectorAll("nav [data-page]")) {
    if (link.dataset.page === route.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (route.view !== "document") reader.stop();
  if (route.view !== "documents") documents.stop();
  if (route.view !== "ask") ask.stop();
  if (route.view === "document") void reader.show(route, before);
  else if (route.view === "documents") void documents.show(route).then(() => isOther && now === hash && settle(hash));
  else {
    ask.show(route, hash, isAgain);
    if (isOther) settle(hash);
  }
}

/** As it was when it was left; a new one from its top. */
function settle(hash) {
  const place = places.get(hash);
  const link = place?.link && [...document.querySelectorAll("main section:not([hidden]) a.place")].find((each) => each.getAttribute("href") === place.link);
  if (link) link.focus({ preventScroll: true });
  else if (parse(hash).view === "documents") byId("documents-title")?.focus({ preventScroll: true });
  window.scrollTo(0, place?.top ?? 0);
}

function go(hash, isAgain) {
  if (location.hash === hash) show(hash, isAgain);
  else location.hash = hash;
}

function escape(event) {
  if (parse(now).view === "ask") {
    if (ask.stop()) notice.show("news", "Stopped.");
    else if (event.target === byId("question")) byId("question").blur();
    else byId("question").focus();
  } else if (before !== null) history.back();
  else location.hash = "#/";
}

function wireTheme() {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const tell = () => byId("theme").setAttribute("aria-pressed", String(isDark()));
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try {
      localStorage.setItem("realm-theme", root.dataset.theme);
    } catch { /* storage is switched off: chosen for now */ }
    tell();
  });
  dark.addEventListener("change", tell);
  tell();
}

history.scrollRestoration = "manual";
document.querySelector(".skip").addEventListener("click", (event) => (event.preventDefault(), byId("main").focus()));
// The way back is the browser's own, so that its history does not grow.
byId("document").addEventListener("click", (event) => {
  if (!event.target.closest("[data-back]") || before === null) return;
  event.preventDefault();
  history.back();
});
wireTheme();
ask.wire(go);
documents.wire();
keys.wire(escape);
window.addEventListener("hashchange", () => show(location.hash || "#/"));
show(location.hash || "#/");
status.look().catch((error) => notice.show("problem", error.message, "Try again", () => location.reload()));
status.keepLooking();
