// One model's view of the current picture: boxes, threshold, classes, table, files.

import { classCounts, csv, limitOf, sentence, shown } from "./answer.js";
import { classColours } from "./colours.js";
import { count, make, percent, save } from "./dom.js";
import { drawnFile, Stage } from "./stage.js";

const ROWS = 200;
const LABELS = 5;
const CALM = 400; // Milliseconds without a change before a screen reader is told.
let panes = 0;

export class Pane {
  /** @param {object} model of `/models/NAME`, with `version` where one was chosen. */
  constructor(model) {
    this.id = `pane${(panes += 1)}`;
    this.model = model;
    this.cut = null;
    this.off = new Set();
    this.picture = null;
    this.result = null;
    this.live = false;
    this.stage = new Stage();
    this.build();
  }

  build() {
    const title = `${this.id}-title`;
    this.times = make("p", { class: "hint times" });
    this.summary = make("p", { class: "summary" });
    this.spoken = make("p", { class: "hidden", role: "status" });
    this.value = make("output", { for: `${this.id}-cut` });
    this.slider = make("input", {
      id: `${this.id}-cut`, type: "range", min: 0, max: 100, step: 1,
      input: () => this.setCut(Number(this.slider.value) / 100),
    });
    this.own = make("button", { type: "button", class: "quiet", click: () => this.setCut(null) }, "Model's own");
    this.classes = make("div", { class: "classes" });
    this.labels = make("div", { class: "labels" });
    this.table = make("div", { class: "scroll", role: "group", "aria-label": "Objects", tabindex: 0 });
    this.all = make("button", { type: "button", class: "quiet", click: () => this.setOff([]) }, "All");
    this.none = make(
      "button",
      { type: "button", class: "quiet", click: () => this.setOff(this.names()) },
      "None",
    );
    const files = [["Picture", () => this.savePicture()], ["JSON", () => this.saveJson()], ["CSV", () => this.saveCsv()]];
    this.files = make(
      "div",
      { class: "row" },
      make("span", {}, "Download"),
      ...files.map(([name, click]) => make("button", { type: "button", click }, name)),
    );
    this.controls = make(
      "div",
      { class: "controls" },
      make(
        "div",
        { class: "row cut" },
        make("label", { for: `${this.id}-cut` }, "Lowest score"),
        this.slider,
        this.value,
        this.own,
      ),
      (this.filter = make(
        "div",
        { class: "filter", role: "group", "aria-labelledby": `${this.id}-classes` },
        make("div", { class: "row" }, make("h4", { id: `${this.id}-classes` }, "Classes"), this.all, this.none),
        this.classes,
      )),
      this.labels,
      this.table,
      this.files,
    );
    this.element = make(
      "article",
      { class: "pane", "aria-labelledby": title },
      make(
        "div",
        { class: "seen" },
        make(
          "div",
          { class: "row head" },
          make("h3", { id: title }, this.model.name, this.model.chosen ? ` ${this.model.chosen}` : null),
          this.times,
        ),
        this.stage.element,
        this.summary,
        this.spoken,
      ),
      this.controls,
    );
    this.clear();
  }

  /** No picture, or one that is being asked about. */
  clear(words = "") {
    this.result = null;
    this.summary.textContent = words;
    this.summary.classList.remove("bad");
    this.times.textContent = "";
    this.controls.hidden = true;
  }

  /** A picture whose answer is on its way. */
  waiting(picture) {
    this.picture = picture;
    this.stage.picture(picture.bitmap, picture.width, picture.height);
    this.clear("Asking …");
  }

  /** The server refused. */
  refused(picture, words) {
    this.waiting(picture);
    this.summary.textContent = words;
    this.summary.classList.add("bad");
    this.say(words);
  }

  /** An answer of `predict`; `live` for a frame of a camera, which is not read out. */
  answered(picture, result, live = false) {
    const fresh = this.picture !== picture || !this.result;
    this.picture = picture;
    this.result = result;
    this.live = live;
    const { prediction } = result;
    if (fresh) this.stage.picture(picture.bitmap, prediction.width, prediction.height);
    this.colours = classColours(prediction.objects.map((one) => one.name));
    const parts = [];
    if (result.inference != null) parts.push(`${result.inference.toFixed(0)} ms in the model`);
    if (result.queue != null && result.queue >= 1) parts.push(`${result.queue.toFixed(0)} ms waiting`);
    this.times.textContent = parts.join(", ");
    this.summary.classList.remove("bad");
    this.controls.hidden = false;
    this.update();
  }

  setCut(cut) {
    this.cut = cut;
    this.update();
  }

  setOff(names) {
    this.off = new Set(names);
    this.update();
  }

  names() {
    return this.result ? classCounts(this.result.prediction, this.model, 0).map(([name]) => name) : [];
  }

  /** What is shown now, in the form of `/predict`. */
  said() {
    return shown(this.result.prediction, this.model, this.cut, this.off);
  }

