// Prometheus's page as figures, and what was added to its histograms from one look to the next.

import { metrics } from "./api.js";

const LOOKS_MAX = 120;

let last = null;
const histories = new Map();

/** { name: sum of its values }, and { name: { bounds, counts } } of histograms, whose buckets are those of each alone. */
export function parse(text) {
  const figures = {}, histograms = {};
  for (const line of text.split("\n")) {
    if (line === "" || line[0] === "#") continue;
    const space = line.lastIndexOf(" "), open = line.indexOf("{");
    const value = Number(line.slice(space + 1)), name = line.slice(0, open < 0 ? space : open);
    if (!name.endsWith("_bucket")) {
      figures[name] = (figures[name] ?? 0) + value;
      continue;
    }
    const bound = /le="([^"]+)"/.exec(line)[1];
    const histogram = histograms[name.slice(0, -7)] ??= { bounds: [], counts: [], sum: 0 };
    histogram.bounds.push(bound === "+Inf" ? Infinity : Number(bound));
    histogram.counts.push(value - histogram.sum);
    histogram.sum = value;
  }
  return { figures, histograms };
}

/** Looks, and remembers what each histogram gained since the look before. */
export async function look(signal) {
  const now = { at: Date.now(), ...parse(await metrics(signal)) };
  if (last && now.at - last.at < 300) return { ...last, histories };
  for (const [name, { counts }] of Object.entries(now.histograms)) {
    const before = last?.histograms[name]?.counts;
    const history = histories.get(name) ?? [];
    histories.set(name, history);
    if (before) history.push([now.at, counts.map((number, index) => Math.max(0, number - before[index]))]);
    if (history.length > LOOKS_MAX) history.shift();
  }
  last = now;
  return { ...now, histories };
}
