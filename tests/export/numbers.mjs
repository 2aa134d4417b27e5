// Reads {labels} or {vocabulary, texts, facts} or {folder, pictures, texts, size, suffix?} from standard input and prints what the JavaScript gives for them.

import { readFileSync } from "node:fs";
import { openFolder, readPicture } from "../../examples/node/classify.mjs";
import { overWhite, resize } from "../../examples/browser/pixels.mjs";
import { prompt } from "../../examples/browser/prompts.mjs";
import { Tokenizer, tokenIds } from "../../examples/browser/tokenizer.mjs";

const asked = JSON.parse(readFileSync(0, "utf8"));
const answer = {};
if (asked.labels) answer.prompts = asked.labels.map((label) => prompt(label));
if (asked.vocabulary) {
  const tokenizer = new Tokenizer(JSON.parse(readFileSync(asked.vocabulary, "utf8")));
  answer.ids = asked.facts.map((facts) => Array.from(tokenIds(tokenizer, asked.texts, facts), Number));
} else if (asked.folder) {
  const model = await openFolder(asked.folder, { suffix: asked.suffix ?? "" });
  const pictures = await Promise.all(asked.pictures.map(readPicture));
  answer.ids = Array.from(tokenIds(model.tokenizer, asked.texts, model.facts), Number);
  answer.pixels = pictures.map((each) => Array.from(resize(overWhite(each), ...asked.size)));
  answer.images = (await model.embedImages(pictures)).map((each) => Array.from(each));
  answer.texts = (await model.embedTexts(asked.texts)).map((each) => Array.from(each));
}
console.log(JSON.stringify(answer));
