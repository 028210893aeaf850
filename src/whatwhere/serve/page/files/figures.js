// Live figures and drift, asked for every two seconds while they are looked at.

import { ask, json } from "./api.js";
import { count, duration, find, make, short } from "./dom.js";
import { buckets, parse, quantile, sum, sums } from "./prometheus.js";

const EVERY = 2000;
const KEPT = 300; // Seconds of history.
const RECENT = 60;
const CLASSES = 15;
const WIDE = 320;
const HIGH = 90;

let timer = null;
let history = [];
let say = () => {};

/** Begin to ask. */
export function enter(problem) {
  say = problem;
  if (timer === null) round();
}

/** Ask no more. */
export function leave() {
  clearTimeout(timer);
  timer = null;
}

async function round() {
  timer = setTimeout(round, EVERY);
  if (document.hidden) return;
  const mine = timer;
  try {
    const [text, { drift }] = await Promise.all([
      ask("metrics").then((answer) => answer.text()),
      json("monitor/drift"),
    ]);
    if (timer === null) return;
    const now = performance.now() / 1000;
    const series = parse(text);
    history.push({ now, series, requests: sum(series, "whatwhere_requests_total") });
    // A server that was started anew counts from nothing.
    const last = history[history.length - 2];
    if (last && last.requests > history[history.length - 1].requests) history = history.slice(-1);
    history = history.filter((one) => now - one.now <= KEPT);
    show(series, drift);
    say("");
  } catch (error) {
    if (timer === mine || timer !== null) say(error.sentence ?? error.message);
    // A key that is not given or not enough is not asked for again and again.
    if (error.status === 401 || error.status === 403) leave();
  }
}

/** The first moment that lies at most so many seconds back. */
function since(seconds, from = history[history.length - 1].now) {
  return history.find((one) => from - one.now <= seconds);
}

function show(series, drift) {
  const last = history[history.length - 1];
  const first = since(RECENT);
  const seconds = last.now - first.now;
  const bad = (labels) => Number(labels.status) >= 400;
  const rise = (name, keep) => sum(last.series, name, keep) - sum(first.series, name, keep);
  const late = (share) =>
    quantile(buckets(first.series, "whatwhere_request_seconds"), buckets(last.series, "whatwhere_request_seconds"), share);
  const asked = rise("whatwhere_requests_total");
  find("figures-words").textContent =
    seconds < 1 ? "The first figures come in a moment." : `Of the last ${Math.round(seconds)} seconds, unless said otherwise.`;
  numbers([
    ["Requests a second", seconds ? short(asked / seconds) : "–"],
    ["Half are answered within", duration(late(0.5))],
    ["95 % are answered within", duration(late(0.95))],
    ["Refused or failed", asked ? `${short((100 * rise("whatwhere_requests_total", bad)) / asked)} %` : "–"],
    ["Pictures that wait now", short(sum(series, "whatwhere_queue_pictures"))],
    ["Pictures since the start", short(sum(series, "whatwhere_pictures_total"))],
  ]);
  charts();
  classes(series);
  driftOf(drift);
}

function numbers(rows) {
  find("numbers").replaceChildren(
    make("dl", {}, ...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)))),
  );
}

function charts() {
  const steps = history.slice(1).map((one, at) => [history[at], one]);
  const rate = steps.map(([a, b]) => [b.now, (b.requests - a.requests) / (b.now - a.now)]);
  // A step alone has few requests; ten seconds give a steadier line.
  const late = steps.map(([, b]) => {
    const a = since(10, b.now);
    const ends = (one) => buckets(one.series, "whatwhere_request_seconds");
    return [b.now, quantile(ends(a), ends(b), 0.95)];
  });
  find("charts").replaceChildren(
    chart("Requests a second", rate, (value) => short(value)),
    chart("95 % are answered within", late, duration),
  );
}

