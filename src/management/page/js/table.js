// Lists: pages, search, order and columns, all chosen on the server's side and kept in the address.

import { h, hidden } from "./dom.js";
import { count, plural } from "./format.js";
import { choose, here } from "./router.js";
import { session } from "./store.js";
import * as api from "./api.js";
import { openDialog } from "./dialog.js";

const PAGE_SIZES = [25, 50, 100, 250, 500];
const TYPING_PAUSE_MS = 200;

/** What the API is asked for, of what the address says. */
export function asked(columns, defaults = {}) {
  const { query } = here();
  // What nobody chose is the API's own order: by virtual host and name, without looking at what else there is of each.
  const sorted = columns.find(column => column.id === query.sort);
  return {
    page: query.page ?? 1,
    page_size: query.page_size ?? defaults.page_size ?? 50,
    name: query.name,
    use_regex: query.regex === "true" ? "true" : undefined,
    sort: sorted?.sort,
    sort_reverse: sorted && query.reverse === "true" ? "true" : undefined,
  };
}

/** A page of a list. One behind the last is the first. */
export async function loadPage(path, columns, { defaults, query, signal } = {}) {
  const parameters = { ...asked(columns, defaults), ...query };
  try {
    return paged(await api.get(path, parameters, signal));
  } catch (error) {
    if (error.status !== 400 || !/out of range/i.test(error.message)) throw error;
    return paged(await api.get(path, { ...parameters, page: 1 }, signal));
  }
}

/** Short lists come whole. */
const paged = answer => Array.isArray(answer)
  ? { items: answer, filtered_count: answer.length, total_count: answer.length, page: 1, page_count: 1 }
  : answer;

function chosenColumns(columns) {
  const named = here().query.columns?.split(",");
  return columns.filter((column, index) => index === 0 || (named ? named.includes(column.id) : !column.extra));
}

/** The bar over a list: search, virtual host, columns, and what else there is to press. */
export function listBar({ noun, nouns = noun + "s", page, columns, vhosts, search = true, actions = [] }) {
  const { query } = here();
  let typing;
  return h("div", { class: "bar", role: "search" },
    search && h("label", { class: "search" }, hidden(`Search ${nouns} by name`),
      h("input", {
        type: "search", id: "search", placeholder: `Search ${nouns}`, value: query.name ?? "", autocomplete: "off",
        spellcheck: "false",
        oninput: event => {
          clearTimeout(typing);
          const name = event.target.value;
          typing = setTimeout(() => choose({ name, page: undefined }, { replaces: true }), TYPING_PAUSE_MS);
        },
      }),
      h("kbd", { "aria-hidden": "true" }, "/")),
    search && h("button", {
      class: "quiet toggle", type: "button", "aria-pressed": String(query.regex === "true"),
      title: "Take the search for a regular expression",
      onclick: () => choose({ regex: query.regex === "true" ? undefined : "true", page: undefined }),
    }, ".*", hidden(" regular expression")),
    vhosts && vhosts.length > 1 && h("label", {}, hidden("Virtual host"),
      h("select", { onchange: event => choose({ vhost: event.target.value, page: undefined }) },
        h("option", { value: "" }, "all virtual hosts"),
        vhosts.map(name => h("option", { value: name, selected: name === query.vhost }, name)))),
    h("span", { class: "grow" }),
    page && h("span", { class: "count", "aria-live": "polite" }, counted(page, noun, nouns)),
    columns && h("button", { class: "quiet", type: "button", onclick: () => chooseColumns(columns) }, "Columns"),
    actions);
}

const counted = (page, noun, nouns) => page.filtered_count === page.total_count
  ? plural(page.total_count, noun, nouns)
  : `${count(page.filtered_count)} of ${plural(page.total_count, noun, nouns)}`;

function chooseColumns(columns) {
  const shown = new Set(chosenColumns(columns).map(column => column.id));
  const box = column => h("label", { class: "check" },
    h("input", {
      type: "checkbox", checked: shown.has(column.id),
      onchange: event => {
        shown[event.target.checked ? "add" : "delete"](column.id);
        choose({ columns: columns.slice(1).map(one => one.id).filter(id => shown.has(id)).join(",") || "none" });
      },
    }), column.label);
  openDialog("Columns", [
    h("div", { class: "boxes" }, columns.slice(1).map(box)),
    h("p", { class: "dim" }, "They are kept in the address."),
  ], [h("button", { type: "button", onclick: () => choose({ columns: undefined }), class: "quiet", "data-close": "" }, "Usual ones")]);
}

/** The rows. `columns`: { id, label, sort, number, extra, cell(row) }; the first is always there. */
export function table({ label, columns, rows, key, defaults = {}, sorts = true, empty, className }) {
  const { query } = here();
  const shown = sorts ? chosenColumns(columns) : columns;
  if (rows.length === 0) return h("div", { class: "empty" }, empty ?? "There are none.");
  const by = query.sort ?? defaults.sort, reverse = query.sort ? query.reverse === "true" : Boolean(defaults.reverse);
  const head = column => {
    const is = sorts && column.id === by;
    return h("th", {
      scope: "col", class: column.number && "number", title: column.title,
      "aria-sort": is ? (reverse ? "descending" : "ascending") : sorts && column.sort && "none",
    }, sorts && column.sort ? h("button", {
      type: "button", class: "sorter",
      onclick: () => choose({
        sort: column.id, page: undefined, reverse: String(is ? !reverse : Boolean(column.number)),
      }),
    }, column.label, h("span", { class: "arrow", "aria-hidden": "true" }, is ? (reverse ? "▾" : "▴") : "")) : column.label || hidden("What can be done"));
  };
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    h("table", { class: className },
      h("caption", { class: "hidden" }, label),
      h("thead", {}, h("tr", {}, shown.map(head))),
      h("tbody", {}, rows.map(row => h("tr", { key: key?.(row) },
        shown.map((column, index) => cell(column, row, index)))))));
}

function cell(column, row, index) {
  const content = column.cell(row), className = [column.number && "number", column.className].filter(Boolean).join(" ");
  return index === 0
    ? h("th", { scope: "row", class: className || null }, content)
    : h("td", { class: className || null, "data-label": column.label }, content);
}

/** Earlier, later, and how many at a time. */
export function pager(page) {
  if (!page || page.total_count <= PAGE_SIZES[0] && page.page_count <= 1) return null;
  const now = Number(page.page), last = Math.max(1, page.page_count);
  const to = (number, text, label) => h("button", {
    type: "button", class: "quiet", disabled: number < 1 || number > last || number === now, "aria-label": label,
    onclick: () => choose({ page: number === 1 ? undefined : String(number) }),
  }, text);
  return h("nav", { class: "pager", "aria-label": "Pages" },
    to(1, "«", "First page"), to(now - 1, "‹ Earlier", "Page before"),
    h("span", {}, `Page ${count(now)} of ${count(last)}`),
    to(now + 1, "Later ›", "Next page"), to(last, "»", "Last page"),
    h("span", { class: "grow" }),
    h("label", {}, "at a time ", h("select", {
      onchange: event => choose({ page_size: event.target.value, page: undefined }),
    }, PAGE_SIZES.map(size => h("option", { value: size, selected: size === Number(page.page_size) }, size)))));
}

/** Names of the virtual hosts that the user may see, asked for once in a while. */
export async function vhostNames(signal) {
  const now = Date.now();
  if (!session.vhosts || now - session.vhostsAt > 30000) {
    session.vhosts = (await api.get("/vhosts", { columns: "name" }, signal)).map(vhost => vhost.name).sort();
    session.vhostsAt = now;
  }
  return session.vhosts;
}
