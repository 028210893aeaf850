// Elements made from data. Text is always set as text, so names from files, models and clients
// are never read as HTML.

/**
 * An element.
 * @param {string} tag such as "button", or "svg:rect" for a part of a drawing.
 * @param {Object<string, unknown>} values attributes; functions are event listeners; true gives
 *   an attribute without value, false, null and undefined leave it out.
 * @param {...(Node|string|null)} inside
 */
export function make(tag, values = {}, ...inside) {
  const element = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  element.append(...inside.filter((one) => one != null));
  return element;
}

/** The element of an id. */
export const find = (id) => document.getElementById(id);

/** A score in 0..1 as whole percent; what is not certain never reads "100 %". */
export function percent(score) {
  if (score > 0 && score < 0.01) return "<1\u00a0%";
  return `${score >= 0.9995 ? 100 : Math.min(99, Math.round(score * 100))}\u00a0%`;
}

/** A number with three digits that count, and a unit. */
export function short(value, unit = "") {
  if (value == null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  const text = size >= 10000 ? Math.round(value).toLocaleString("en") : String(+value.toFixed(digits));
  return unit ? `${text} ${unit}` : text;
}

/** Seconds as people say them. */
export function duration(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  return seconds < 1 ? short(seconds * 1000, "ms") : short(seconds, "s");
}

/** "1 object", "2 objects", "2 entries". */
export function count(number, word, several = `${word}s`) {
  return `${number} ${number === 1 ? word : several}`;
}

/** Save text or a blob as a file of the user. */
export function save(name, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const address = URL.createObjectURL(blob);
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
