// An answer and its evidence as elements. Knows neither the server nor the address bar beyond how to link a place.

import { bar, count, el, figure, percent } from "./dom.js";
import { format } from "./route.js";
import { charactersIn, marked, unitsAt } from "./text.js";

const WORDS = [[0.9, "very sure"], [0.7, "quite sure"], [0.5, "more likely right than wrong"], [0.3, "unsure"], [0, "a guess"]];
const LONG_CHARACTERS = 320;

/** How sure, in words. */
export const inWords = (confidence) => WORDS.find(([least]) => confidence >= least)[1];

/** Confidence as a bar, a number and words. */
export function sureness(confidence, least = null) {
  const words = inWords(confidence);
  const line = bar(confidence, "sure");
  if (least !== null) line.style.setProperty("--least", least);
  line.classList.toggle("limited", least !== null);
  return el("div", {
    class: "sureness", role: "meter", "aria-label": "Confidence", "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.round(100 * confidence), "aria-valuetext": `${percent(confidence)}, ${words}`,
  }, line, el("span", { class: "number" }, percent(confidence)), el("span", {}, words));
}

/** The passage that answers, with the answer marked. */
export function answering(one, rank, scale) {
  const [start, end] = [one.start, one.end].map((place) => unitsAt(one.text, place - one.block_start));
  return el("figure", { class: "passage" },
    el("blockquote", { dir: "auto" }, marked(one.text, start, end)),
    el("figcaption", {}, heading(one, rank, one.start, one.end), scores(one, scale)));
}

/** Passages, best first; `ranks` says which of all found ones they are. */
export function list(evidence, ranks, scale) {
  return el("ol", { class: "evidence" }, evidence.map((one, place) => item(one, ranks[place], scale)));
}

function item(one, rank, scale) {
  const text = el("p", { class: "excerpt", dir: "auto" }, one.text);
  const place = heading(one, rank, one.block_start, one.block_start + charactersIn(one.text));
  const more = el("button", { class: "plain more", type: "button", "aria-expanded": "false", click: unfold }, "Show all");
  return el("li", {}, place, text, el("div", { class: "foot" }, scores(one, scale), one.text.length > LONG_CHARACTERS ? more : null));
}

function unfold({ currentTarget: button }) {
  const isOpen = button.closest("li").querySelector(".excerpt").classList.toggle("whole");
  button.setAttribute("aria-expanded", isOpen);
  button.textContent = isOpen ? "Show less" : "Show all";
}

function heading(one, rank, start, end) {
  const place = { id: one.document_id, version: one.document_version, start, end };
  return el("h3", {},
    el("span", { class: "rank", "aria-hidden": "true" }, rank),
    el("a", { class: "place", href: format("document", place) }, el("bdi", {}, one.title || one.document_id)));
}

/** What the bars of some passages are measured by: they compare these passages with each other. */
export function scaleOf(evidence) {
  const vectors = evidence.map((one) => one.score);
  const words = evidence.map((one) => one.lexical_score);
  return { low: Math.min(...vectors), high: Math.max(...vectors), words: Math.max(...words) };
}

function scores(one, scale) {
  const range = scale.high - scale.low;
  const rows = [["Vectors", one.score, range > 0 ? 0.06 + (0.94 * (one.score - scale.low)) / range : 1]];
  if (scale.words > 0) rows.push(["Words", one.lexical_score, one.lexical_score / scale.words]);
  return el("dl", { class: "scores" }, rows.map(([name, score, share]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, bar(share), el("span", { class: "number" }, figure(score))))));
}

/** What the bars mean, and how long it took. */
export function footnote(evidence, scale, answer, version, isCalibrated) {
  const kinds = scale.words > 0
    ? "Vectors: how close question and passage are in meaning. Words: how well their words match (BM25). The order is by both."
    : "Vectors: how close question and passage are in meaning; the order is by that.";
  const seconds = Object.values(answer?.seconds ?? {}).reduce((sum, each) => sum + each, 0);
  const time = answer ? ` ${count(evidence.length, "passage")} read in ${seconds.toFixed(2)}\u00a0s, version ${version}.` : "";
  const measured = answer && isCalibrated === false ? " The confidence of this model has not been calibrated." : "";
  return el("p", { class: "footnote" }, `${kinds} Bars compare these passages with each other.${measured}${time}`);
}
