// A bar for each label; rows stay the same elements, so that bars move and the keyboard's place is kept.

import { el } from "./dom.js";

function percent(share) {
  if (share < 0.0001) return "< 0.01 %";
  return share >= 0.9995 ? "100 %" : `${(100 * share).toFixed(share < 0.001 ? 2 : 1)} %`;
}

export function barList(onwhere) {
  const list = el("ol", { class: "bars", id: "bars" });
  const rows = new Map();

  function row(label) {
    const fill = el("div");
    const share = el("span", { class: "value" });
    const alone = el("span", { class: "note" });
    const where = el("button", { type: "button", class: "plain small", "aria-pressed": "false", "aria-label": `Where is ${label}?` }, "Where?");
    where.addEventListener("click", () => onwhere(label));
    const item = el("li", {},
      el("div", { class: "bar-head" }, el("span", { class: "name" }, label), where, share),
      el("div", { class: "track", "aria-hidden": "true" }, fill), alone);
    return { item, fill, share, where, alone };
  }

  return {
    list,
    // `values`: [label, share of 0..1, probability by itself or null] in the order to be shown.
    show(values, draft) {
      for (const [label, { item }] of rows) {
        if (!values.some(([name]) => name === label)) { item.remove(); rows.delete(label); }
      }
      values.forEach(([label, share, alone], index) => {
        const known = rows.get(label) ?? row(label);
        rows.set(label, known);
        known.item.classList.toggle("draft", label === draft);
        known.share.textContent = percent(share);
        known.alone.textContent = alone === null ? "" : `by itself ${percent(alone)}`;
        if (list.children[index] !== known.item) list.insertBefore(known.item, list.children[index] ?? null);
        requestAnimationFrame(() => { known.fill.style.width = `${100 * share}%`; });
      });
    },
    press(label) {
      for (const [name, { where }] of rows) where.setAttribute("aria-pressed", String(name === label));
    },
  };
}
