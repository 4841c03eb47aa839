// The knowledge base behind the page: what it is, and that it has changed.

import { json } from "./api.js";
import { byId, count, el } from "./dom.js";

const LOOK_SECONDS = 30;

const watchers = [];
let info = null;

/** What is known of the server: the body of /v1/info, or null. */
export const known = () => info;

/** Have a function called whenever the server was asked how it is: with whether that is another version than before. */
export function onLook(watch) {
  watchers.push(watch);
}

/** Note the version that a response came from. */
export async function seen(version) {
  if (info !== null && version > info.version) await look();
}

/** Ask the server how it is. */
export async function look() {
  const before = info;
  info = await json("v1/info");
  draw();
  for (const watch of watchers) watch(before !== null && info.version !== before.version);
}

/** Look now and then while somebody may be looking at the page. */
export function keepLooking() {
  const now = () => document.visibilityState === "visible" && info !== null && look().catch(() => {});
  setInterval(now, 1000 * LOOK_SECONDS);
  window.addEventListener("focus", now);
}

function draw() {
  const parts = [
    count(info.documents, "document"),
    count(info.blocks, "passage"),
    `version ${info.version}`,
    el("bdi", {}, info.model),
  ];
  if (!info.is_ready) parts.push("warming up");
  if (info.is_behind) parts.push("a newer version could not be opened");
  byId("info").replaceChildren(...parts.map((part) => el("span", {}, part)));
}
