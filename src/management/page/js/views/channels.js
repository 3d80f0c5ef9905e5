// Channels, and one of them.

import { h, link } from "../dom.js";
import { count } from "../format.js";
import { listBar, loadPage, pager, table, vhostNames } from "../table.js";
import { badge, card, facts, heading } from "../parts.js";
import * as api from "../api.js";

const { path } = api;
const figure = (id, label, more) => ({ id, label, number: true, sort: id, cell: channel => count(channel[id]), ...more });

const mode = channel => h("span", { class: "badges" }, channel.confirm && badge("confirms", "a"),
  channel.transactional && badge("transactions", "b"));

export const CHANNEL_COLUMNS = [
  { id: "name", label: "Channel", sort: "name", cell: channel => link(path`/channels/${channel.name}`, channel.name) },
  { id: "vhost", label: "Virtual host", sort: "vhost", cell: channel => channel.vhost },
  { id: "user", label: "User", sort: "user", cell: channel => channel.user ?? "–" },
  { id: "mode", label: "Mode", cell: mode },
  figure("consumer_count", "Consumers"),
  figure("prefetch_count", "Prefetch", { title: "For each consumer; 0 is no limit", cell: channel => channel.prefetch_count || "none" }),
  figure("messages_unacknowledged", "Unacked"),
  figure("messages_unconfirmed", "Unconfirmed"),
  figure("messages_uncommitted", "Uncommitted", { extra: true }),
  figure("global_prefetch_count", "Prefetch of all", { extra: true }),
];
const DEFAULTS = { sort: "name" };

export const channels = {
  title: "Channels",
  async load({ query, signal }) {
    const where = query.vhost ? path`/vhosts/${query.vhost}/channels` : "/channels";
    const [page, vhosts] = await Promise.all([loadPage(where, CHANNEL_COLUMNS, { defaults: DEFAULTS, signal }), vhostNames(signal)]);
    return { page, vhosts };
  },
  render: ({ page, vhosts }) => h("div", {},
    heading("Channels"),
    listBar({ noun: "channel", page, columns: CHANNEL_COLUMNS, vhosts }),
    table({ label: "Channels", columns: CHANNEL_COLUMNS, rows: page.items, key: channel => channel.name, defaults: DEFAULTS,
      empty: "No client has a channel open. Channels are opened on connections, and everything is done on them." }),
    pager(page)),
};

export const channel = {
  title: "Channel",
  name: ({ parts }) => parts[1],
  async load({ parts: [, name], signal }) {
    const one = await api.get(path`/channels/${name}`, {}, signal);
    const all = await api.get(path`/consumers/${one.vhost}`, {}, signal);
    return { one, consumers: all.filter(consumer => consumer.channel_details.name === name) };
  },
  render: ({ one, consumers }) => h("div", {},
    heading(`Channel ${one.number}`, mode(one)),
    card("", facts([
      ["Name", one.name],
      ["Connection", one.connection_details && link(path`/connections/${one.connection_details.name}`, one.connection_details.name)],
      ["User", one.user], ["Virtual host", one.vhost],
      ["Prefetch", `${one.prefetch_count || "no limit"} for each consumer, ${one.global_prefetch_count || "no limit"} for all together`],
      ["Unacknowledged", count(one.messages_unacknowledged)], ["Unconfirmed", count(one.messages_unconfirmed)],
      ["Uncommitted", `${count(one.messages_uncommitted)} messages, ${count(one.acks_uncommitted)} acknowledgements`],
    ])),
    card("Consumers", table({ label: "Consumers", columns: CONSUMER_COLUMNS, rows: consumers, sorts: false,
      key: consumer => consumer.consumer_tag, empty: "The channel has no consumer." }))),
};

export const CONSUMER_COLUMNS = [
  { id: "queue", label: "Queue", sort: "queue.name", cell: one => link(path`/queues/${one.queue.vhost}/${one.queue.name}`, one.queue.name) },
  { id: "vhost", label: "Virtual host", sort: "queue.vhost", cell: one => one.queue.vhost },
  { id: "tag", label: "Consumer tag", sort: "consumer_tag", cell: one => h("code", {}, one.consumer_tag) },
  { id: "channel", label: "Channel", cell: one => link(path`/channels/${one.channel_details.name}`, one.channel_details.name) },
  { id: "user", label: "User", cell: one => one.channel_details.user ?? "–" },
  { id: "activity", label: "State", sort: "activity_status", cell: one => badge({ up: "active", single_active: "single active", waiting: "waiting" }[one.activity_status] ?? one.activity_status,
    one.active ? "good" : "") },
  { id: "ack", label: "Acknowledges", sort: "ack_required", cell: one => one.ack_required ? "yes" : "automatically" },
  { id: "prefetch", label: "Prefetch", sort: "prefetch_count", number: true, cell: one => one.prefetch_count || "none" },
  { id: "exclusive", label: "Exclusive", sort: "exclusive", cell: one => one.exclusive ? "yes" : "–" },
];

export const consumers = {
  title: "Consumers",
  async load({ query, signal }) {
    const where = query.vhost ? path`/consumers/${query.vhost}` : "/consumers";
    const [page, vhosts] = await Promise.all([loadPage(where, CONSUMER_COLUMNS, { defaults: { sort: "queue" }, signal }), vhostNames(signal)]);
    return { page, vhosts };
  },
  render: ({ page, vhosts }) => h("div", {},
    heading("Consumers"),
    listBar({ noun: "consumer", page, columns: CONSUMER_COLUMNS, vhosts }),
    table({ label: "Consumers", columns: CONSUMER_COLUMNS, rows: page.items, defaults: { sort: "queue" },
      key: one => `${one.channel_details.name} ${one.consumer_tag}`,
      empty: "Nobody consumes. A consumer is told of a queue's messages as they come; without one, a queue only grows." }),
    pager(page)),
};
