// A picture from a file, the clipboard, a drop or a link.

import { blob } from "./api.js";
import { el } from "./dom.js";

const LARGE_BYTES = 2_000_000;
const LARGE_SIDE = 1536; // models look at a few hundred pixels: a whole photo with every question is slow for nothing

export function asDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The file cannot be read."));
    reader.readAsDataURL(file);
  });
}

async function shrunk(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (bitmap === null) return asDataUrl(file); // a format that the server may know: it will say
  const scale = Math.min(1, LARGE_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = el("canvas", { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}

// Calls `onpicture({ data, url, name })` with a data URL, and `onfault(sentence)`.
export function picturePicker(onpicture, onfault) {
  const image = el("img", { alt: "The chosen picture" });
  const canvas = el("canvas", { hidden: true, "aria-hidden": "true" });
  const frame = el("div", { class: "frame", hidden: true }, image, canvas);
  const hint = el("div", { class: "hint" }, el("strong", {}, "Drop a picture here"), "or paste it, choose a file, or give a link");
  const zone = el("div", { class: "drop" }, hint, frame);
  const file = el("input", { type: "file", accept: "image/*", id: "picture", "aria-label": "Choose a picture" });
  const link = el("input", { type: "url", id: "link", placeholder: "https://…", "aria-label": "Link to a picture" });
  const linking = el("form", { class: "link" }, link, el("button", {}, "Load"));

  function show(picture) {
    image.src = picture.data;
    canvas.hidden = true;
    frame.hidden = false;
    hint.hidden = true;
    zone.classList.add("full");
    onpicture(picture);
  }

  async function take(given) {
    if (!given) return;
    if (!given.type.startsWith("image/")) return void onfault("That is not a picture.");
    try {
      const data = await (given.size > LARGE_BYTES ? shrunk(given) : asDataUrl(given));
      show({ data, url: null, name: given.name || "photo.jpg" });
    } catch (error) {
      onfault(error.message);
    }
  }

  file.addEventListener("change", () => take(file.files[0]));
  linking.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!link.value) return;
    try {
      const small = await blob("POST", "/console/picture", { url: link.value });
      show({ data: await asDataUrl(small), url: link.value, name: "photo.jpg" });
    } catch (error) {
      onfault(error.message);
    }
  });
  // On the whole page, as long as this view is on it.
  const gone = new AbortController();
  const on = (name, act) => addEventListener(name, (event) => {
    if (zone.isConnected) act(event);
    else gone.abort();
  }, { signal: gone.signal });
  on("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files[0]); });
  on("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  on("dragleave", () => zone.classList.remove("over"));
  on("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); take(event.dataTransfer.files[0]); });

  return {
    canvas,
    parts: [zone, el("div", { class: "row" }, el("div", { class: "pick" }, el("span", { class: "button" }, "Choose a file"), file), linking)],
  };
}
