// Elements without markup: whatever a user or a server writes becomes text, never HTML.

function made(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function el(tag, properties, ...children) {
  return made(document.createElement(tag), properties, children);
}

export function svg(tag, properties, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function heading(title, about, ...tools) {
  return el("div", { class: "heading" },
    el("div", {}, el("h1", {}, title), about ? el("p", {}, about) : null),
    tools.length ? el("div", { class: "row" }, tools) : null);
}

export function empty(title, ...about) {
  return el("div", { class: "empty" }, el("strong", {}, title), ...about);
}

// A line that screen readers speak when it changes.
export function sayer() {
  const line = el("p", { class: "say", role: "status" });
  return {
    line,
    say(text) { line.classList.remove("fault"); line.textContent = text; },
    fault(text) { line.classList.add("fault"); line.textContent = text; },
  };
}

export function field(id, label, input, note) {
  input.id = id;
  const about = note ? el("p", { class: "note", id: `${id}-note` }, note) : null;
  if (about) input.setAttribute("aria-describedby", about.id);
  return el("div", { class: "field" }, el("label", { for: id }, label), input, about);
}

// Radio buttons as one switch: arrow keys come with them.
export function choice(name, legend, options, chosen, onchoose) {
  return el("fieldset", { class: "choice" },
    el("legend", { class: "hidden-label" }, legend),
    options.map(([value, text]) => el("label", {},
      el("input", { type: "radio", name, value, checked: value === chosen, onchange: () => onchoose(value) }), text)));
}

export function copyButton(text, label = "Copy") {
  const button = el("button", { type: "button", class: "small" }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and copy by hand";
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });
  return button;
}
