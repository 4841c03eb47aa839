// What is shown, written after the # of the address: so that a question and a place can be linked, kept and gone back to.
//
//   #/                                  the start
//   #/ask?q=...&top=5&least=0.4&where=...&unsure=1
//   #/document?id=...&version=3&start=10&end=20
//   #/documents?start=50

const NUMBERS = ["top", "least", "version", "start", "end"];
const TEXTS = ["q", "where", "unsure", "id"];
export const DEFAULT_TOP = 5;

/** The route of an address: `view` and what belongs to it; null where a value is not given or is none. */
export function parse(hash) {
  const [, view = "", query = ""] = /^#?\/?([^?]*)\??(.*)$/s.exec(hash) ?? [];
  const given = new URLSearchParams(query);
  const route = { view: ["document", "documents"].includes(view) ? view : "ask" };
  for (const name of TEXTS) route[name] = given.get(name) ?? null;
  for (const name of NUMBERS) {
    const value = given.get(name)?.trim() ? Number(given.get(name)) : NaN;
    route[name] = Number.isFinite(value) && value >= 0 ? value : null;
  }
  if (route.least !== null) route.least = Math.min(1, route.least);
  route.top = Math.min(20, Math.max(1, Math.round(route.top ?? DEFAULT_TOP)));
  return route;
}

/** The address of a route; what is as it would be anyway is left out. */
export function format(view, values = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === "" || (name === "top" && value === DEFAULT_TOP)) continue;
    query.set(name, String(value));
  }
  const text = query.toString();
  return `#/${view}${text && "?"}${text}`;
}
