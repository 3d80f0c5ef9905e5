// The HTTP API: who asks, and what went wrong in words.
//
// Whoever logs in has a session, of which only the browser has the cookie: there is nothing here that a script could tell.

/** Not relative: a browser refuses relative addresses where the page's own holds a password. */
const ROOT = location.origin + "/api";

/** Says that it is the page that asks: no form of another page can, and the browser asks for no password itself. */
const OF_THE_PAGE = { "x-requested-with": "XMLHttpRequest" };

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** A path out of names: path`/queues/${vhost}/${name}`. */
export function path(parts, ...names) {
  return parts.reduce((whole, part, index) => whole + encodeURIComponent(names[index - 1]) + part);
}

/** Opens a session for a user, if that is its password: { name, tags }. */
export async function logIn(username, password) {
  const form = { "content-type": "application/x-www-form-urlencoded" };
  const body = new URLSearchParams({ username, password }).toString();
  return JSON.parse(await send("POST", ROOT + "/login", { body, headers: form })).user;
}

export const logOut = () => send("DELETE", ROOT + "/login");

/** Sends a request; the answer's text. */
async function send(method, address, { body, signal, headers } = {}) {
  const options = { method, signal, credentials: "same-origin", cache: "no-store", headers: { ...OF_THE_PAGE, ...headers } };
  if (body !== undefined) {
    options.headers["content-type"] ??= "application/json";
    options.body = typeof body === "string" ? body : JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The broker does not answer. Is it running, and is the network between you and it up?");
  }
  const text = await answer.text();
  if (!answer.ok) throw new ApiError(answer.status, reason(answer.status, text));
  return text;
}

function reason(status, text) {
  try {
    const told = JSON.parse(text).reason;
    if (typeof told === "string") return told;
    if (told) return JSON.stringify(told);
  } catch {
    // It is no JSON, and is said as it is.
  }
  return text.slice(0, 300) || `The broker answered with status ${status}.`;
}

/** The whole address of a path of the API, with what is asked behind it. */
export function address(where, query) {
  const known = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== "" && value !== null);
  return ROOT + where + (known.length ? "?" + new URLSearchParams(known) : "");
}

export const get = async (where, query, signal) => JSON.parse(await getText(where, query, signal));

/** As it was sent: numbers that a script can't hold are not rounded. */
export const getText = (where, query, signal) => send("GET", address(where, query), { signal });

/** Sends something; what is answered, if that is anything. */
async function change(method, where, body, headers) {
  const text = await send(method, ROOT + where, { body, headers });
  return text ? JSON.parse(text) : undefined;
}

export const put = (where, body) => change("PUT", where, body);
export const post = (where, body, headers) => change("POST", where, body, headers);
export const remove = (where, headers) => change("DELETE", where, undefined, headers);

/** The text of Prometheus's page. */
export const metrics = signal => send("GET", location.origin + "/metrics", { signal });
