// Words or a picture in, photos and texts of a mounted collection out.

import { call } from "./api.js";
import { el, empty, field, heading, sayer } from "./dom.js";
import { hitCard } from "./hit.js";
import { asDataUrl } from "./picture.js";

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
  let what = "";

  async function like(hit, file) {
    asked = { collection: which.value, query: { image: await asDataUrl(file) } };
    what = ` like ${hit.name}`;
    words.value = "";
    await ask(0);
    scrollTo({ top: 0 });
  }

  async function ask(offset) {
    button.disabled = more.disabled = true;
    voice.say("Searching…");
    try {
      const { data } = await call("POST", "/v1/search", { ...asked, limit: PAGE + 1, offset });
      if (!offset) results.replaceChildren();
      results.append(...data.slice(0, PAGE).map((hit) => hitCard(hit, like)));
      more.hidden = data.length <= PAGE; // one beyond the page says that there are more
      voice.say(results.children.length ? `${results.children.length} results${what}, the best first.` : "Nothing fits; use other words.");
    } catch (error) {
      voice.fault(error.message);
    }
    button.disabled = more.disabled = false;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    asked = { collection: which.value, query: words.value };
    what = "";
    ask(0);
  });
  more.addEventListener("click", () => ask(results.children.length));
  return [title, form, voice.line, results, el("div", { class: "row" }, more)];
}
