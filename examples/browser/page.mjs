// The page: a picture and labels go in, a ranking comes out. `?small` loads the 8-bit files.

import * as ort from "./ort/ort.wasm.min.mjs";
import { SigLIP2 } from "./siglip2.mjs";

const MOST_PIXELS = 16_000_000; // what a phone's canvas holds; a larger picture is halved until it fits

const $ = (id) => document.getElementById(id);
const percent = (share) => (share < 0.001 ? "< 0.1 %" : `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`);

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
// More threads need a page that is isolated from other origins, which a plain file server does not say.
ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;

const suffix = new URLSearchParams(location.search).has("small") ? ".int8" : "";
let image; // unit vector of the picture on show
let known = new Map(); // label -> unit vector
let turn = 0; // only the latest question is answered

function say(text, fault = false) {
  $("status").textContent = text;
  $("status").classList.toggle("fault", fault);
}

async function read(name) {
  const answer = await fetch(new URL(`./model/${name}`, import.meta.url));
  if (!answer.ok) throw new Error(`model/${name}: ${answer.status} ${answer.statusText}`);
  const total = Number(answer.headers.get("content-length"));
  const parts = [];
  let received = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    received += value.length;
    if (total) $("loading").value = received / total;
    say(`Loading ${name}`);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** The pixels of a file, upright, as they are stored: no colour profile, no canvas resize. */
async function pixels(file) {
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" };
  let bitmap = await createImageBitmap(file, options);
  while (bitmap.width * bitmap.height > MOST_PIXELS) {
    const [resizeWidth, resizeHeight] = [bitmap.width >> 1, bitmap.height >> 1];
    bitmap = await createImageBitmap(bitmap, { resizeWidth, resizeHeight, resizeQuality: "high" });
  }
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

async function show(file) {
  const mine = ++turn;
  URL.revokeObjectURL($("preview").src);
  $("preview").src = URL.createObjectURL(file);
  $("preview").hidden = false;
  $("drop").classList.add("filled");
  $("bars").replaceChildren();
  image = undefined;
  say("Looking…");
  const picture = await pixels(file).catch(() => {
    $("preview").hidden = true;
    $("drop").classList.remove("filled");
    throw new Error(`${file.name || "This"} is no picture that the browser can read`);
  });
  const model = await opened;
  const started = performance.now();
  const [vector] = await model.embedImages([picture]);
  if (mine !== turn) return;
  image = vector;
  await rank(`Picture read in ${Math.round(performance.now() - started)} ms`);
}

async function rank(note) {
  const model = await opened;
  const labels = [...new Set($("labels").value.split("\n").map((line) => line.trim()).filter(Boolean))];
  if (!image) return say("Ready: choose a picture");
  if (!labels.length) return $("bars").replaceChildren(), say("Type a label");
  const mine = ++turn;
  const unknown = labels.filter((label) => !known.has(label));
  const vectors = await model.embedLabels(unknown);
  if (mine !== turn) return;
  unknown.forEach((label, index) => known.set(label, vectors[index]));
  known = new Map(labels.map((label) => [label, known.get(label)]));
  $("bars").replaceChildren(...model.rank(image, labels, [...known.values()]).map(bar));
  if (note) say(note);
  else say(`${labels.length} labels`);
}

function bar({ label, score, probability }) {
  const part = (name, className, text) => {
    const element = document.createElement(name);
    element.className = className;
    element.textContent = text;
    return element;
  };
  const row = document.createElement("li");
  const share = part("span", "share", percent(score));
  share.append(part("small", "alone", `alone ${percent(probability)}`));
  const track = part("span", "track", "");
  const fill = part("span", "fill", "");
  fill.style.width = `${100 * score}%`;
  track.append(fill);
  row.append(part("span", "label", label), share, track);
  return row;
}

function shown(promise) {
  promise.catch((error) => say(error.message, true));
}

const opened = SigLIP2.open(ort, read, { suffix });
shown(
  opened.then(() => {
    $("loading").hidden = true;
    if (!image && !$("drop").classList.contains("filled")) say("Ready: choose a picture");
  }),
);

$("file").addEventListener("change", ({ target }) => target.files[0] && shown(show(target.files[0])));
let typing;
$("labels").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => shown(rank()), 250);
});
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
  if (file) shown(show(file));
});
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    const file = event.dataTransfer?.files[0];
    if (name === "drop" && file) shown(show(file));
  });
}
