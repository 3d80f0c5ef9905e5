// Prometheus's page as figures.

import { metrics } from "./api.js";

/** { name: sum of its values }, but for histograms. */
export function parse(text) {
  const figures = {};
  for (const line of text.split("\n")) {
    if (line === "" || line[0] === "#") continue;
    const space = line.lastIndexOf(" "), open = line.indexOf("{");
    const name = line.slice(0, open < 0 ? space : open);
    if (!name.endsWith("_bucket")) figures[name] = (figures[name] ?? 0) + Number(line.slice(space + 1));
  }
  return figures;
}

/** What it says now: { at, figures }. */
export const look = async signal => ({ at: Date.now(), figures: parse(await metrics(signal)) });
