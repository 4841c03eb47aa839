// Making elements. Text of documents only ever becomes text nodes: nothing here, or anywhere on the page, reads HTML.

/** An element; strings among the children become text nodes, null ones are left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Show an element, or do not. */
export function toggle(node, isShown) {
  node.hidden = !isShown;
}

const whole = new Intl.NumberFormat("en");

export const count = (number, one) => `${whole.format(number)} ${one}${number === 1 ? "" : "s"}`;

/** A share as people write it; never 0 or 100 where it is not. */
export function percent(share) {
  if (share > 0 && share < 0.005) return "< 1\u00a0%";
  if (share < 1 && share > 0.995) return "> 99\u00a0%";
  return `${Math.round(100 * share)}\u00a0%`;
}

/** A score with as many digits as tell it from its neighbours. */
export const figure = (score) => (score === 0 ? "0" : score.toFixed(Math.abs(score) < 10 ? 2 : 1));

/** A bar that is filled to a share. Only for the eye: the number stands beside it. */
export function bar(share, kind = "") {
  const node = el("span", { class: `bar ${kind}`, "aria-hidden": "true" });
  node.style.setProperty("--share", Math.min(1, Math.max(0, share)).toFixed(4));
  return node;
}
