// Questions: what will be lost is named before it is, and forms say what they take.

import { h, tell } from "./dom.js";

/** Opens a dialog; Escape closes it, and the focus goes back to where it was. */
export function openDialog(title, body, buttons = [], { wide = false } = {}) {
  const dialog = h("dialog", { class: wide && "wide", "aria-label": title },
    h("div", { class: "head" }, h("h2", {}, title),
      h("button", { type: "button", class: "quiet close", "aria-label": "Close", "data-close": "" }, "✕")),
    h("div", { class: "body" }, body),
    h("div", { class: "foot" }, buttons, buttons.length === 0 && h("button", { type: "button", "data-close": "" }, "Close")));
  const before = document.activeElement;
  dialog.addEventListener("click", event => {
    if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    before?.focus?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Does something and says how it went; the dialog stays open where it failed. */
async function attempt(dialog, action, done, problem) {
  const buttons = [...dialog.querySelectorAll("button")];
  buttons.forEach(button => button.disabled = true);
  try {
    const told = await action();
    dialog.close();
    tell(typeof told === "string" ? told : done);
    dispatchEvent(new Event("changed"));
  } catch (error) {
    problem.textContent = error.message;
    buttons.forEach(button => button.disabled = false);
  }
}

/**
 * Asks before something is lost. `lost` are lines that name it; with `type`, somebody has to write that name, as what is
 * lost doesn't come back.
 */
export function confirmLoss({ title, lost, verb, done, type, action }) {
  const problem = h("p", { class: "problem", role: "alert" });
  const write = type && h("input", { type: "text", autocomplete: "off", spellcheck: "false", required: true, id: "sure" });
  const press = h("button", { type: "submit", class: "danger", disabled: Boolean(type) }, verb);
  if (write) write.oninput = () => press.disabled = write.value !== type;
  const form = h("form", { id: "ask", onsubmit: event => {
    event.preventDefault();
    if (!press.disabled) attempt(dialog, action, done ?? "Done.", problem);
  } },
  h("ul", { class: "lost" }, lost.filter(Boolean).map(line => h("li", {}, line))),
  type && h("label", { class: "field" }, h("span", {}, "To go on, write ", h("code", {}, type)), write),
  problem,
  h("div", { class: "foot" }, h("button", { type: "button", "data-close": "" }, "Keep it"), press));
  const dialog = openDialog(title, form, [false]);
  (write ?? dialog.querySelector(".foot button")).focus();
}

/**
 * A form in a dialog. Fields: { name, label, kind, value, options, hint, required }, where kind is text, password, number,
 * area, check, select or arguments. `action` gets what was filled in.
 */
export function openForm({ title, intro, fields, verb, done, action, wide }) {
  const problem = h("p", { class: "problem", role: "alert" });
  const controls = fields.filter(Boolean).map(control);
  const form = h("form", { onsubmit: event => {
    event.preventDefault();
    let filled;
    try {
      filled = Object.fromEntries(controls.map(one => [one.name, one.read()]));
    } catch (error) {
      problem.textContent = error.message;
      return;
    }
    attempt(dialog, () => action(filled), done ?? "Done.", problem);
  } },
  intro && h("p", { class: "dim" }, intro),
  controls.map(one => one.row), problem,
  h("div", { class: "foot" }, h("button", { type: "button", "data-close": "" }, "Cancel"),
    h("button", { type: "submit", class: "primary" }, verb)));
  const dialog = openDialog(title, form, [false], { wide });
  form.querySelector("input, select, textarea")?.focus();
}

let fieldNumber = 0;

/** A field: what is shown, and how it is read. */
export function control({ name, label, kind = "text", value, options, hint, required, placeholder }) {
  const id = `field-${++fieldNumber}`, described = hint && `${id}-hint`;
  const common = { id, name, required, "aria-describedby": described, placeholder };
  if (kind === "check") {
    const input = h("input", { ...common, required: false, type: "checkbox", checked: Boolean(value) });
    const row = h("div", { class: "field check" }, input, h("label", { for: id }, label),
      hint && h("small", { id: described }, hint));
    return { name, row, read: () => input.checked };
  }
  if (kind === "arguments") return argumentsControl({ name, label, value, options, hint });
  let input;
  if (kind === "select") {
    input = h("select", common, options.map(option => {
      const [of, text] = Array.isArray(option) ? option : [option, option];
      return h("option", { value: of, selected: of === value }, text);
    }));
  } else if (kind === "area") {
    input = h("textarea", { ...common, rows: 6, spellcheck: "false" });
    input.value = value ?? "";
  } else {
    const list = options && h("datalist", { id: `${id}-list` }, options.map(option => h("option", { value: option })));
    input = h("input", {
      ...common, type: kind, value: value ?? "", autocomplete: kind === "password" ? "new-password" : "off",
      spellcheck: "false", list: list && `${id}-list`,
    });
    return { name, input, row: field(id, label, [input, list], hint, described), read: reader(kind, input, label) };
  }
  return { name, input, row: field(id, label, input, hint, described), read: reader(kind, input, label) };
}

const field = (id, label, input, hint, described) => h("div", { class: "field" },
  h("label", { for: id }, label), input, hint && h("small", { id: described }, hint));

function reader(kind, input, label) {
  if (kind !== "number") return () => input.value;
  return () => {
    if (input.value === "") return undefined;
    const number = Number(input.value);
    if (Number.isFinite(number)) return number;
    throw new Error(`${label} is no number.`);
  };
}

const TYPES = ["text", "number", "yes or no", "list or table"];

/** Arguments, a line each: name, value and type. `options` are [name, type, what it does]. */
function argumentsControl({ name, label, value = {}, options = [], hint }) {
  const lines = h("div", { class: "lines" });
  const kinds = new Map(options.map(([option, type]) => [option, type]));
  const add = (key = "", of = "", type) => {
    const typeOf = { number: "number", boolean: "yes or no", object: "list or table" }[typeof of];
    const kind = h("select", { "aria-label": "Type" }, TYPES.map(one =>
      h("option", { selected: one === (type ?? typeOf ?? "text") }, one)));
    const line = h("div", { class: "line" },
      h("input", { type: "text", "aria-label": "Name", placeholder: "name", value: key, spellcheck: "false",
        autocomplete: "off",
        onchange: event => { if (kinds.has(event.target.value)) kind.value = kinds.get(event.target.value); } }),
      h("input", { type: "text", "aria-label": "Value", placeholder: "value", spellcheck: "false", autocomplete: "off",
        value: typeof of === "object" ? JSON.stringify(of) : String(of) }),
      kind,
      h("button", { type: "button", class: "quiet", "aria-label": "Take this line out", onclick: () => line.remove() }, "✕"));
    lines.append(line);
    return line;
  };
  Object.entries(value).forEach(([key, of]) => add(key, of));
  const usual = options.map(([option, type, what]) => h("button", {
    type: "button", class: "chip", title: what, onclick: () => add(option, "", type).children[1].focus(),
  }, option));
  const row = h("fieldset", { class: "field" }, h("legend", {}, label), lines,
    h("button", { type: "button", class: "quiet", onclick: () => add().children[0].focus() }, "+ Add a line"),
    usual.length > 0 && h("div", { class: "chips" }, usual), hint && h("small", {}, hint));
  const read = () => Object.fromEntries([...lines.children].map(readLine).filter(([key]) => key !== ""));
  return { name, row, read };
}

function readLine(line) {
  const [key, of, kind] = [...line.children].map(input => input.value);
  if (kind === "number") {
    const number = Number(of);
    if (of.trim() === "" || !Number.isFinite(number)) throw new Error(`${key}: ${of || "nothing"} is no number.`);
    return [key, number];
  }
  if (kind === "yes or no") return [key, /^(true|yes|1)$/i.test(of.trim())];
  if (kind === "list or table") {
    try {
      return [key, JSON.parse(of)];
    } catch {
      throw new Error(`${key}: write a list or table as JSON.`);
    }
  }
  return [key, of];
}
