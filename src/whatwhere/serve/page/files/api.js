// Questions to the server. Addresses are relative, so the page also works below a prefix.

import { find } from "./dom.js";

const KEY = "whatwhere-key";
const PATIENCE = 3;
const WANTED = "This server asks for a key. It is kept until this tab is closed.";

/** The server refused, or could not be asked. `sentence` is for people. */
export class Refused extends Error {
  constructor(status, sentence, retrySeconds = null) {
    super(sentence);
    this.status = status;
    this.sentence = sentence;
    this.retrySeconds = retrySeconds;
  }
}

// Of the tab alone: another tab, or the next person, has to give it again.
const key = () => sessionStorage.getItem(KEY);
let asking = null;

/** Ask the user for a key; true unless it was cancelled. One dialog for all who wait. */
export function askKey(words) {
  asking ??= new Promise((done) => {
    const dialog = find("ask-key");
    const field = find("key-value");
    find("key-words").textContent = words;
    field.value = "";
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => {
        const used = dialog.returnValue === "use";
        // Nothing else can stand in a header.
        const given = field.value.replace(/[^\x21-\x7e]/g, "");
        field.value = "";
        if (used && given) sessionStorage.setItem(KEY, given);
        else if (used) sessionStorage.removeItem(KEY);
        asking = null;
        done(used);
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}

/**
 * A request; refusals become `Refused`. A missing or wrong key is asked for.
 * @param {string} path relative, such as "models".
 * @param {RequestInit & {quiet?: boolean}} options `quiet`: do not ask for a key.
 * @returns {Promise<Response>}
 */
export async function ask(path, { quiet = false, headers = {}, ...options } = {}) {
  for (;;) {
    const used = key();
    const all = used ? { ...headers, Authorization: `Bearer ${used}` } : headers;
    let answer;
    try {
      answer = await fetch(path, { ...options, headers: all, cache: "no-store" });
    } catch {
      throw new Refused(0, "The server does not answer: is it running?");
    }
    if (answer.ok) return answer;
    const refused = await refusal(answer);
    if (answer.status !== 401 || quiet) throw refused;
    const words = used ? `${capital(refused.sentence)}.` : WANTED;
    // Another question may have got a new key meanwhile.
    if (key() === used && !(await askKey(words))) throw refused;
  }
}

async function refusal(answer) {
  let body = {};
  try {
    body = await answer.json();
  } catch {
    // Not ours: a proxy's page, for example. Its status says enough.
    body = {};
  }
  const sentence = typeof body.error === "string" ? body.error : `the server said ${answer.status}`;
  return new Refused(answer.status, sentence, body.retry_seconds ?? null);
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** The JSON answer to a question. */
export async function json(path, options) {
  return (await ask(path, options)).json();
}

/**
 * What a model says about a picture.
 * @param {Blob} picture
 * @param {{name: string, model: string, version?: string, threshold?: number}} about
 * @param {number} patience how often to ask again when the server is full.
 * @returns {Promise<{prediction: object, queue: number|null, inference: number|null}>} times in ms.
 */
export async function predict(picture, about, patience = PATIENCE) {
  const query = new URLSearchParams({ model: about.model, name: about.name.slice(0, 200) });
  if (about.version) query.set("version", about.version);
  if (about.threshold != null) query.set("threshold", about.threshold);
  for (let times = 0; ; times += 1) {
    try {
      const answer = await ask(`predict?${query}`, {
        method: "POST",
        body: picture,
        headers: { "Content-Type": picture.type || "application/octet-stream" },
      });
      const timing = answer.headers.get("Server-Timing") ?? "";
      const read = (name) => {
        const found = new RegExp(`${name};dur=([0-9.]+)`).exec(timing);
        return found ? Number(found[1]) : null;
      };
      const prediction = await answer.json();
      return { prediction, queue: read("queue"), inference: read("inference") };
    } catch (error) {
      const full = error instanceof Refused && (error.status === 503 || error.status === 429);
      if (!full || error.retrySeconds == null || times >= patience) throw error;
      await wait(Math.min(10, Math.max(0.1, error.retrySeconds)) * 1000);
    }
  }
}

/** Sleep. */
export const wait = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });
