// Words or a picture in, photos and texts of a mounted collection out.

import { blob, call } from "./api.js";
import { el, empty, field, heading, sayer } from "./dom.js";

const PAGE = 24;

export default async function search() {
  const title = heading("Search", "Find photos and texts of a collection by describing them.");
  let collections;
  try {
    collections = (await call("GET", "/v1/collections")).data;
  } catch (error) {
    return [title, el("p", { class: "alert", role: "alert" }, error.message)];
  }
  if (!collections.length) {
    return [title, el("div", { class: "card" }, empty("No collection is mounted here",
      "The operator makes one with ", el("code", {}, "siglip2 index"), " and serves it with ",
      el("code", {}, "siglip2 serve --collection NAME=PATH"), "."))];
  }
  const voice = sayer();
  const which = el("select", {}, collections.map(({ id, count }) => el("option", { value: id }, `${id} (${count})`)));
  const words = el("input", { type: "search", required: true, placeholder: "a red bicycle in front of a wall" });
  const results = el("ul", { class: "grid", id: "results", "aria-label": "Results" });
  const more = el("button", { type: "button", hidden: true }, "More");
  const button = el("button", { class: "main" }, "Search");
  const form = el("form", { class: "card searchbar" },
    field("collection", "Collection", which), field("words", "What to look for", words), button);
  let asked = null;

  async function ask(offset) {
    button.disabled = more.disabled = true;
    voice.say("Searching…");
    try {
      const said = await call("POST", "/v1/search", { ...asked, limit: PAGE, offset });
      if (!offset) results.replaceChildren();
      results.append(...said.data.map((hit) => card(hit, words.value)));
      more.hidden = said.data.length < PAGE;
      voice.say(results.children.length ? `${results.children.length} results, the best first.` : "Nothing fits; use other words.");
    } catch (error) {
      voice.fault(error.message);
    }
    button.disabled = more.disabled = false;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    asked = { collection: which.value, query: words.value };
    ask(0);
  });
  more.addEventListener("click", () => ask(results.children.length));
  return [title, form, voice.line, results, el("div", { class: "row" }, more)];
}

function card(hit) {
  const shot = el("div", { class: "shot" });
  if (hit.image_path) show(shot, hit);
  else shot.append(el("p", {}, hit.text ?? ""));
  const share = hit.probability === null ? hit.cosine.toFixed(2) : `${(100 * hit.probability).toFixed(1)} %`;
  return el("li", { class: "hit" }, shot, el("div", { class: "about" }, el("span", { title: hit.name }, hit.name), el("span", {}, share)));
}

// Not as the address of an image: a key goes in a header, which images cannot send.
async function show(shot, hit) {
  try {
    const address = URL.createObjectURL(await blob("GET", hit.image_path));
    const image = el("img", { src: address, alt: hit.name, loading: "lazy" });
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    shot.replaceChildren(image);
  } catch {
    shot.replaceChildren(el("p", {}, "This photo cannot be shown."));
  }
}
