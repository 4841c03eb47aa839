// Places in texts. The server counts characters (code points), JavaScript counts UTF-16 units: 😀 is one of those and
// two of these.

import { el } from "./dom.js";

const WIDE = /[\ud800-\udbff]/;
const CHUNK_UNITS = 4000;
const LONGEST_LINE_UNITS = 20000;

/** Where the character with this number begins, in UTF-16 units. */
export function unitsAt(text, characters) {
  if (!WIDE.test(text)) return Math.min(characters, text.length);
  let at = 0;
  for (let seen = 0; seen < characters && at < text.length; seen += 1) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

/** How many characters a text has. */
export function charactersIn(text) {
  if (!WIDE.test(text)) return text.length;
  let found = 0;
  for (let at = 0; at < text.length; found += 1) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return found;
}

/** The text as nodes, with what stands from `start` to `end` (in UTF-16 units) marked. */
export function marked(text, start, end) {
  if (!(start < end) || end <= 0 || start >= text.length) return [text];
  const [from, to] = [Math.max(0, start), Math.min(end, text.length)];
  return [text.slice(0, from), el("mark", {}, text.slice(from, to)), text.slice(to)].filter((part) => part !== "");
}

/**
 * A long text in parts that end where a line ends, so that a browser need not lay out those that are out of sight.
 * A line that is longer than any paragraph is parted at a space.
 */
export function* chunks(text) {
  for (let at = 0; at < text.length; ) {
    let end = text.indexOf("\n", at + CHUNK_UNITS) + 1 || text.length;
    if (end - at > LONGEST_LINE_UNITS) {
      const line = text.lastIndexOf("\n", at + LONGEST_LINE_UNITS) + 1;
      const space = text.lastIndexOf(" ", at + LONGEST_LINE_UNITS) + 1;
      end = line > at ? line : space > at ? space : whole(text, at + LONGEST_LINE_UNITS);
    }
    yield [at, text.slice(at, end)];
    at = end;
  }
}

/** The same place, or one further where it would part a character. */
function whole(text, at) {
  return WIDE.test(text.charAt(at - 1)) ? at + 1 : at;
}
