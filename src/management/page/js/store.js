// What is remembered: who looks, how they like it, and series that grow while the page is open.

const PREFERENCES = "leveret.preferences";
const DEFAULTS = { theme: "auto", refreshMs: 5000 };
/** Points that are kept of a series: ten minutes at the quickest pace. */
const SERIES_MAX = 600;

export const session = { user: null, tags: [], overview: null };

const RANKS = {
  administrator: ["administrator"],
  monitoring: ["administrator", "monitoring"],
  policymaker: ["administrator", "policymaker"],
};

/** Whether the user has a tag, or one that includes it. */
export const may = tag => RANKS[tag].some(one => session.tags.includes(one));

function read() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(PREFERENCES)) };
  } catch {
    return { ...DEFAULTS };
  }
}

export const preferences = read();

export function prefer(name, value) {
  preferences[name] = value;
  try {
    localStorage.setItem(PREFERENCES, JSON.stringify(preferences));
  } catch {
    // A browser that keeps nothing still shows everything.
  }
  dress();
}

/** Dark or light. */
export function dress() {
  const root = document.documentElement;
  if (preferences.theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = preferences.theme;
}

const series = new Map();

/** Adds a figure of now to a series, and gives all of it: [[time in ms, figure], …], the oldest first. */
export function record(name, figure, at = Date.now()) {
  const points = series.get(name) ?? [];
  series.set(name, points);
  const last = points.at(-1);
  if (!last || at - last[0] >= 500) points.push([at, figure]);
  if (points.length > SERIES_MAX) points.shift();
  return points;
}

export const forgetSeries = () => series.clear();
