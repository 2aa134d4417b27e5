// Texts to the token ids that the model was trained on, from the exported folder's `tokenizer.json`:
// byte-pair encoding with a byte fallback, as in Gemma's vocabulary of 256,000 pieces and in `nano`'s.

const SUPPORTED = "this reader knows BPE with Replace normalizers and Split pre-tokenizers on plain strings";

export class Tokenizer {
  #ids; // piece -> id
  #ranks = new Map(); // id * vocabulary + id of a pair -> order in which pairs merge
  #pieces = []; // id -> piece
  #replacements;
  #cuts;

  /** @param {object} file the parsed `tokenizer.json`. */
  constructor(file) {
    const { type, vocab, merges } = file.model;
    if (type !== "BPE") throw new Error(`tokenizer.json holds a ${type} model; ${SUPPORTED}`);
    this.#ids = new Map(Object.entries(vocab));
    for (const [piece, id] of this.#ids) this.#pieces[id] = piece;
    merges.forEach((merge, rank) => {
      const [left, right] = typeof merge === "string" ? merge.split(" ") : merge;
      this.#ranks.set(this.#pair(this.#ids.get(left), this.#ids.get(right)), rank);
    });
    this.#replacements = steps(file.normalizer, "normalizers").map(replacement);
    this.#cuts = steps(file.pre_tokenizer, "pretokenizers").map(cut);
    this.pad = this.#reserved(file, "<pad>");
    this.eos = this.#reserved(file, "<eos>");
  }

  /**
   * Ids of the pieces of a text as it stands. Names of reserved tokens in it are ordinary letters.
   * @param {string} text
   * @returns {number[]}
   */
  encode(text) {
    let parts = [this.#replacements.reduce((done, replace) => replace(done), text)];
    for (const split of this.#cuts) parts = parts.flatMap(split);
    return parts.flatMap((part) => this.#merged(this.#letters(part)));
  }

  #pair(left, right) {
    return left * this.#pieces.length + right;
  }

  #letters(part) {
    const ids = [];
    for (const letter of part) {
      const id = this.#ids.get(letter);
      if (id !== undefined) ids.push(id);
      else for (const byte of new TextEncoder().encode(letter)) ids.push(this.#ids.get(byteName(byte)));
    }
    return ids;
  }

  /** The pair that was learned first merges first, and of equal ones the leftmost. */
  #merged(ids) {
    for (;;) {
      let best = Infinity;
      let at = -1;
      for (let index = 0; index + 1 < ids.length; index++) {
        const rank = this.#ranks.get(this.#pair(ids[index], ids[index + 1]));
        if (rank < best) [best, at] = [rank, index];
      }
      if (at < 0) return ids;
      const piece = this.#pieces[ids[at]] + this.#pieces[ids[at + 1]];
      ids.splice(at, 2, this.#ids.get(piece));
    }
  }

  #reserved(file, name) {
    const found = file.added_tokens.find((token) => token.content === name)?.id ?? this.#ids.get(name);
    if (found === undefined) throw new Error(`tokenizer.json has no token ${name}`);
    return found;
  }
}

/**
 * Fixed-length rows of ids: lower-cased, cut, ended with <eos> and padded, as the model was trained.
 * @param {Tokenizer} tokenizer
 * @param {string[]} texts
 * @param {{context_length: number, lowercase: "ascii"|"unicode"|"none"}} facts
 * @returns {BigInt64Array} texts.length * context_length ids.
 */
export function tokenIds(tokenizer, texts, { context_length: length, lowercase }) {
  const ids = new BigInt64Array(texts.length * length).fill(BigInt(tokenizer.pad));
  texts.forEach((text, row) => {
    if (!text.isWellFormed()) throw new Error(`text ${row} holds half of a surrogate pair`);
    const kept = tokenizer.encode(lowered(text, lowercase)).slice(0, length - 1);
    [...kept, tokenizer.eos].forEach((id, column) => (ids[row * length + column] = BigInt(id)));
  });
  return ids;
}

function lowered(text, lowercase) {
  if (lowercase === "ascii") return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
  // Letter by letter: toLowerCase() of a whole word looks around, and ends it with "ς".
  if (lowercase === "unicode") return Array.from(text, (letter) => letter.toLowerCase()).join("");
  return text;
}

function byteName(byte) {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

function steps(step, list) {
  if (!step) return [];
  return step.type === "Sequence" ? step[list] : [step];
}

function replacement(step) {
  const pattern = step.pattern?.String;
  if (step.type !== "Replace" || pattern === undefined) throw new Error(`${step.type}: ${SUPPORTED}`);
  return (text) => text.replaceAll(pattern, () => step.content);
}

function cut(step) {
  const pattern = step.pattern?.String;
  if (step.type !== "Split" || step.behavior !== "MergedWithNext" || pattern === undefined) {
    throw new Error(`${step.type} ${step.behavior ?? ""}: ${SUPPORTED}`);
  }
  const before = new RegExp(`(?=${pattern.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")})`, "u");
  return (text) => text.split(before).filter(Boolean);
}
