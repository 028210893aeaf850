// A picture with boxes over it: on the screen as SVG, in a saved file drawn into the pixels.

import { make, percent } from "./dom.js";

const SIDE = 1600; // Pixels that are kept for the screen; files are drawn at full size.
const FONT = "system-ui, sans-serif";
const LETTER = 13; // Height of letters, CSS pixels.
const LARGEST = 4; // Small pictures are enlarged by so much at most.
const ruler = document.createElement("canvas").getContext("2d");

/** What stands at a box: "animal 62 %: Egyptian cat". */
export function tagText(found) {
  const also = found.labels?.length ? `: ${found.labels[0].name}` : "";
  return `${found.name} ${percent(found.score)}${also}`;
}

/**
 * Places for the tags of boxes: where they cover each other least, best scores first.
 * @param {object[]} found objects with `box` [x1, y1, x2, y2], in pixels of the picture.
 * @param {number} width of the picture
 * @param {number} height
 * @param {number} letter height of letters in pixels of the picture.
 * @returns {{x: number, y: number, wide: number, high: number, text: string}[]} in the order given.
 */
export function tagPlaces(found, width, height, letter) {
  const high = letter * 1.5;
  const placed = [];
  const order = found.map((_, at) => at).sort((a, b) => found[b].score - found[a].score);
  const places = new Array(found.length);
  ruler.font = `600 ${LETTER}px ${FONT}`;
  for (const at of order) {
    const text = tagText(found[at]);
    const wide = (ruler.measureText(text).width / LETTER + 0.8) * letter;
    const [x1, y1, , y2] = found[at].box;
    const x = Math.max(0, Math.min(x1, width - wide));
    const inside = (y) => Math.max(0, Math.min(y, height - high));
    const tries = [y1 - high, y1, y2 - high, y2].map(inside).map((y) => ({ x, y, wide, high, text }));
    let best = null;
    let least = Infinity;
    for (const one of tries) {
      const covered = placed.reduce((sum, other) => sum + overlap(one, other), 0);
      if (covered < least) [best, least] = [one, covered];
    }
    placed.push(best);
    places[at] = best;
  }
  return places;
}

function overlap(one, other) {
  const wide = Math.min(one.x + one.wide, other.x + other.wide) - Math.max(one.x, other.x);
  const high = Math.min(one.y + one.high, other.y + other.high) - Math.max(one.y, other.y);
  return Math.max(0, wide) * Math.max(0, high);
}

/** The picture with its boxes, for the screen. */
export class Stage {
  constructor() {
    this.canvas = make("canvas", { role: "img", "aria-label": "No picture yet" });
    this.overlay = make("svg:svg", { "aria-hidden": "true", preserveAspectRatio: "none" });
    this.element = make("div", { class: "stage" }, this.canvas, this.overlay);
    this.width = 1;
    this.height = 1;
    this.found = [];
    this.lit = null;
    // Letters keep their size on the screen whatever that of the picture.
    new ResizeObserver(() => this.redraw()).observe(this.element);
  }

  /**
   * Show pixels, without boxes.
   * @param {ImageBitmap|null} bitmap null for a picture that the browser cannot show.
   * @param {number} width in pixels of the whole picture, which boxes count in.
   */
  picture(bitmap, width, height) {
    const share = Math.min(1, SIDE / Math.max(width, height));
    this.width = width;
    this.height = height;
    this.canvas.width = Math.max(1, Math.round(width * share));
    this.canvas.height = Math.max(1, Math.round(height * share));
    const pen = this.canvas.getContext("2d");
    if (bitmap) {
      pen.imageSmoothingQuality = "high";
      pen.drawImage(bitmap, 0, 0, this.canvas.width, this.canvas.height);
    }
    this.element.classList.toggle("blank", !bitmap);
    this.element.style.maxWidth = `min(100%, ${75 * (width / height)}vh, ${LARGEST * width}px)`;
    this.overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.boxes([], new Map());
  }

  /** Boxes of objects, in colours by name. */
  boxes(found, colours) {
    this.found = found;
    this.colours = colours;
    this.lit = null;
    this.redraw();
  }

  /** Let one object stand out; null for none. */
  light(one) {
    this.lit = one;
    this.redraw();
  }

  redraw() {
    const unit = this.width / Math.max(1, this.element.clientWidth);
    const letter = LETTER * unit;
    const tags = tagPlaces(this.found, this.width, this.height, letter);
    const frames = [];
    const names = [];
    this.found.forEach((one, at) => {
      const colour = this.colours.get(one.name);
      const [x1, y1, x2, y2] = one.box;
      const box = { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) };
      const tag = tags[at];
      const state = this.lit === null ? "" : this.lit === one ? " lit" : " dim";
      frames.push(
        make(
          "svg:g",
          { class: `found${state}`, "data-name": one.name },
          make("svg:rect", { ...box, class: "edge" }),
          make("svg:rect", { ...box, class: "box", stroke: colour.fill }),
        ),
      );
      names.push(
        make(
          "svg:g",
          { class: `tag${state}` },
          make("svg:rect", {
            x: tag.x, y: tag.y, width: tag.wide, height: tag.high, rx: 3 * unit, fill: colour.fill,
          }),
          make(
            "svg:text",
            {
              x: tag.x + 0.4 * letter, y: tag.y + 1.08 * letter, fill: colour.ink,
              "font-size": letter, "font-weight": 600,
            },
            tag.text,
          ),
        ),
      );
    });
    // Names lie on all boxes, and the best score on top of the others.
    this.overlay.replaceChildren(...frames.reverse(), ...names.reverse());
  }
}

/**
 * The picture with its boxes as a PNG, in full size.
 * @returns {Promise<Blob>}
 */
export async function drawnFile(bitmap, width, height, found, colours) {
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0, width, height);
  const letter = Math.max(11, Math.max(width, height) / 70);
  const tags = tagPlaces(found, width, height, letter);
  const stroke = Math.max(1.5, letter / 6);
  const order = found.map((_, at) => at).reverse();
  for (const at of order) {
    const [x1, y1, x2, y2] = found[at].box;
    pen.strokeStyle = "#101010";
    pen.lineWidth = stroke + 2;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    pen.strokeStyle = colours.get(found[at].name).fill;
    pen.lineWidth = stroke;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
  for (const at of order) {
    const colour = colours.get(found[at].name);
    const tag = tags[at];
    pen.fillStyle = colour.fill;
    pen.fillRect(tag.x, tag.y, tag.wide, tag.high);
    pen.fillStyle = colour.ink;
    pen.font = `600 ${letter}px ${FONT}`;
    pen.fillText(tag.text, tag.x + 0.4 * letter, tag.y + 1.08 * letter);
  }
  return canvas.convertToBlob({ type: "image/png" });
}
