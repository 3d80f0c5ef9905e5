// The frame: who is in, where one can go, and drawing a view again and again.

import { h, link, morph, hidden, tell } from "./dom.js";
import { clock } from "./format.js";
import { here } from "./router.js";
import { dress, forgetSeries, may, prefer, preferences, session } from "./store.js";
import { listenToKeys } from "./keys.js";
import { loginView, whoIsIn } from "./views/login.js";
import { viewOf, PLACES } from "./places.js";
import * as api from "./api.js";

const PACES = [[1000, "1 s"], [5000, "5 s"], [30000, "30 s"], [0, "paused"]];

const frame = document.getElementById("frame");
let shown = null; // { key, view, state, data, controller }
let timer, problem = null, updatedAt = null;

function places() {
  const { parts } = here();
  return h("nav", { id: "places", "aria-label": "Places" },
    PLACES.filter(place => !place.needs || may(place.needs)).map(place => h("div", { class: "group" },
      place.group && h("h2", {}, place.group),
      place.items.filter(item => !item.needs || may(item.needs)).map(item => link(item.path, [
        item.label, item.key && h("kbd", { "aria-hidden": "true" }, `g ${item.key}`),
      ], { "aria-current": (parts[0] ?? "") === item.path.slice(1) ? "page" : null })))));
}

function header() {
  const overview = session.overview;
  return h("header", {},
    h("a", { class: "skip", href: "#main", onclick: event => {
      event.preventDefault();
      document.getElementById("main").focus();
    } }, "Skip to the content"),
    h("button", { class: "quiet menu", type: "button", "aria-label": "Places", "aria-controls": "places",
      onclick: () => frame.classList.toggle("open") }, "☰"),
    link("/", [h("span", { class: "mark", "aria-hidden": "true" }), "Leveret"], { class: "brand" }),
    overview && h("span", { class: "node" }, overview.cluster_name, " ", h("small", {}, overview.product_version)),
    h("span", { class: "grow" }),
    h("span", { class: `pulse ${problem ? "bad" : ""}`, title: "When the figures are from" },
      problem ? "no answer" : updatedAt ? clock(updatedAt) : ""),
    h("label", {}, hidden("How often figures are read again"),
      h("select", { id: "pace", onchange: event => {
        prefer("refreshMs", Number(event.target.value));
        again();
      } }, PACES.map(([ms, text]) => h("option", { value: ms, selected: ms === preferences.refreshMs }, text)))),
    h("button", { class: "quiet", type: "button", id: "theme", onclick: turnTheme,
      "aria-label": `Theme: ${preferences.theme}`, title: `Theme: ${preferences.theme}` },
    { auto: "◐", dark: "☾", light: "☀" }[preferences.theme]),
    h("span", { class: "user" }, session.user, hidden(session.tags.join(", "))),
    h("button", { class: "quiet", type: "button", id: "leave", onclick: leave }, "Log out"));
}

function turnTheme() {
  prefer("theme", { auto: "dark", dark: "light", light: "auto" }[preferences.theme]);
  draw();
}

async function leave() {
  await api.logOut().catch(error => tell(error.message, "bad"));
  session.user = null;
  forgetSeries();
  shown?.controller.abort();
  shown = null;
  start();
}

/** What every view is given. */
function context() {
  const now = shown;
  return {
    ...here(),
    state: now.state,
    signal: now.controller.signal,
    redraw: () => now === shown && draw(),
    again: () => now === shown && again(),
  };
}

function draw() {
  if (!session.user) return;
  const content = shown.failed && !shown.data
    ? h("div", { class: "empty" }, h("h1", {}, shown.view.title), h("p", { class: "problem", role: "alert" }, shown.failed.message))
    : shown.data === undefined ? h("p", { class: "loading" }, "…") : shown.view.render(shown.data, context());
  const name = shown.view.name?.(context()) ?? shown.view.title;
  document.title = `${name} · Leveret`;
  morph(frame, h("div", { id: "frame", class: frame.className || null }, header(), places(),
    h("main", { id: "main", tabindex: "-1", key: shown.key, "aria-busy": String(shown.data === undefined && !shown.failed) },
      problem && h("div", { class: "banner bad", role: "alert" }, problem.message,
        updatedAt && ` What you see is from ${clock(updatedAt)}.`),
      shown.failed && shown.data && h("div", { class: "banner bad", role: "alert" }, shown.failed.message),
      content)));
}

/** Reads the figures of what is shown, and draws them. */
async function again() {
  clearTimeout(timer);
  const now = shown;
  if (!now || document.hidden) return;
  now.controller.abort();
  now.controller = new AbortController();
  const { signal } = now.controller;
  try {
    const data = await now.view.load(context());
    if (now !== shown || signal.aborted) return;
    Object.assign(now, { data, failed: null });
    problem = null;
    updatedAt = Date.now();
  } catch (error) {
    if (now !== shown || signal.aborted || error.name === "AbortError") return;
    if (error.status === 401 && !(await isStillIn())) {
      session.user = null;
      return start("Your session is over: log in again.");
    }
    if (error.status === 0) problem = error;
    else now.failed = error;
    if (error.status === undefined) console.error(error);
  }
  draw();
  const pace = now.view.paceMs ?? preferences.refreshMs;
  if (preferences.refreshMs > 0) timer = setTimeout(again, problem ? 2000 : Math.max(pace, preferences.refreshMs));
}

/** Whether it is the user who is not let in any more, and not only from one place. */
async function isStillIn() {
  try {
    await api.get("/whoami");
    return true;
  } catch (error) {
    return error.status !== 401;
  }
}

/** Shows what the address says. The same view with other choices keeps what it shows until there is more. */
function visit() {
  if (!session.user) return;
  const { parts } = here(), { view, isFound } = viewOf(parts);
  if (!isFound) tell("There is no such place here.", "bad");
  const key = parts.join("/");
  const isNew = shown?.key !== key;
  if (isNew) {
    shown?.view.leave?.(shown.state);
    shown?.controller.abort();
    shown = { key, view, state: {}, data: undefined, failed: null, controller: new AbortController() };
    frame.classList.remove("open");
    draw();
    document.getElementById("main").scrollTop = 0;
  }
  again();
}

async function start(reason) {
  clearTimeout(timer);
  shown = null;
  if (!session.user) {
    morph(frame, h("div", { id: "frame", class: "out" }, loginView(enter, reason)));
    document.title = "Leveret";
    document.getElementById("user")?.focus();
    return;
  }
  frame.classList.remove("out");
  visit();
}

async function enter(who) {
  session.user = who.name;
  session.tags = who.tags;
  frame.replaceChildren();
  try {
    session.overview = await api.get("/overview");
  } catch (error) {
    problem = error;
  }
  start();
}

dress();
addEventListener("hashchange", visit);
addEventListener("changed", again);
document.addEventListener("visibilitychange", () => document.hidden || again());
listenToKeys();
const known = await whoIsIn();
if (known) enter(known);
else start();
