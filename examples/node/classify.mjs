// node classify.mjs MODEL_FOLDER PICTURE LABEL LABEL... : which label fits a picture, as JSON lines.
// Needs `npm install onnxruntime-node sharp`.

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { SigLIP2 } from "../browser/siglip2.mjs";

// Unlike `import`, this also finds packages through NODE_PATH.
const require = createRequire(import.meta.url);
const sharp = require("sharp");

export function openFolder(folder, options) {
  return SigLIP2.open(require("onnxruntime-node"), (name) => readFile(join(folder, name)), options);
}

/** Any file that sharp reads, upright, as RGBA. */
export async function readPicture(file) {
  // Colour profiles are not applied, as in training.
  const { data, info } = await sharp(file, { ignoreIcc: true })
    .autoOrient()
    .toColourspace("srgb")
    .ensureAlpha()
    .raw({ depth: "uchar" })
    .toBuffer({ resolveWithObject: true });
  return { data, width: info.width, height: info.height };
}

if (process.argv[1] === import.meta.filename) {
  const [folder, file, ...labels] = process.argv.slice(2);
  if (labels.length === 0) {
    console.error("usage: node classify.mjs MODEL_FOLDER PICTURE LABEL LABEL...");
    process.exit(2);
  }
  const model = await openFolder(folder);
  const [image] = await model.embedImages([await readPicture(file)]);
  const ranking = model.rank(image, labels, await model.embedLabels(labels));
  for (const row of ranking) console.log(JSON.stringify(row));
}
