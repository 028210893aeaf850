// What of an answer is shown, and as what it is saved. No elements here, only data.

import { percent } from "./dom.js";

/** Labels that a sentence names beside the first. */
const WORTH = 0.05;
/** Lowest score that the server is asked for; the slider moves above it without a new question. */
const FLOOR = 0.1;
/** Labels below it say nothing; a classifier has no threshold of its own for what it shows. */
const NOTHING = 0.01;

/**
 * The score to ask a model for, so that the slider has something to show below its own threshold.
 * @param {object} model of `/models/NAME`.
 * @returns {number|null} null to leave it to the model: a classifier that may be unsure decides
 *   that with its own threshold.
 */
export function askedThreshold(model) {
  if (model.task === "classify") return null;
  return Math.min(FLOOR, model.threshold, ...Object.values(model.thresholds ?? {}));
}

/** The score from which an answer of a class is shown; `cut` null for the model's own. */
export function limitOf(model, cut, name) {
  return cut ?? (model.task === "classify" ? NOTHING : (model.thresholds?.[name] ?? model.threshold));
}

/**
 * What is shown of a prediction.
 * @param {object} prediction as `/predict` gives it.
 * @param {object} model of `/models/NAME`.
 * @param {number|null} cut lowest score; null for the model's own.
 * @param {Set<string>} off classes that are not shown.
 * @returns {object} a prediction in the same form, objects best first.
 */
export function shown(prediction, model, cut, off) {
  const passes = (one) => !off.has(one.name) && one.score >= limitOf(model, cut, one.name);
  // Labels of a detector are those of a second model, which has no threshold of its own here.
  const also = (one) => one.score >= (cut ?? 0);
  return {
    ...prediction,
    objects: prediction.objects.filter(passes).sort((a, b) => b.score - a.score),
    labels: prediction.labels.filter(model.task === "detect" ? also : passes),
  };
}

/** Class names of a prediction with how often each is shown, those shown most often first. */
export function classCounts(prediction, model, cut) {
  const rows = prediction.objects.length || model.task === "detect"
    ? prediction.objects
    : prediction.labels;
  const counts = new Map();
  for (const one of rows) {
    const passes = one.score >= limitOf(model, cut, one.name);
    counts.set(one.name, (counts.get(one.name) ?? 0) + (passes ? 1 : 0));
  }
  return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}

/** One sentence for people who do not see the boxes. */
export function sentence(said, task) {
  const unsure = said.unsure ? "The model is not sure. " : "";
  if (task === "detect") {
    const counts = new Map();
    for (const one of said.objects) counts.set(one.name, (counts.get(one.name) ?? 0) + 1);
    const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([name, times]) => `${times} × ${name}`);
    const total = said.objects.length;
    if (!total) return `${unsure}Nothing found.`;
    return `${unsure}${total === 1 ? "1 object" : `${total} objects`}: ${parts.join(", ")}.`;
  }
  if (!said.labels.length) return `${unsure}No label.`;
  const best = said.labels
    .filter((one, at) => at === 0 || one.score >= WORTH)
    .slice(0, 3)
    .map((one) => `${one.name} ${percent(one.score)}`);
  return `${unsure}${best.join(", ")}.`;
}

/** Predictions as a table; a name that a spreadsheet would take for a formula gets a mark. */
export function csv(predictions) {
  const rows = [["image", "name", "score", "x1", "y1", "x2", "y2"]];
  for (const one of predictions) {
    for (const label of one.labels) rows.push([one.image, label.name, label.score, "", "", "", ""]);
    for (const found of one.objects) rows.push([one.image, found.name, found.score, ...found.box]);
  }
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value) {
  if (typeof value !== "string") return value == null ? "" : String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
