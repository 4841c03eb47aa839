// Asking: the form, the question that is running, and what came of those before.

import { Problem, events } from "./api.js";
import { byId, count, el, percent, toggle } from "./dom.js";
import * as evidence from "./evidence.js";
import * as notice from "./notice.js";
import { format } from "./route.js";
import * as status from "./status.js";

const KEPT = 30;
const [result, question, top, least, where] = ["result", "question", "top", "least", "where"].map(byId);

/** Finished jobs by the address that asked for them, so that going back asks nothing. */
const kept = new Map();
let job = null;
let isLeastSet = false;
let sent = null; // the address that the form has just sent: it may have been typed into since, so it is not filled anew

/** Show what a route asks: from memory, unless it is to be asked again. */
export function show(route, hash, isAgain = false) {
  if (hash !== sent) fill(route);
  sent = null;
  document.body.classList.toggle("asked", route.q !== null);
  document.title = route.q ? `${route.q} – realm` : "realm";
  if (job?.hash === hash && job.isRunning) return;
  stop();
  if (!route.q) {
    result.replaceChildren();
    question.focus({ preventScroll: true });
  } else if (kept.has(hash) && !isAgain) {
    draw((job = kept.get(hash)));
    tellIfOld();
  } else void run(route, hash);
}

/** Stop waiting for the answer; gives whether there was one to wait for. */
export function stop() {
  const wasRunning = Boolean(job?.isRunning);
  job?.stop.abort();
  if (wasRunning) {
    job.isRunning = false;
    if (job.evidence === null) result.replaceChildren();
    else draw(job);
    result.setAttribute("aria-busy", "false");
  }
  return wasRunning;
}

/** Wire the form. `go` is called with the address of what is asked, and whether to ask it once more. */
export function wire(go) {
  const submit = (isAgain) => question.value.trim() && go((sent = format("ask", values())), isAgain);
  byId("question-form").addEventListener("submit", (event) => {
    event.preventDefault();
    // A keyboard on the screen would cover the answer.
    if (matchMedia("(pointer: coarse)").matches) question.blur();
    submit(true);
  });
  for (const field of [top, where]) field.addEventListener("change", () => field.reportValidity() && job && submit(false));
  least.addEventListener("input", () => ((isLeastSet = true), drawOptions()));
  least.addEventListener("change", () => job && submit(false));
  byId("least-reset").addEventListener("click", () => {
    isLeastSet = false;
    drawOptions();
    least.focus();
    if (job) submit(false);
  });
  status.onLook(() => (drawOptions(), tellIfOld()));
}

/** Say so where the answer that is shown is not from the version that answers now. */
function tellIfOld() {
  const version = status.known()?.version;
  if (byId("ask").hidden || !job?.answer || job.isRunning || !version || job.version >= version) return;
  const { route, hash } = job;
  const words = `The documents have changed since this answer: it is from version ${job.version}, now there is ${version}.`;
  notice.show("news", words, "Ask again", () => show(route, hash, true));
}

function values() {
  return {
    q: question.value.trim(), top: top.valueAsNumber, where: where.value.trim(), least: isLeastSet ? least.value / 100 : null,
  };
}

function fill(route) {
  question.value = route.q ?? "";
  top.value = route.top;
  where.value = route.where ?? "";
  isLeastSet = route.least !== null;
  if (isLeastSet) least.value = Math.round(100 * route.least);
  drawOptions();
}

/** Below which confidence there is no answer where none is chosen: what was measured for the model, or nothing. */
const calibrated = () => status.known()?.min_confidence ?? null;

function drawOptions() {
  const usual = calibrated();
  if (!isLeastSet) least.value = Math.round(100 * (usual ?? 0));
  byId("least-said").textContent =
    isLeastSet ? `at least ${percent(least.value / 100)}` : usual === null ? "no limit" : `${percent(usual)}, as calibrated`;
  least.classList.toggle("unset", !isLeastSet);
  least.setAttribute("aria-valuetext", byId("least-said").textContent);
  toggle(byId("least-reset"), isLeastSet);
  const said = [isLeastSet && `at least ${percent(least.value / 100)} sure`, top.value !== "5" && count(Number(top.value), "passage"), where.value];
  byId("options-said").textContent = said.filter(Boolean).map((part) => ` · ${part}`).join("");
}

