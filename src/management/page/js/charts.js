// Charts, drawn by hand: lines over time, and heat maps of how long things took.

import { h } from "./dom.js";
import { byteRate, bytes, clock, count } from "./format.js";

const WIDTH = 600, HEIGHT = 120, LEFT = 0, BOTTOM = 2, TOP = 12;

/** The next round number: 1, 2 or 5 times a power of ten, of bytes in the unit that they are told in. */
function roundUp(value, areBytes) {
  if (!(value > 0)) return 1;
  const whole = areBytes ? 1024 ** Math.floor(Math.log(value) / Math.log(1024)) : 1;
  if (whole > 1) return roundUp(value / whole) * whole;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find(step => step * power >= value) * power;
}

/**
 * Lines over time. Series: { label, color, points: [[ms, figure], …] }. `unit` writes a figure; what is not known has no
 * line.
 */
export function lines({ title, series, unit = count, floor = 0, limit }) {
  const all = series.flatMap(one => one.points);
  const times = all.map(([at]) => at);
  const to = times.length ? Math.max(...times) : Date.now();
  const from = Math.min(to - 60000, times.length ? Math.min(...times) : to);
  const most = roundUp(Math.max(floor, ...all.map(([, figure]) => figure)), unit === bytes || unit === byteRate);
  const x = at => LEFT + (at - from) / (to - from) * (WIDTH - LEFT);
  const y = figure => TOP + (1 - figure / most) * (HEIGHT - TOP - BOTTOM);
  const path = points => points.map(([at, figure], index) =>
    `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(figure).toFixed(1)}`).join("");
  const steps = [0, 0.5, 1].map(share => share * most);
  const said = series.map(one => `${one.label} ${one.points.length ? unit(one.points.at(-1)[1]) : "unknown"}`).join(", ");
  const cursor = h("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, x1: -9, x2: -9 });
  const values = series.map(one => h("b", {}, one.points.length ? unit(one.points.at(-1)[1]) : "–"));
  const when = h("time", { class: "dim" }, "");
  const point = event => {
    const box = event.currentTarget.getBoundingClientRect();
    const at = from + ((event.clientX - box.left) / box.width * WIDTH - LEFT) / (WIDTH - LEFT) * (to - from);
    const figure = event.currentTarget.closest("figure"), shown = [...figure.querySelectorAll(".legend b")];
    figure.querySelector(".cursor").setAttribute("x1", x(at));
    figure.querySelector(".cursor").setAttribute("x2", x(at));
    series.forEach((one, index) => {
      const near = one.points.reduce((best, next) => Math.abs(next[0] - at) < Math.abs(best[0] - at) ? next : best,
        one.points[0] ?? [0, NaN]);
      shown[index].textContent = unit(near[1]);
    });
    figure.querySelector("time").textContent = clock(at);
  };
  const leave = event => {
    const figure = event.currentTarget.closest("figure"), shown = [...figure.querySelectorAll(".legend b")];
    series.forEach((one, index) => shown[index].textContent = one.points.length ? unit(one.points.at(-1)[1]) : "–");
    figure.querySelector(".cursor").setAttribute("x1", -9);
    figure.querySelector(".cursor").setAttribute("x2", -9);
    figure.querySelector("time").textContent = "";
  };
  return h("figure", { class: "chart" },
    h("figcaption", {}, h("span", { class: "name" }, title), when,
      h("span", { class: "legend" }, series.map((one, index) =>
        h("span", {}, h("i", { class: `swatch ${one.color}` }), one.label, " ", values[index])))),
    h("div", { class: "plot" }, h("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${said}`, preserveAspectRatio: "none",
      onpointermove: point, onpointerleave: leave,
    },
    steps.map(step => h("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: y(step), y2: y(step) })),
    limit > 0 && limit <= most && h("line", { class: "limit", x1: LEFT, x2: WIDTH, y1: y(limit), y2: y(limit) }),
    series.map(one => [
      one.fills && one.points.length > 1 && h("path", {
        class: `area ${one.color}`,
        d: `${path(one.points)}L${x(one.points.at(-1)[0]).toFixed(1)} ${y(0)}L${x(one.points[0][0]).toFixed(1)} ${y(0)}Z`,
      }),
      h("path", { class: `line ${one.color}`, d: path(one.points) }),
    ]),
    cursor),
    h("div", { class: "axis y", "aria-hidden": "true" }, [...steps].reverse().map(step => h("span", {}, unit(step))))),
    h("div", { class: "axis x", "aria-hidden": "true" }, h("span", {}, clock(from)), h("span", {}, clock(to))));
}

/** A line without anything around it. */
export function spark(points, color = "a") {
  if (points.length < 2) return h("span", { class: "spark" });
  const most = Math.max(1e-9, ...points.map(([, figure]) => figure)), from = points[0][0], to = points.at(-1)[0];
  const d = points.map(([at, figure], index) =>
    `${index ? "L" : "M"}${((at - from) / (to - from || 1) * 100).toFixed(1)} ${(22 - figure / most * 20).toFixed(1)}`);
  return h("svg", { class: "spark", viewBox: "0 0 100 24", "aria-hidden": "true", preserveAspectRatio: "none" },
    h("path", { class: `line ${color}`, d: d.join("") }));
}

/** How full something is. */
export function meter(label, share, kind = "") {
  const part = Math.max(0, Math.min(1, share || 0));
  return h("span", {
    class: `meter ${kind}`, role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.round(part * 100),
  }, h("i", { css: { width: `${(part * 100).toFixed(1)}%` } }));
}

const HEAT_COLUMNS = 60;

/**
 * How long things took, over time: a column for each moment, a row for each bucket, the brighter the more. `history` is
 * [[ms, [count of each bucket]], …] of what was added in each moment; `bounds` are the buckets' upper ends in seconds.
 */
export function heat({ title, history, bounds, unit, hint }) {
  const shown = history.slice(-HEAT_COLUMNS);
  const used = bounds.map((_, row) => shown.some(([, counts]) => counts[row] > 0));
  const first = Math.max(0, used.indexOf(true) - 1), last = Math.min(bounds.length, used.lastIndexOf(true) + 2);
  const rows = used.includes(true) ? bounds.slice(first, last) : [];
  const most = Math.max(1, ...shown.flatMap(([, counts]) => counts));
  const width = WIDTH / HEAT_COLUMNS, height = rows.length ? HEIGHT / rows.length : HEIGHT;
  const cells = shown.flatMap(([at, counts], column) => rows.map((bound, row) => {
    const number = counts[first + row];
    if (!number) return null;
    const heatOf = Math.ceil(Math.log(number + 1) / Math.log(most + 1) * 9);
    const label = `${clock(at)}: ${count(number)} took up to ${unit(bound * 1000)}`;
    return h("rect", {
      class: `heat h${heatOf}`, x: ((HEAT_COLUMNS - shown.length + column) * width).toFixed(1),
      y: (HEIGHT - (row + 1) * height).toFixed(1), width: (width - 0.6).toFixed(1), height: (height - 0.6).toFixed(1),
    }, h("title", {}, label));
  }));
  const sums = bounds.map((_, row) => shown.reduce((sum, [, counts]) => sum + counts[row], 0));
  const quantile = share => {
    const total = sums.reduce((sum, one) => sum + one, 0);
    let seen = 0;
    const at = sums.findIndex(one => (seen += one) >= total * share);
    return total ? `≤ ${unit(bounds[at] * 1000)}` : "–";
  };
  const [middle, late] = [quantile(0.5), quantile(0.99)];
  return h("figure", { class: "chart", title: hint },
    h("figcaption", {}, h("span", { class: "name" }, title),
      h("span", { class: "legend" }, h("span", {}, "half ", h("b", {}, middle)), h("span", {}, "99 % ", h("b", {}, late)))),
    h("div", { class: "plot" }, h("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", preserveAspectRatio: "none",
      "aria-label": `${title}: half took ${middle}, 99 of 100 took ${late}`,
    }, cells),
    h("div", { class: "axis y", "aria-hidden": "true" }, rows.length
      ? [h("span", {}, unit(rows.at(-1) * 1000)), h("span", {}, unit(rows[0] * 1000))]
      : h("span", {}, "nothing was measured yet"))));
}
