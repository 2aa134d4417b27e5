// Labels as chips: type and press Enter or a comma; click one to change it; Backspace takes the last one back.

import { el } from "./dom.js";

// Calls `onchange(labels, draft)`: those that stand, and what is being typed (or "").
export function chipField(labels, onchange) {
  const list = el("ul", { "aria-label": "Labels" });
  const input = el("input", { id: "label", placeholder: "Add a label", autocomplete: "off", "aria-describedby": "label-note" });
  const place = el("div", { class: "chips" }, list, input);
  let chosen = [...labels];

  const draft = () => input.value.replace(/\s+/g, " ").trim();
  const tell = () => onchange([...chosen], chosen.includes(draft()) ? "" : draft());

  function draw() {
    list.replaceChildren(...chosen.map((label) => el("li", { class: "chip" },
      el("button", { type: "button", title: "Change it", onclick: () => edit(label) }, label),
      el("button", { type: "button", "aria-label": `Remove ${label}`, onclick: () => remove(label) }, "×"))));
  }

  function add() {
    for (const label of input.value.split(/[,\n]/).map((part) => part.replace(/\s+/g, " ").trim())) {
      if (label && !chosen.includes(label)) chosen.push(label);
    }
    input.value = "";
    draw();
    tell();
  }

  function remove(label) {
    chosen = chosen.filter((each) => each !== label);
    draw();
    input.focus();
    tell();
  }

  function edit(label) {
    if (draft()) add();
    remove(label);
    input.value = label;
    input.select();
    tell();
  }

  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Enter" || event.key === ",") { event.preventDefault(); add(); }
    else if (event.key === "Backspace" && !input.value && chosen.length) { event.preventDefault(); edit(chosen.at(-1)); }
  });
  input.addEventListener("input", () => { if (/[,\n]/.test(input.value)) add(); else tell(); });
  input.addEventListener("blur", (event) => { if (draft() && !place.contains(event.relatedTarget)) add(); });
  place.addEventListener("click", (event) => { if (event.target === place) input.focus(); });
  draw();
  return { place, labels: () => [...chosen] };
}