function bodyOf(route) {
  const body = { question: route.q, top: route.top, stream: true };
  if (route.where) body.filter = route.where;
  // Without a value the server goes by what was measured for its model.
  if (route.unsure) body.min_confidence = 0;
  else if (route.least !== null) body.min_confidence = route.least;
  return body;
}

async function run(route, hash) {
  const mine = { route, hash, stop: new AbortController(), isRunning: true, evidence: null, answer: null, version: null };
  job = mine;
  notice.clear();
  draw(mine);
  notice.say("Searching");
  try {
    for await (const [name, value] of events("v1/ask", { method: "POST", body: bodyOf(route), signal: mine.stop.signal })) {
      mine.version = value.version;
      mine.evidence = value.evidence;
      if (name === "answer") mine.answer = value;
      else notice.say(`${count(value.evidence.length, "passage")} found. Reading.`);
      if (mine === job && name !== "answer") draw(mine);
    }
    if (mine.answer === null) throw new Problem("The connection ended before the answer came.");
    keep(mine);
  } catch (error) {
    if (mine.stop.signal.aborted) return;
    // What cannot be asked like this is to be changed first.
    notice.show("problem", error.message, error.status === 422 ? null : "Try again", () => show(route, hash, true));
    if (error.status === 422 && route.where) byId("options").open = true;
  }
  mine.isRunning = false;
  if (mine !== job) return;
  draw(mine);
  if (mine.answer !== null) notice.say(spoken(mine.answer));
  status.seen(mine.version).catch(() => {});
}

function keep(done) {
  kept.delete(done.hash);
  kept.set(done.hash, done);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
}

function spoken({ answer, confidence, evidence: found }) {
  if (answer === null) return `No answer. ${count(found.length, "passage")} shown.`;
  const from = found.find((one) => one.start !== null);
  return `Answer: ${answer}. ${percent(confidence)}, ${evidence.inWords(confidence)}. From ${from?.title || from?.document_id}.`;
}

function draw(shown) {
  const { route, answer, isRunning } = shown;
  const found = shown.evidence ?? [];
  const scale = evidence.scaleOf(found);
  const chosen = found.findIndex((one) => one.start !== null);
  const others = found.map((_, place) => place).filter((place) => place !== chosen);
  const parts = [];
  if (answer === null && isRunning) parts.push(waiting(found.length));
  else if (answer?.answer) parts.push(given(answer, found[chosen], chosen + 1, route, scale));
  else if (answer !== null) parts.push(notGiven(answer, route));
  if (others.length) {
    const title = chosen >= 0 ? "Other evidence" : answer === null ? "Evidence" : "The best passages found";
    parts.push(el("h2", {}, title), evidence.list(others.map((place) => found[place]), others.map((place) => place + 1), scale));
  }
  if (found.length) parts.push(evidence.footnote(found, scale, answer, shown.version, status.known()?.is_calibrated));
  result.setAttribute("aria-busy", String(isRunning));
  result.replaceChildren(...parts);
}

function waiting(passages) {
  const words = passages ? `Reading ${count(passages, "passage")} …` : "Searching …";
  return el("div", { class: "card waiting" }, el("p", { class: "label" }, words), el("span", { class: "pulse" }), el("span", { class: "pulse short" }));
}

function given(answer, from, rank, route, scale) {
  const isUnsure = route.unsure !== null;
  return el("article", { class: isUnsure ? "card unsure" : "card", "aria-label": "Answer" },
    el("p", { class: "label" }, isUnsure ? "Unsure answer: not given unless asked for" : "Answer"),
    el("p", { class: "answer", dir: "auto" }, answer.answer),
    evidence.sureness(answer.confidence, route.least ?? calibrated()),
    from ? evidence.answering(from, rank, scale) : null);
}

function notGiven(answer, route) {
  const why = route.least === null ? "would most likely be wrong, so it is not given as an answer" : "is less sure than you want";
  const ask = el("a", { class: "button", href: format("ask", { ...route, view: null, least: null, unsure: 1 }) }, "Show the unsure answer");
  return el("article", { class: "card none", "aria-label": "No answer" },
    el("p", { class: "label" }, "No answer"),
    el("p", { class: "answer" }, answer.evidence.length ? "The documents do not seem to say." : "There is nothing to read."),
    answer.evidence.length
      ? [el("p", {}, `What comes closest ${why}.`), evidence.sureness(answer.confidence, route.least ?? calibrated()), el("p", {}, ask)]
      : el("p", {}, answer.note || "No passage was found."));
}
