// Prometheus's text form, version 0.0.4, as far as `/metrics` uses it. Only data here.

const LINE = /^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { n: "\n", '"': '"', "\\": "\\" };

/**
 * All samples by the name of their series.
 * @param {string} text
 * @returns {Map<string, {labels: Object<string, string>, value: number}[]>}
 */
export function parse(text) {
  const series = new Map();
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : LINE.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(LABEL)) {
      labels[name] = value.replace(/\\(.)/g, (all, mark) => ESCAPES[mark] ?? all);
    }
    const value = { "+Inf": Infinity, "-Inf": -Infinity }[found[3]] ?? Number(found[3]);
    if (!series.has(found[1])) series.set(found[1], []);
    series.get(found[1]).push({ labels, value });
  }
  return series;
}

/** Sum of a series, of the samples that `keep` lets through. */
export function sum(series, name, keep = () => true) {
  let total = 0;
  for (const { labels, value } of series.get(name) ?? []) if (keep(labels)) total += value;
  return total;
}

/** Sums of a series by one label. */
export function sums(series, name, label) {
  const totals = new Map();
  for (const { labels, value } of series.get(name) ?? []) {
    totals.set(labels[label], (totals.get(labels[label]) ?? 0) + value);
  }
  return totals;
}

/** Counts of a histogram by upper end, all models together, ends rising. */
export function buckets(series, name) {
  return [...sums(series, `${name}_bucket`, "le")]
    .map(([end, value]) => [end === "+Inf" ? Infinity : Number(end), value])
    .sort((a, b) => a[0] - b[0]);
}

/**
 * A quantile of what was counted between two moments, straight lines inside buckets.
 * @param {[number, number][]} before buckets, which may lack some ends.
 * @param {[number, number][]} after
 * @param {number} share 0..1
 * @returns {number|null} null without anything; the last finite end if it lies beyond.
 */
export function quantile(before, after, share) {
  const old = new Map(before);
  const fresh = after.map(([end, value]) => [end, value - (old.get(end) ?? 0)]);
  const total = fresh.length ? fresh[fresh.length - 1][1] : 0;
  if (!(total > 0)) return null;
  const wanted = share * total;
  let start = 0;
  let below = 0;
  for (const [end, value] of fresh) {
    if (value >= wanted) {
      if (end === Infinity) return start;
      return start + ((end - start) * (wanted - below)) / Math.max(1e-12, value - below);
    }
    [start, below] = [end, value];
  }
  return start;
}
