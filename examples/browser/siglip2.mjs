// A model written by `siglip2 export MODEL --to onnx`, in a browser or in Node. It needs no package but ONNX
// Runtime, which the caller brings: `onnxruntime-web` or `onnxruntime-node`.

import { naflexGrid, overWhite, patches, planes, resize } from "./pixels.mjs";
import { PLAIN, prompt } from "./prompts.mjs";
import { Tokenizer, tokenIds } from "./tokenizer.mjs";

const TEXTS_AT_ONCE = 32;

export class SigLIP2 {
  /**
   * @param {object} ort the ONNX Runtime module.
   * @param {(name: string) => Promise<Uint8Array>} read gives a file of the exported folder.
   * @param {{suffix?: string, session?: object}} options `suffix: ".int8"` for the small files; `session`
   *   goes to ONNX Runtime.
   */
  static async open(ort, read, { suffix = "", session = {} } = {}) {
    const json = async (name) => JSON.parse(new TextDecoder().decode(await read(name)));
    const facts = await json("siglip2.json");
    if (facts.image_preset !== "transformers") {
      throw new Error(`images are prepared with Pillow's bilinear here; this model wants ${facts.image_preset}`);
    }
    const tokenizer = new Tokenizer(await json("tokenizer.json"));
    // One after the other: two towers being parsed at once need twice the memory.
    const vision = await ort.InferenceSession.create(await read(`vision${suffix}.onnx`), session);
    const text = await ort.InferenceSession.create(await read(`text${suffix}.onnx`), session);
    return new SigLIP2(ort, facts, tokenizer, vision, text);
  }

  constructor(ort, facts, tokenizer, vision, text) {
    Object.assign(this, { ort, facts, tokenizer, vision, text });
  }

  /**
   * Unit vectors of pictures.
   * @param {import("./pixels.mjs").Picture[]} pictures
   * @returns {Promise<Float32Array[]>}
   */
  async embedImages(pictures) {
    const inputs = this.facts.naflex ? this.#naflex(pictures) : this.#fixed(pictures);
    const { image_embeds: found } = await this.vision.run(inputs, ["image_embeds"]);
    return rows(found);
  }

  /**
   * Unit vectors of texts as they stand.
   * @param {string[]} texts
   * @returns {Promise<Float32Array[]>}
   */
  async embedTexts(texts) {
    const vectors = [];
    for (let start = 0; start < texts.length; start += TEXTS_AT_ONCE) {
      const part = texts.slice(start, start + TEXTS_AT_ONCE);
      const ids = tokenIds(this.tokenizer, part, this.facts);
      const input = new this.ort.Tensor("int64", ids, [part.length, this.facts.context_length]);
      vectors.push(...rows((await this.text.run({ input_ids: input })).text_embeds));
    }
    return vectors;
  }

  /**
   * Unit vectors of labels put into a template.
   * @param {string[]} labels
   * @param {string} template with one `{}`.
   */
  async embedLabels(labels, template = PLAIN) {
    return this.embedTexts(labels.map((label) => prompt(label, template)));
  }

  /**
   * How well each label fits, best first.
   * @param {Float32Array} image from `embedImages`.
   * @param {string[]} labels
   * @param {Float32Array[]} vectors of the labels, from `embedLabels`.
   * @returns {{label: string, logit: number, probability: number, score: number}[]} `probability` is the
   *   sigmoid, each label on its own; `score` the softmax over these labels.
   */
  rank(image, labels, vectors) {
    const { logit_scale: scale, logit_bias: bias } = this.facts;
    const logits = vectors.map((vector) => scale * dot(image, vector) + bias);
    const highest = Math.max(...logits);
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0);
    return labels
      .map((label, index) => ({
        label,
        logit: logits[index],
        probability: 1 / (1 + Math.exp(-logits[index])),
        score: Math.exp(logits[index] - highest) / total,
      }))
      .sort((one, other) => other.logit - one.logit);
  }

  #fixed(pictures) {
    const side = this.facts.image_size;
    const all = new Float32Array(pictures.length * 3 * side * side);
    pictures.forEach((each, index) => {
      all.set(planes(resize(overWhite(each), side, side)), index * 3 * side * side);
    });
    return { pixel_values: new this.ort.Tensor("float32", all, [pictures.length, 3, side, side]) };
  }

  #naflex(pictures) {
    const { patch_size: patch, max_num_patches: budget } = this.facts;
    const grids = pictures.map(({ height, width }) => naflexGrid(height, width, patch, budget));
    const most = Math.max(...grids.map(([tall, wide]) => tall * wide));
    const [count, length] = [pictures.length, patch * patch * 3];
    const all = new Float32Array(count * most * length);
    const mask = new BigInt64Array(count * most);
    pictures.forEach((each, index) => {
      const [tall, wide] = grids[index];
      const pixels = resize(overWhite(each), wide * patch, tall * patch);
      all.set(patches(pixels, grids[index], patch), index * most * length);
      mask.fill(1n, index * most, index * most + tall * wide);
    });
    const { Tensor } = this.ort;
    return {
      pixel_values: new Tensor("float32", all, [count, most, length]),
      pixel_attention_mask: new Tensor("int64", mask, [count, most]),
      spatial_shapes: new Tensor("int64", BigInt64Array.from(grids.flat(), BigInt), [count, 2]),
    };
  }
}

function rows({ data, dims: [count, width] }) {
  return Array.from({ length: count }, (_, row) => data.slice(row * width, (row + 1) * width));
}

function dot(one, other) {
  return one.reduce((sum, value, index) => sum + value * other[index], 0);
}
