// Where somebody is: all of it is in the address after `#`, so that it can be kept, sent and gone back to.
//
//   #/queues/%2F/orders?tab=messages      as RabbitMQ's page has it, with what is chosen behind `?`

/** The parts of a path, and what is chosen. */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split("?", 2);
  const parts = path.split("/").filter(Boolean).map(part => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { parts, query: Object.fromEntries(new URLSearchParams(query)) };
}

export const here = () => parse(location.hash);

/** The address of the same place with other choices; `undefined` and "" are left out. */
export function withQuery(changes) {
  const [path] = location.hash.replace(/^#/, "").split("?", 1);
  const query = new URLSearchParams(here().query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined || value === "" || value === null) query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  return (path || "/") + (text ? "?" + text : "");
}

/** Chooses something else here. Typing leaves one step behind it, not one for each letter. */
export function choose(changes, { replaces = false } = {}) {
  const address = "#" + withQuery(changes);
  if (address === location.hash) return;
  if (replaces) {
    history.replaceState(null, "", address);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = address;
}

export function go(path) {
  location.hash = path;
}
