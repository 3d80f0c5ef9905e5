// Figures and times as people read them.

const NUMBER = new Intl.NumberFormat("en-US");
const DASH = "–";

export const isNumber = value => typeof value === "number" && Number.isFinite(value);

/** 12,345 up to a million, then 1.23 M. */
export function count(value) {
  if (!isNumber(value)) return DASH;
  if (Math.abs(value) < 1e6) return NUMBER.format(Math.round(value));
  return scaled(value, 1000, ["", "k", "M", "G", "T"]);
}

/** Per second. */
export function rate(value) {
  if (!isNumber(value)) return DASH;
  if (value === 0) return "0/s";
  return (Math.abs(value) < 10 ? value.toFixed(1) : count(value)) + "/s";
}

export function bytes(value) {
  return isNumber(value) ? scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]) : DASH;
}

export const byteRate = value => isNumber(value) ? bytes(value) + "/s" : DASH;

function scaled(value, base, units) {
  let unit = 0;
  while (Math.abs(value) >= base && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0;
  return `${value.toFixed(digits)} ${units[unit]}`.trim();
}

/** How long something took or has lasted, of milliseconds. */
export function duration(ms) {
  if (!isNumber(ms)) return DASH;
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (hours < 1) return `${minutes} min ${Math.round(seconds % 60)} s`;
  if (days < 1) return `${hours} h ${minutes % 60} min`;
  return `${days} d ${hours % 24} h`;
}

const pad = number => String(number).padStart(2, "0");

export function clock(ms) {
  const at = new Date(ms);
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

export function moment(ms) {
  if (!isNumber(ms)) return DASH;
  const at = new Date(ms);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${clock(ms)}`;
}

export const ago = ms => isNumber(ms) ? duration(Math.max(0, Date.now() - ms)) : DASH;

export const percent = share => isNumber(share) ? `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %` : DASH;

/** One thing or several: plural(2, "queue"). */
export const plural = (number, noun, nouns = noun + "s") => `${count(number)} ${number === 1 ? noun : nouns}`;

/** A value out of JSON on one line. */
export function inline(value) {
  if (value === null || value === undefined) return DASH;
  if (Array.isArray(value)) return value.map(inline).join(", ");
  if (typeof value === "object") return Object.entries(value).map(([name, part]) => `${name}: ${inline(part)}`).join(", ");
  return String(value);
}

/** How often something happens, out of RabbitMQ's `…_details`. */
export const rateOf = (stats, name) => stats?.[name + "_details"]?.rate;