/** A line over the last five minutes; gaps where there is no value. */
function chart(title, points, words) {
  const known = points.filter(([, value]) => value !== null);
  const top = Math.max(1e-9, ...known.map(([, value]) => value));
  const now = history[history.length - 1].now;
  const x = (time) => WIDE - ((now - time) / KEPT) * WIDE;
  const y = (value) => HIGH - 4 - (value / top) * (HIGH - 22);
  let path = "";
  let pen = "M";
  for (const [time, value] of points) {
    if (value === null) pen = "M";
    else {
      path += `${pen}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    }
  }
  const latest = known.length ? words(known[known.length - 1][1]) : "nothing yet";
  const label = `${title}: now ${latest}, at most ${known.length ? words(top) : "–"} in five minutes`;
  return make(
    "figure",
    {},
    make("figcaption", {}, title, " ", make("strong", {}, latest)),
    make(
      "svg:svg",
      { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": label, class: "chart" },
      make("svg:line", { x1: 0, x2: WIDE, y1: HIGH - 4, y2: HIGH - 4, class: "axis" }),
      make("svg:line", { x1: 0, x2: WIDE, y1: 18, y2: 18, class: "axis faint" }),
      make("svg:text", { x: 0, y: 12 }, known.length ? words(top) : ""),
      make("svg:text", { x: WIDE, y: 12, "text-anchor": "end" }, "last 5 minutes"),
      make("svg:path", { d: path || "M0 0", class: "line" }),
    ),
  );
}

function classes(series) {
  const totals = [...sums(series, "whatwhere_detections_total", "class")].sort((a, b) => b[1] - a[1]);
  const most = totals[0]?.[1] ?? 0;
  const rows = totals.slice(0, CLASSES).map(([name, value]) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span", {}));
    bar.firstChild.style.width = `${(100 * value) / Math.max(1, most)}%`;
    return make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, short(value)), make("td", { class: "wide" }, bar));
  });
  const more = totals.length - CLASSES;
  find("classes").replaceChildren(
    make("h3", {}, "Answers by class, since the start"),
    rows.length ? make("table", {}, make("tbody", {}, ...rows)) : make("p", { class: "hint" }, "None yet."),
    ...(more > 0 ? [make("p", { class: "hint" }, `and ${count(more, "other class", "other classes")}`)] : []),
  );
}

function driftOf(states) {
  if (!states.length) {
    find("drift").replaceChildren(
      make("p", { class: "hint" }, "No picture has been compared yet. With several worker processes each tells its own."),
    );
    return;
  }
  find("drift").replaceChildren(...states.map(driftCard));
}

function driftCard(state) {
  const words = {
    off: `Nothing is compared: ${state.problem}.`,
    learning: `It learns what is usual: ${state.pictures} of ${state.window} pictures.`,
    watching: `${count(state.windows, "window")} of ${state.window} pictures compared; ${state.pictures} in the next one.`,
  }[state.state];
  const parts = state.last?.parts ?? [];
  const rows = parts.map((part) => {
    const share = Math.max(0, part.value / part.limit);
    const bar = make("span", { class: `bar${part.drifted ? " bad" : ""}`, "aria-hidden": "true" }, make("span", {}), make("i", {}));
    bar.firstChild.style.width = `${Math.min(100, share * 50)}%`;
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, part.name),
      make("td", {}, short(share)),
      make("td", { class: "wide" }, bar, part.drifted ? part.words || "changed" : "as usual"),
    );
  });
  const head = ["", "Difference", ""].map((name) => make(name ? "th" : "td", name ? { scope: "col" } : {}, name));
  return make(
    "article",
    { class: "card" },
    make(
      "h3",
      {},
      `${state.model} ${state.version} `,
      state.windows ? make("span", { class: state.alarm ? "badge bad" : "badge" }, state.alarm ? "drift" : "no drift") : null,
    ),
    make("p", {}, words),
    state.reference ? make("p", { class: "hint" }, `Compared with ${state.reference} (${state.reference_pictures} pictures).`) : null,
    rows.length
      ? make("table", {}, make("caption", {}, "The last window; 1 is the limit."), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows))
      : null,
  );
}
