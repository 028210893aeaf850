// The prediction log: what was answered last, and marks of what was wrong.

import { ask, capital, json } from "./api.js";
import { limitOf } from "./answer.js";
import { classColours } from "./colours.js";
import { count, duration, find, make, percent } from "./dom.js";

const PAGE = 24;
const NAMES = 6;
const models = new Map();
let addresses = [];
let oldest = null;
let say = () => {};
let begun = false;
let round = 0;

/** Show the newest entries. */
export function enter(problem) {
  say = problem;
  if (!begun) {
    begun = true;
    find("refresh").addEventListener("click", () => load(true));
    find("flagged").addEventListener("change", () => load(true));
    find("more").addEventListener("click", () => load(false));
  }
  load(true);
}

/** Let go of the small pictures. */
export function leave() {
  round += 1;
  addresses.forEach((one) => URL.revokeObjectURL(one));
  addresses = [];
  find("entries").replaceChildren();
}

async function load(anew) {
  if (anew) leave();
  const mine = round;
  const query = new URLSearchParams({ count: PAGE });
  if (find("flagged").checked) query.set("flagged", "1");
  if (!anew && oldest !== null) query.set("before", oldest);
  try {
    const { entries } = await json(`monitor/log?${query}`);
    // A model that is no longer there shows its entries all the same.
    await Promise.all([...new Set(entries.map((one) => one.model))].filter(Boolean).map(details));
    if (mine !== round) return;
    const list = find("entries");
    const cards = entries.map(card);
    list.append(...cards);
    if (entries.length) oldest = entries[entries.length - 1].id;
    find("more").hidden = entries.length < PAGE;
    const shown = list.children.length;
    find("latest-words").textContent = shown ? `${count(shown, "entry", "entries")}, newest first.` : "Nothing yet.";
    if (!anew) cards[0]?.querySelector("button")?.focus();
  } catch (error) {
    if (mine !== round) return;
    find("more").hidden = true;
    if (error.status === 404) find("latest-words").textContent = `${capital(error.sentence)}.`;
    else say(error.sentence ?? error.message);
  }
}

async function details(name) {
  if (models.has(name)) return;
  try {
    models.set(name, await json(`models/${encodeURIComponent(name)}`, { quiet: true }));
  } catch {
    models.set(name, null);
  }
}

function card(entry) {
  const said = entry.prediction;
  const model = models.get(entry.model);
  const objects = (said?.objects ?? []).filter((one) => !model || one.score >= limitOf(model, null, one.name));
  const time = new Date(entry.time * 1000);
  const title = said?.image || (said ? "a picture" : "no answer");
  const item = make(
    "li",
    { class: "card entry" },
    entry.has_thumbnail ? small(entry, said, objects) : null,
    make("h3", {}, title),
    make(
      "p",
      { class: "hint" },
      make("time", { datetime: time.toISOString() }, time.toLocaleString()),
      ` · ${entry.model || "no model"} ${entry.version} · ${duration(entry.request_seconds)}`,
      entry.client ? ` · ${entry.client}` : null,
    ),
    make("p", { class: entry.error ? "bad" : "" }, entry.error ? `${entry.status}: ${entry.error}` : words(said, objects)),
  );
  item.append(mark(entry, title));
  return item;
}

function words(said, objects) {
  if (!said) return "No answer.";
  const counts = new Map();
  for (const one of objects) counts.set(one.name, (counts.get(one.name) ?? 0) + 1);
  const found = [...counts].sort((a, b) => b[1] - a[1]).map(([name, times]) => `${times} × ${name}`);
  const labels = said.labels.slice(0, 2).map((one) => `${one.name} ${percent(one.score)}`);
  const all = [...found.slice(0, NAMES), ...(found.length > NAMES ? ["…"] : []), ...labels];
  return all.length ? all.join(", ") : "Nothing found.";
}

/** The small picture, fetched with the key, and its boxes. */
function small(entry, said, objects) {
  const image = make("img", { alt: "" });
  const colours = classColours((said?.objects ?? []).map((one) => one.name));
  const boxes = objects.map(({ name, box: [x1, y1, x2, y2] }) =>
    make("svg:rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, class: "box", stroke: colours.get(name).fill }),
  );
  const view = `0 0 ${said?.width ?? 1} ${said?.height ?? 1}`;
  const overlay = make("svg:svg", { viewBox: view, preserveAspectRatio: "none", "aria-hidden": "true" }, ...boxes);
  const mine = round;
  ask(`monitor/log/${entry.id}/thumbnail`, { quiet: true })
    .then((answer) => answer.blob())
    .then((blob) => {
      if (mine !== round) return;
      image.src = URL.createObjectURL(blob);
      addresses.push(image.src);
    })
    .catch(() => image.closest(".thumb")?.remove());
  return make("div", { class: "thumb" }, make("div", {}, image, overlay));
}

/** The mark of an entry, and the form that changes it. */
function mark(entry, title) {
  const area = make("div", { class: "mark" });
  const set = async (given) => {
    try {
      const body = JSON.stringify({ words: given });
      await ask(`monitor/log/${entry.id}/flag`, {
        method: "POST", body, headers: { "Content-Type": "application/json" },
      });
      entry.flag = given;
      say("");
    } catch (error) {
      say(error.sentence ?? error.message);
    }
    show();
    area.querySelector("button").focus();
  };
  const show = () => {
    if (entry.flag !== null) {
      area.replaceChildren(
        make("p", { class: "wrong" }, `Wrong: ${entry.flag}`),
        make("button", { type: "button", "aria-label": `Take the mark away: ${title}`, click: () => set(null) }, "Take the mark away"),
      );
    } else {
      area.replaceChildren(
        make("button", { type: "button", "aria-label": `Mark as wrong: ${title}`, click: write }, "Mark as wrong"),
      );
    }
  };
  const write = () => {
    const field = make("input", { type: "text", maxlength: 1000, autocomplete: "off" });
    const form = make(
      "form",
      { submit: (event) => { event.preventDefault(); set(field.value.trim() || "wrong"); } },
      make("label", {}, "What is wrong? ", field),
      make(
        "div",
        { class: "row" },
        make("button", { type: "submit", class: "strong" }, "Save"),
        make("button", { type: "button", click: () => { show(); area.querySelector("button").focus(); } }, "Cancel"),
      ),
    );
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") form.querySelector("button[type=button]").click();
    });
    area.replaceChildren(form);
    field.focus();
  };
  show();
  return area;
}
