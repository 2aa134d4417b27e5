// Tables that become cards on a phone, where columns would be cut off.

import { el } from "./dom.js";

// `columns`: [text, isNumber] or [text, isNumber, true] where the heading is for screen readers alone.
// `cells`: contents of one row, in the order of the columns.
export function tableOf(label, columns) {
  const body = el("tbody", { role: "rowgroup" });
  const head = columns.map(([text, number, hidden]) => el("th", { scope: "col", role: "columnheader", class: number ? "number" : null },
    hidden ? el("span", { class: "hidden-label" }, text) : text));
  const table = el("table", { role: "table" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head)), body);

  function row(cells) {
    return el("tr", { role: "row" }, cells.map((cell, index) => {
      const [text, number, hidden] = columns[index];
      return el("td", { role: "cell", class: number ? "number" : null, "data-label": hidden ? null : text }, cell);
    }));
  }

  return {
    place: el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table),
    add(rows) { body.append(...rows.map(row)); },
    get length() { return body.children.length; },
  };
}
