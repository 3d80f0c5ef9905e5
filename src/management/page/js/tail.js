// Live tail: messages as they come, without taking any. It ends by itself, and the broker leaves out what is too much.

import { h, tell } from "./dom.js";
import { clock, count, duration } from "./format.js";
import { button, card } from "./parts.js";
import { messageCard } from "./messages.js";
import * as api from "./api.js";

/** Messages that are kept on the page. */
const SHOWN_MAX = 200;
const ENDS = { __proto__: null, duration: "The time is over.", gone: "It is gone, or you may not read it any more." };

const DEFAULTS = { routing_key: "", header: "", text: "", rate: 20, seconds: 60 };

function close(state) {
  state.source?.close();
  state.source = null;
}

/** Ends what a view that is left has running. */
export const leaveTail = state => close(state);

function begin(where, state, redraw) {
  close(state);
  Object.assign(state, { told: [], status: null, ended: null });
  const source = state.source = new EventSource(api.address(where, { ...state.filter, truncate: 4096 }));
  // A burst is drawn once a frame, however many messages there are in it.
  let isDue = false;
  const later = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      redraw();
    });
  };
  source.addEventListener("message", event => {
    if (!event.data) return;
    state.number = (state.number ?? 0) + 1;
    state.told.unshift({ id: `t${state.number}`, number: state.number, ...JSON.parse(event.data) });
    state.told.length = Math.min(state.told.length, SHOWN_MAX);
    later();
  });
  source.addEventListener("status", event => {
    state.status = JSON.parse(event.data);
    later();
  });
  source.addEventListener("end", event => {
    state.ended = ENDS[JSON.parse(event.data).reason] ?? "It has ended.";
    close(state);
    later();
  });
  source.addEventListener("error", () => {
    if (!state.source) return;
    close(state);
    state.ended = "The broker did not go on with it.";
    // An event source does not say why: asking the same way does.
    api.get(where + "?seconds=1&rate=1").catch(error => error.status && tell(error.message, "bad"));
    later();
  });
  redraw();
}

const input = (state, name, label, more) => h("label", {}, label, " ", h("input", {
  name, value: state.filter[name], spellcheck: "false", autocomplete: "off", ...more,
  oninput: event => state.filter[name] = event.target.value,
}));

const counts = status => status && h("span", { class: "dim", role: "status" },
  `${count(status.seen)} came, ${count(status.matched)} matched, ${count(status.told)} are told`,
  status.passed_over > 0 && `, ${count(status.passed_over)} were more than you asked for`,
  status.unread > 0 && `, ${count(status.unread)} were not looked at`,
  status.dropped > 0 && `, ${count(status.dropped)} were too much for this browser`);

/** `where` is the API's path of the tail. */
export function tailPart(where, { state, redraw }) {
  state.filter ??= { ...DEFAULTS };
  const isOn = Boolean(state.source);
  return card("Live tail", [
    h("p", { class: "dim" }, "What comes from now on is shown here, and goes where it would have gone: nothing is taken."),
    h("form", { class: "bar", onsubmit: event => {
      event.preventDefault();
      if (isOn) close(state);
      else begin(where, state, redraw);
      redraw();
    } },
    input(state, "routing_key", "Key", { placeholder: "order.*.created", size: 16 }),
    input(state, "header", "Header", { placeholder: "tenant=t1", size: 12 }),
    input(state, "text", "Text in the body", { size: 12 }),
    input(state, "rate", "at most", { type: "number", min: 1, max: 1000 }), h("span", {}, "a second for"),
    input(state, "seconds", "", { type: "number", min: 1, max: 600, "aria-label": "Seconds" }), h("span", {}, "seconds"),
    h("button", { type: "submit", class: isOn ? "danger" : "primary" }, isOn ? "Stop" : "Begin")),
    h("p", {}, counts(state.status), state.ended && h("span", {}, " ", state.ended)),
    state.told?.map(message => messageCard(message, message.number - 1, [
      message.queues?.length > 0 && h("span", { class: "dim" }, "to ", message.queues.join(", ")),
      h("time", { class: "dim" }, clock(message.time)),
    ])),
    state.told?.length > 0 && button("Clear", () => {
      state.told = [];
      redraw();
    }, "quiet"),
    isOn && state.told.length === 0 && h("p", { class: "dim" }, `Nothing has come yet. This ends by itself after ${duration(state.filter.seconds * 1000)}.`),
  ]);
}
