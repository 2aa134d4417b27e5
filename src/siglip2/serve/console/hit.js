// One result of a search, and a closer look at it.

import { blob } from "./api.js";
import { el } from "./dom.js";

const LARGE = 768; // pixels of height, also of the example that "More like this" sends

export function percent(share) { return share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`; }

// Calls `onlike(hit, blob)` when somebody wants more like it.
export function hitCard(hit, onlike) {
  const shot = el("div", { class: "shot" });
  const share = hit.probability === null ? hit.cosine.toFixed(2) : percent(hit.probability);
  const about = el("div", { class: "about" }, el("span", { title: hit.name }, hit.name), el("span", {}, share));
  if (!hit.image_path) {
    shot.append(el("p", {}, hit.text ?? ""));
    return el("li", { class: "hit" }, shot, about);
  }
  show(shot, hit, hit.image_path);
  return el("li", { class: "hit" }, el("button", {
    type: "button", class: "look", "aria-label": `Look at ${hit.name}`, onclick: () => look(hit, share, onlike),
  }, shot), about);
}

function look(hit, share, onlike) {
  const shot = el("div", { class: "large" });
  let file = null;
  const like = el("button", { type: "button", class: "main", disabled: true, onclick: () => { dialog.close(); onlike(hit, file); } }, "More like this");
  const facts = [hit.probability === null ? `similarity ${share}` : `probability ${share}`, hit.taken_at?.slice(0, 10), hit.camera, hit.text].filter(Boolean);
  const dialog = el("dialog", { class: "look-at", "aria-labelledby": "looked-at" },
    el("h2", { id: "looked-at" }, hit.name), shot, el("p", { class: "note" }, facts.join(" · ")),
    el("div", { class: "row" }, el("button", { type: "button", onclick: () => dialog.close() }, "Close"), like));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
  show(shot, hit, `${hit.image_path}?height=${LARGE}`).then((got) => { file = got; like.disabled = got === null; });
}

// Not as the address of an image: a key goes in a header, which images cannot send.
async function show(shot, hit, path) {
  try {
    const file = await blob("GET", path);
    const address = URL.createObjectURL(file);
    const image = el("img", { src: address, alt: hit.name });
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    shot.replaceChildren(image);
    return file;
  } catch {
    shot.replaceChildren(el("p", {}, "This photo cannot be shown."));
    return null;
  }
}