  update() {
    if (!this.result) return;
    const said = this.said();
    const own = limitOf(this.model, null, "");
    const value = this.cut ?? own;
    this.slider.value = String(Math.round(value * 100));
    const several = this.cut === null && Object.keys(this.model.thresholds ?? {}).length > 0;
    this.value.textContent = several ? "by class" : percent(value);
    this.slider.setAttribute("aria-valuetext", this.value.textContent);
    this.own.disabled = this.cut === null;
    this.stage.boxes(said.objects, this.colours);
    const words = sentence(said, this.model.task);
    this.summary.textContent = words;
    this.stage.canvas.setAttribute("aria-label", `${this.picture.name}: ${words}`);
    if (!this.live) this.say(`${this.model.name}: ${words}`);
    this.updateClasses();
    this.updateLabels(said);
    this.updateTable(said);
  }

  say(words) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.spoken.textContent = words; }, CALM);
  }

  updateClasses() {
    const counts = classCounts(this.result.prediction, this.model, this.cut);
    const boxes = () => [...this.classes.querySelectorAll("input")];
    const before = boxes().map((one) => one.value);
    if (this.live) {
      // Classes come and go with the frames; what can be chosen stays in its place.
      const now = new Set(counts.map(([name]) => name));
      counts.push(...before.filter((name) => !now.has(name)).map((name) => [name, 0]));
    }
    this.filter.hidden = this.model.task === "classify" || (counts.length < 2 && this.off.size === 0);
    // Boxes stay the same elements while the classes are the same: the focus stays, too.
    const names = counts.map(([name]) => name);
    if (JSON.stringify(names.sort()) !== JSON.stringify(before.sort())) {
      this.classes.replaceChildren(...counts.map(([name]) => this.classBox(name)));
    }
    const found = new Map(counts);
    for (const box of boxes()) {
      box.checked = !this.off.has(box.value);
      box.parentElement.querySelector(".times").textContent = String(found.get(box.value));
    }
  }

  classBox(name) {
    const box = make("input", { type: "checkbox", value: name, change: () => {
      if (box.checked) this.off.delete(name);
      else this.off.add(name);
      this.update();
    } });
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    const colour = this.colours.get(name);
    if (colour) swatch.style.background = colour.fill;
    return make("label", { class: "chip" }, box, colour ? swatch : null, name, " ", make("span", { class: "times" }));
  }

  updateLabels(said) {
    const rows = said.labels.slice(0, this.model.task === "multilabel" ? ROWS : LABELS);
    if (!rows.length) {
      this.labels.replaceChildren();
      return;
    }
    const about = this.model.task === "detect" ? "The whole picture" : "Labels";
    const list = make("ul", {}, ...rows.map((one) => {
      const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span", {}));
      bar.firstChild.style.width = `${one.score * 100}%`;
      return make("li", {}, make("span", { class: "name" }, one.name), bar, make("span", { class: "score" }, percent(one.score)));
    }));
    this.labels.replaceChildren(make("h4", {}, about), list);
  }

  updateTable(said) {
    const { objects } = said;
    // Nothing is taken from under the fingers of who looks through the rows.
    if (this.live && this.table.contains(document.activeElement)) return;
    this.table.hidden = objects.length === 0;
    const second = objects.some((one) => one.labels?.length);
    const head = ["Object", "Score", ...(second ? ["More exactly"] : []), "x1, y1 – x2, y2"];
    const rows = objects.slice(0, ROWS).map((one) => {
      const [x1, y1, x2, y2] = one.box.map((value) => Math.round(value));
      const label = one.labels?.[0];
      const light = () => this.stage.light(one);
      const dark = () => this.stage.light(null);
      const button = make("button", { type: "button", class: "quiet", focus: light, blur: dark, click: light }, one.name);
      return make(
        "tr",
        { mouseenter: light, mouseleave: dark },
        make("th", { scope: "row" }, button),
        make("td", {}, percent(one.score)),
        second ? make("td", {}, label ? `${label.name} ${percent(label.score)}` : "") : null,
        make("td", {}, `${x1}, ${y1} – ${x2}, ${y2}`),
      );
    });
    const more = objects.length > ROWS ? make("caption", {}, `The first ${ROWS} of ${objects.length}`) : null;
    this.table.replaceChildren(
      make(
        "table",
        {},
        more,
        make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))),
        make("tbody", {}, ...rows),
      ),
    );
  }

  stem() {
    return `${this.picture.name.replace(/\.[^.]*$/, "") || "picture"}-${this.model.name}`;
  }

  async savePicture() {
    const { prediction } = this.result;
    if (!this.picture.bitmap) return;
    const said = this.said();
    save(
      `${this.stem()}.png`,
      await drawnFile(this.picture.bitmap, prediction.width, prediction.height, said.objects, this.colours),
    );
  }

  saveJson() {
    save(`${this.stem()}.json`, `${JSON.stringify(this.said(), null, 1)}\n`, "application/json");
  }

  saveCsv() {
    save(`${this.stem()}.csv`, csv([this.said()]), "text/csv");
  }
}

/** Words for a picture in the strip. */
export function stripWords(result, model) {
  if (!result) return "";
  if (result.words) return "refused";
  const passes = result.prediction.objects.filter((one) => one.score >= limitOf(model, null, one.name));
  if (model.task === "detect") return count(passes.length, "object");
  return result.prediction.labels[0]?.name ?? "no label";
}
