// What was used, by day, key and model.

import { call, session } from "./api.js";
import { stackedBars } from "./chart.js";
import { choice, el, empty, heading } from "./dom.js";
import { tableOf } from "./table.js";

const MEASURES = [["requests", "Requests"], ["images", "Images"], ["texts", "Texts"], ["cost", "Cost"]];
const FEW = 15; // lines of the table at first
const SHOWN = 5; // series; the rest is one, so that colours stay apart

const number = (value) => value.toLocaleString("en", { notation: value >= 1e5 ? "compact" : "standard", maximumFractionDigits: 1 });
const money = (micro) => (micro / 1e6).toLocaleString("en", { maximumSignificantDigits: 4 });

export default async function usage() {
  const state = { days: "30", measure: "requests", by: "model" };
  const place = el("div");
  const names = new Map();
  let rows = [];

  async function load() {
    try {
      const [used, keys] = await Promise.all([call("GET", `/account/usage?days=${state.days}`), call("GET", "/account/keys")]);
      rows = used.data;
      for (const key of keys.data) names.set(key.id, key.console ? "Console" : `${key.name} (${key.shown})`);
      draw();
    } catch (error) {
      place.replaceChildren(el("p", { class: "alert", role: "alert" }, error.message));
    }
  }

  function draw() {
    if (!rows.length) {
      place.replaceChildren(el("div", { class: "card" }, empty("Nothing used in this time", "Try the ", el("a", { href: "#/playground" }, "playground"), ".")));
      return;
    }
    const days = lastDays(Number(state.days));
    const format = state.measure === "cost" ? money : number;
    const series = grouped(days, state.measure, (row) => (state.by === "model" ? row.model : names.get(row.key_id) ?? `key ${row.key_id}`));
    place.replaceChildren(
      el("dl", { class: "tiles" }, MEASURES.map(([name, text]) => el("div", { class: "tile" },
        el("dt", {}, name === "cost" ? `${text} (${session.currency})` : text), el("dd", {}, (name === "cost" ? money : number)(sum(rows, name)))))),
      el("section", { class: "card", "aria-label": "Chart" },
        el("div", { class: "row between" },
          choice("measure", "What to count", MEASURES, state.measure, (value) => { state.measure = value; redraw("measure"); }),
          choice("by", "Colours by", [["model", "By model"], ["key", "By key"]], state.by, (value) => { state.by = value; redraw("by"); })),
        stackedBars(days, series, format),
        el("ul", { class: "legend" }, series.map(({ name }, index) => el("li", {}, el("i", { class: `s${index % 5}` }), name)))),
      listed(rows, names));
  }

  function redraw(name) { draw(); place.querySelector(`input[name="${name}"]:checked`).focus(); }

  function grouped(days, measure, nameOf) {
    const sums = new Map();
    for (const row of rows) {
      const name = nameOf(row);
      if (!sums.has(name)) sums.set(name, days.map(() => 0));
      const index = days.indexOf(row.day);
      if (index >= 0) sums.get(name)[index] += row[measure];
    }
    const total = (values) => values.reduce((all, value) => all + value, 0);
    const all = [...sums].map(([name, values]) => ({ name, values })).sort((a, b) => total(b.values) - total(a.values));
    if (all.length <= SHOWN) return all;
    const rest = all.slice(SHOWN - 1);
    return [...all.slice(0, SHOWN - 1), { name: `${rest.length} others`, values: days.map((_, index) => total(rest.map(({ values }) => values[index]))) }];
  }

  await load();
  return [
    heading("Usage", "Requests that were answered; days are in UTC.",
      choice("days", "Time", [["7", "7 days"], ["30", "30 days"], ["90", "90 days"]], state.days, (value) => { state.days = value; load(); })),
    place,
  ];
}

function sum(rows, name) { return rows.reduce((total, row) => total + row[name], 0); }

function lastDays(count) {
  return Array.from({ length: count }, (_, index) => new Date(Date.now() - (count - 1 - index) * 864e5).toISOString().slice(0, 10));
}

function listed(rows, names) {
  const columns = ["Day", "Model", "Key", "Requests", "Images", "Texts", `Cost (${session.currency})`];
  const table = tableOf("Table of usage", columns.map((text, index) => [text, index > 2]));
  const nameOf = (each) => names.get(each.key_id) ?? String(each.key_id);
  const row = (each) => [el("span", { class: "whole" }, each.day), each.model, nameOf(each),
    ...["requests", "images", "texts"].map((name) => number(each[name])), money(each.cost)];
  const lines = rows.toReversed();
  table.add(lines.slice(0, FEW).map(row));
  const all = lines.length > FEW ? el("button", { type: "button", onclick: () => {
    table.add(lines.slice(FEW).map(row));
    all.remove();
  } }, `Show all ${lines.length} lines`) : null;
  const exact = lines.map((each) => [each.day, each.model, nameOf(each), each.requests, each.images, each.texts, each.cost / 1e6]);
  return el("section", { class: "card", "aria-labelledby": "numbers" },
    el("div", { class: "row between head" }, el("h2", { id: "numbers" }, "By day, key and model"),
      el("button", { type: "button", class: "small", onclick: () => save("usage.csv", [columns, ...exact]) }, "Download as CSV")),
    table.place, all);
}

// A cell that a spreadsheet would take for a formula is kept a text.
function cell(value) {
  const text = String(value);
  return `"${(/^[=+\-@\t\r]/.test(text) && typeof value === "string" ? `'${text}` : text).replaceAll('"', '""')}"`;
}

function save(name, lines) {
  const file = new Blob([lines.map((line) => line.map(cell).join(",")).join("\r\n")], { type: "text/csv" });
  const address = URL.createObjectURL(file);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
