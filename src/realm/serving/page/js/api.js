// Talking to the server: the key, waiting when it is busy, events, and every failure as one line.

import { byId } from "./dom.js";
import * as dialogs from "./dialogs.js";
import * as notice from "./notice.js";

const KEY = "realm-api-key";
const MOST_WAITS = 8;
const WORTH_WAITING = [409, 429, 503];

/** Why something was not done, in one line. */
export class Problem extends Error {
  constructor(message, status = 0) {
    super(message);
    this.name = "Problem";
    this.status = status;
  }
}

let key = stored();
let asked = null;

/** The JSON of a response. */
export async function json(path, options = {}) {
  const response = await request(path, options);
  return response.json().catch((error) => {
    throw options.signal?.aborted ? error : new Problem("The server's response broke off. Try again.");
  });
}

/** Events of a response, as they come: [name, value]. One called "error" is raised. */
export async function* events(path, options = {}) {
  const response = await request(path, { ...options, accept: "text/event-stream" });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw options.signal?.aborted ? error : new Problem("The connection to the server broke off.");
    });
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield event(part);
  }
}

function event(part) {
  const name = /^event: (.*)$/m.exec(part)?.[1];
  const value = JSON.parse(/^data: (.*)$/m.exec(part)?.[1] ?? "null");
  if (name === "error") throw new Problem(value.error.message);
  return [name, value];
}

/** A response that grants what was asked; asks for the key and waits for room as often as it must. */
async function request(path, options) {
  for (let waits = 0; ; ) {
    const used = key;
    const response = await send(path, options);
    if (response.ok) return response;
    const problem = await problemOf(response);
    const seconds = Number(response.headers.get("Retry-After"));
    if (response.status === 401) {
      if (used === key) await askForKey(used !== null);
    } else if (WORTH_WAITING.includes(response.status) && seconds > 0 && waits < MOST_WAITS) {
      waits += 1;
      await wait(seconds, response.status, options);
    } else throw problem;
  }
}

async function send(path, { method = "GET", body, signal, accept = "application/json" }) {
  const headers = { Accept: accept };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key !== null) headers.Authorization = `Bearer ${key}`;
  try {
    return await fetch(path, { method, headers, signal, cache: "no-store", body: body && JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem("The server cannot be reached. Is it running?");
  }
}

async function problemOf(response) {
  const value = await response.json().catch(() => null);
  const said = value?.error?.message ?? `The server said ${response.status} and not why.`;
  return new Problem(response.status >= 500 && value ? `${said} (request ${value.request_id})` : said, response.status);
}

/** Wait until the server wants to be asked again. `onWait` is told why and for how long; null when it is over. */
async function wait(seconds, status, { signal, onWait = notice.countDown }) {
  const why = status === 409 ? "Somebody else is changing the documents." : "The server is busy.";
  try {
    for (let left = seconds; left > 0; left -= 1) {
      onWait(why, `Trying again in ${left}\u00a0s.`);
      await new Promise((resolve, reject) => {
        const timer = setTimeout(resolve, 1000);
        signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
      });
      signal?.throwIfAborted();
    }
  } finally {
    onWait(null);
  }
}

/** Ask for the key; several requests that need it ask once. */
async function askForKey(wasWrong) {
  asked ??= dialogs
    .open("key-dialog", () => keep(byId("key").value.trim()))
    .finally(() => (asked = null));
  byId("key-why").textContent = wasWrong ? "This key was not accepted. Try another." : "This server asks for a key.";
  if (!(await asked)) throw new Problem("Without its API key the server does not answer.", 401);
}

function stored() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function keep(given) {
  // What a header cannot carry is no key; the server would never see it.
  key = /^[\x21-\x7e]+$/.test(given) ? given : "-";
  try {
    sessionStorage.setItem(KEY, key);
  } catch { /* storage is switched off: kept until the page is loaded again */ }
}
