// The first view: pictures of the user, and what one or two models say about them.

import { askedThreshold } from "./answer.js";
import { capital, json, predict, Refused, wait } from "./api.js";
import { Camera } from "./camera.js";
import { find, make, save } from "./dom.js";
import { Pane, stripWords } from "./pane.js";

const MOST = 50; // Pictures that are kept.
const THUMB = 96;
const NONE = "";
// Kinds that are sent as they are; others, such as HEIC, are turned into JPEG if the browser can.
const SENT = /^image\/(jpeg|png|webp|bmp|tiff|gif)$/;
const PAUSE = 30; // Milliseconds between frames of a camera, at least.

const state = { models: new Map(), pictures: [], current: null, panes: [], working: false, frame: null };
const camera = new Camera(find("video"));

/** Set up the view, once. */
export async function begin(problem) {
  state.problem = problem;
  find("files").addEventListener("change", (event) => take(event.target));
  find("photo").addEventListener("change", (event) => take(event.target));
  find("camera").addEventListener("click", () => guarded(toggleCamera));
  find("shoot").addEventListener("click", shoot);
  find("turn").addEventListener("click", () => guarded(() => camera.turn()));
  find("model").addEventListener("change", choose);
  find("other").addEventListener("change", choose);
  document.addEventListener("paste", (event) => add([...(event.clipboardData?.files ?? [])]));
  dropping();
  find("camera").title = Camera.missing();
  await offer();
}

/** Stop what would go on unseen. */
export function leave() {
  if (camera.on) guarded(toggleCamera);
}

async function guarded(work) {
  try {
    await work();
  } catch (error) {
    state.problem(error.sentence ?? error.message);
  }
}

function take(input) {
  add([...input.files]);
  // So that the same file can be chosen once more.
  input.value = "";
}

function dropping() {
  const drop = find("drop");
  let depth = 0;
  const holds = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    drop.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", (event) => holds(event) && mark(1));
  document.addEventListener("dragleave", (event) => holds(event) && mark(-1));
  // Anywhere on the page: a browser would otherwise leave it for the picture.
  document.addEventListener("dragover", (event) => holds(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    mark(-depth);
    location.hash = "#look";
    add([...event.dataTransfer.files]);
  });
}

/** The models of the server, as choices. */
async function offer() {
  const { models } = await json("models");
  const options = () =>
    models.flatMap((one) => {
      const newest = make("option", { value: one.name }, one.name);
      const versions = one.versions.length > 1 ? one.versions : [];
      return [
        newest,
        ...versions.map(({ version }) => make("option", { value: `${one.name}@${version}` }, `${one.name}, version ${version}`)),
      ];
    });
  const main = models.find((one) => one.default) ?? models[0];
  find("model").replaceChildren(...options());
  find("model").value = main.name;
  find("other").replaceChildren(make("option", { value: NONE }, "nothing"), ...options());
  await choose();
}

async function details(chosen) {
  if (!state.models.has(chosen)) {
    const [name, version] = chosen.split("@");
    const model = await json(`models/${encodeURIComponent(name)}`);
    state.models.set(chosen, { ...model, chosen: version, key: chosen });
  }
  return state.models.get(chosen);
}

/** Panes for the chosen models. */
async function choose() {
  await guarded(async () => {
    const keys = [find("model").value, find("other").value].filter(Boolean);
    const models = await Promise.all(keys.map(details));
    // Newer choices may have been made while the server was asked.
    if (keys.join() !== [find("model").value, find("other").value].filter(Boolean).join()) return;
    const kept = [...state.panes];
    state.panes = models.map((model) => {
      const at = kept.findIndex((pane) => pane.model === model);
      return at < 0 ? new Pane(model) : kept.splice(at, 1)[0];
    });
    const area = find("panes");
    area.replaceChildren(...state.panes.map((pane) => pane.element));
    area.classList.toggle("two", state.panes.length > 1);
    area.hidden = !state.current && !camera.on;
    if (!camera.on) show();
  });
}

/** New pictures; the first of them is shown. */
async function add(files) {
  const pictures = files.filter((file) => file.type.startsWith("image/") || file.type === "");
  if (files.length && !pictures.length) state.problem("That is no picture.");
  if (!pictures.length) return;
  state.problem("");
  leave();
  const room = MOST - Math.min(MOST, pictures.length);
  const fresh = pictures.slice(0, MOST).map((file) => ({
    name: file.name || "pasted.png", blob: file, bitmap: null, width: 4, height: 3, results: new Map(),
  }));
  if (pictures.length > MOST) state.problem(`Only the first ${MOST} pictures are taken.`);
  const old = room ? state.pictures.slice(-room) : [];
  state.pictures = [...old, ...fresh];
  await select(fresh[0]);
  reveal();
}

/** Where there is little room, what was asked for comes into sight. */
function reveal() {
  find("drop").classList.add("small");
  if (matchMedia("(max-width: 40rem)").matches) find("panes").scrollIntoView({ block: "start" });
}

/** Open a picture for the screen; one that the browser cannot show keeps no bitmap. */
async function open(picture) {
  if (picture.bitmap) return;
  try {
    picture.bitmap = await createImageBitmap(picture.blob, { imageOrientation: "from-image" });
  } catch {
    picture.bitmap = null;
    return;
  }
  picture.width = picture.bitmap.width;
  picture.height = picture.bitmap.height;
  if (!SENT.test(picture.blob.type) && picture.blob.type) {
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    canvas.getContext("2d").drawImage(picture.bitmap, 0, 0);
    picture.blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  }
}

