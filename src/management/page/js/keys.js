// The keyboard: everything can be reached with it, and the usual things with one key.

import { h } from "./dom.js";
import { go } from "./router.js";
import { may } from "./store.js";
import { PLACES } from "./places.js";
import { openDialog } from "./dialog.js";

const KEYS = [
  ["/", "search the list"], ["j, k", "next and previous line"], ["Enter", "open the line"], ["[ ]", "earlier and later page"],
  ["Esc", "close, or back to the list"], ["?", "this help"],
];
/** How long the second key after `g` may take. */
const SEQUENCE_MS = 1500;

let beganAt = 0;

const isTyping = target => target.closest("input, select, textarea, [contenteditable]");

const places = () => PLACES.filter(place => !place.needs || may(place.needs)).flatMap(place => place.items)
  .filter(item => item.key && (!item.needs || may(item.needs)));

function showHelp() {
  const row = (keys, what) => h("tr", {}, h("th", { scope: "row" }, keys.split(" ").map(key => h("kbd", {}, key))), h("td", {}, what));
  openDialog("Keys", h("table", { class: "keys" }, h("tbody", {}, KEYS.map(([keys, what]) => row(keys, what)),
    places().map(item => row(`g ${item.key}`, item.label)))));
}

/** The lines of the list that is looked at. */
function move(step) {
  const rows = [...document.querySelectorAll("main tbody tr")].filter(row => row.querySelector("a, button"));
  if (rows.length === 0) return;
  const now = rows.indexOf(document.activeElement.closest("tr"));
  const next = rows[Math.max(0, Math.min(rows.length - 1, now < 0 ? (step > 0 ? 0 : rows.length - 1) : now + step))];
  next.querySelector("a, button").focus();
  next.scrollIntoView({ block: "nearest" });
}

function escape() {
  const [first, ...rest] = location.hash.replace(/^#\/?/, "").split("?")[0].split("/");
  if (document.activeElement !== document.body && document.activeElement?.closest("main, header")) document.activeElement.blur();
  else if (rest.length > 0) go("/" + first);
}

export function listenToKeys() {
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (isTyping(event.target)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (!document.querySelector("#places")) return;
    if (Date.now() - beganAt < SEQUENCE_MS) {
      beganAt = 0;
      const item = places().find(one => one.key === event.key);
      if (item) {
        event.preventDefault();
        go(item.path);
      }
      return;
    }
    const action = {
      "/": () => document.getElementById("search")?.select(),
      "?": showHelp,
      j: () => move(1),
      k: () => move(-1),
      g: () => beganAt = Date.now(),
      "[": () => document.querySelector("[aria-label='Page before']")?.click(),
      "]": () => document.querySelector("[aria-label='Next page']")?.click(),
      Escape: escape,
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
