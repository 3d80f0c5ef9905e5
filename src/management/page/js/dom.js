// Elements, made of names and text. Text only ever becomes text: nothing here or elsewhere reads markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "title", "polyline", "polygon", "defs",
  "marker", "use"]);
/** Addresses that a link may lead to: of this page, or of the web. A client's text is no script. */
const SAFE_ADDRESS = /^(#|https?:\/\/|blob:)/;

/**
 * Makes an element. Attributes whose name begins with `on` are listeners; `false`, `null` and `undefined` leave one out;
 * `key` says which of its siblings an element is from one drawing to the next.
 */
export function h(tag, attributes, ...children) {
  const made = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) put(made, name, value);
  add(made, children);
  return made;
}

function put(element, name, value) {
  if (value === false || value === null || value === undefined) return;
  if (name === "key") element.key = value;
  else if (name.startsWith("on")) {
    (element.listeners ??= {})[name] = value;
    element[name] = value;
  } else if (name === "css") {
    for (const [property, size] of Object.entries(value)) element.style.setProperty(property, size);
    element.setAttribute("data-css", JSON.stringify(value));
  } else if (name === "href" && !SAFE_ADDRESS.test(value)) return;
  else element.setAttribute(name, value === true ? "" : String(value));
}

function add(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false || child === "") continue;
    if (Array.isArray(child)) add(element, child);
    else element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Makes `old` what `fresh` is and keeps what is the same: focus, selection, open details and what somebody types stay. */
export function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  attributes(old, fresh);
  if (fresh.keeps || old.keeps) return;
  const before = [...old.childNodes], after = [...fresh.childNodes];
  const keyed = new Map(before.filter(node => node.key !== undefined).map(node => [node.key, node]));
  const unkeyed = before.filter(node => node.key === undefined);
  const kept = after.map(node => {
    const same = node.key !== undefined ? keyed.get(node.key) : unkeyed.shift();
    return same && isLike(same, node) ? same : null;
  });
  const stays = new Set(kept);
  for (const node of before) if (!stays.has(node)) node.remove();
  let place = old.firstChild;
  after.forEach((node, index) => {
    const same = kept[index];
    if (!same) old.insertBefore(node, place);
    else {
      if (same === place) place = place.nextSibling;
      else old.insertBefore(same, place);
      morph(same, node);
    }
  });
}

function isLike(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && a.key === b.key && a.type === b.type;
}

/** What the user sets, and a drawing leaves alone. */
const OF_THE_USER = new Set(["open", "value", "checked"]);

function attributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !OF_THE_USER.has(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) === value) continue;
    if (name === "style") continue;
    old.setAttribute(name, value);
    if (name === "value" && document.activeElement !== old) old.value = value;
  }
  if (old.getAttribute("style") !== fresh.getAttribute("style")) old.style.cssText = fresh.style.cssText;
  for (const name of Object.keys(old.listeners ?? {})) if (!fresh.listeners?.[name]) old[name] = null;
  for (const [name, listener] of Object.entries(fresh.listeners ?? {})) old[name] = listener;
  old.listeners = fresh.listeners;
}

/** Text for a reader of the screen alone. */
export const hidden = text => h("span", { class: "hidden" }, text);

/** A link into the page. */
export const link = (path, text, attributes) => h("a", { href: "#" + path, ...attributes }, text);

/** Says something once, in a corner, and aloud. */
export function tell(text, kind = "good") {
  const note = h("div", { class: `note ${kind}` }, text);
  document.getElementById("notes").append(note);
  setTimeout(() => note.remove(), kind === "bad" ? 12000 : 5000);
}
