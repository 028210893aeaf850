// The page: which view is shown, and what went wrong.

import { askKey } from "./api.js";
import { find } from "./dom.js";
import * as figures from "./figures.js";
import * as latest from "./latest.js";
import * as look from "./look.js";

const VIEWS = ["look", "latest", "figures"];

function problem(words) {
  const place = find("problem");
  place.textContent = words;
  place.hidden = !words;
}

function view() {
  const asked = location.hash.slice(1);
  return VIEWS.includes(asked) ? asked : VIEWS[0];
}

function turn(focus) {
  const now = view();
  problem("");
  for (const name of VIEWS) find(name).hidden = name !== now;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${now}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${find(`${now}-title`).textContent} – Whatwhere`;
  if (now !== "look") look.leave();
  if (now === "latest") latest.enter(problem);
  else latest.leave();
  if (now === "figures") figures.enter(problem);
  else figures.leave();
  // Whoever cannot see the change is taken to it.
  if (focus) find("main").focus({ preventScroll: true });
}

async function start() {
  // The link's own address is that of a view.
  find("skip").addEventListener("click", (event) => {
    event.preventDefault();
    find("main").focus();
  });
  find("key").addEventListener("click", async () => {
    if (await askKey("It is kept until this tab is closed. Leave it empty to use none.")) location.reload();
  });
  window.addEventListener("hashchange", () => turn(true));
  turn(false);
  try {
    await look.begin(problem);
  } catch (error) {
    problem(error.sentence ?? error.message);
  }
}

start();