function thumb(picture) {
  if (picture.thumb || !picture.bitmap) return;
  const share = THUMB / Math.max(picture.width, picture.height);
  const canvas = make("canvas", {
    width: Math.max(1, Math.round(picture.width * share)),
    height: Math.max(1, Math.round(picture.height * share)),
    "aria-hidden": "true",
  });
  canvas.getContext("2d").drawImage(picture.bitmap, 0, 0, canvas.width, canvas.height);
  picture.thumb = canvas;
}

async function select(picture) {
  const before = state.current;
  state.current = picture;
  if (before && before !== picture) close(before);
  await open(picture);
  thumb(picture);
  if (state.current !== picture) return;
  find("panes").hidden = false;
  show();
}

/** Show the current picture with what is known, and ask for what is not. */
function show() {
  const picture = state.current;
  if (picture) {
    for (const pane of state.panes) {
      const result = picture.results.get(pane.model.key);
      if (!result) pane.waiting(picture);
      else if (result.words) pane.refused(picture, result.words);
      else pane.answered(picture, result);
    }
  }
  strip();
  askAll();
}

function strip() {
  const list = find("strip");
  list.hidden = state.pictures.length < 2;
  const model = state.panes[0]?.model;
  const focused = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(
    ...state.pictures.map((picture) => {
      const words = model ? stripWords(picture.results.get(model.key), model) : "";
      const button = make(
        "button",
        { type: "button", "aria-current": picture === state.current ? "true" : false, click: () => select(picture) },
        picture.thumb ?? make("span", { class: "empty", "aria-hidden": "true" }),
        make("span", { class: "name" }, picture.name),
        make("span", { class: "times" }, words || "…"),
      );
      return make("li", {}, button);
    }),
    ...(state.pictures.length > 1
      ? [make("li", {}, make("button", { type: "button", class: "all", click: saveAll }, "Download all as JSON lines"))]
      : []),
  );
  if (focused >= 0) list.querySelectorAll("button")[focused]?.focus();
}

/** Ask about all pictures, the current one first, until everything is answered. */
async function askAll() {
  // Who works already sees what is new.
  if (state.working) return;
  state.working = true;
  try {
    for (;;) {
      const order = [state.current, ...state.pictures].filter(Boolean);
      const missing = (picture) => state.panes.filter((pane) => !picture.results.has(pane.model.key));
      const picture = order.find((one) => missing(one).length);
      if (!picture || camera.on) return;
      // The others are opened for their small picture only; it is large in memory.
      await open(picture);
      thumb(picture);
      await Promise.all(missing(picture).map((pane) => askOne(picture, pane)));
      if (picture !== state.current) close(picture);
      strip();
    }
  } finally {
    state.working = false;
  }
}

function close(picture) {
  picture.bitmap?.close();
  picture.bitmap = null;
}

async function askOne(picture, pane) {
  const { model } = pane;
  let result;
  try {
    result = await predict(picture.blob, about(picture, model));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    result = { words: `${capital(error.sentence)}.` };
  }
  picture.results.set(model.key, result);
  if (picture !== state.current || !state.panes.includes(pane)) return;
  if (result.words) pane.refused(picture, result.words);
  else pane.answered(picture, result);
}

function about(picture, model) {
  return { name: picture.name, model: model.name, version: model.chosen, threshold: askedThreshold(model) };
}

function saveAll() {
  const lines = state.pictures.flatMap((picture) =>
    state.panes.flatMap(({ model }) => {
      const result = picture.results.get(model.key);
      if (!result) return [];
      const row = result.words ? { image: picture.name, error: result.words } : result.prediction;
      return [JSON.stringify(row)];
    }),
  );
  save("whatwhere.jsonl", `${lines.join("\n")}\n`, "application/jsonl");
}

async function toggleCamera() {
  const button = find("camera");
  if (camera.on) {
    camera.stop();
  } else {
    state.problem("");
    await camera.start();
    find("panes").hidden = false;
    reveal();
    guarded(frames);
  }
  button.setAttribute("aria-pressed", String(camera.on));
  button.textContent = camera.on ? "Stop the camera" : "Use the camera";
  find("shoot").hidden = !camera.on;
  find("turn").hidden = !camera.on || !(await Camera.several());
  if (!camera.on) {
    find("panes").hidden = !state.current;
    show();
  }
}

/** One frame after the other, as fast as the server answers; what it is late for is left out. */
async function frames() {
  while (camera.on) {
    const frame = await camera.frame();
    const results = await Promise.allSettled(
      state.panes.map(({ model }) => predict(frame.blob, about(frame, model), 0)),
    );
    if (!camera.on) return;
    state.frame?.bitmap.close();
    state.frame = frame;
    let pause = PAUSE;
    results.forEach((one, at) => {
      const pane = state.panes[at];
      if (!pane) return;
      if (one.status === "fulfilled") pane.answered(frame, one.value, true);
      else {
        pane.refused(frame, `${capital(one.reason.sentence ?? one.reason.message)}.`);
        pause = (one.reason.retrySeconds ?? 1) * 1000;
      }
    });
    await wait(Math.max(PAUSE, pause));
  }
}

function shoot() {
  const { frame } = state;
  if (!frame) return;
  const number = state.pictures.filter((one) => one.name.startsWith("camera")).length + 1;
  add([new File([frame.blob], `camera-${number}.jpg`, { type: "image/jpeg" })]);
}
