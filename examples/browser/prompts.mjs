// Labels to prompts, as the Python package's zero-shot classifier makes them by default.

export const PLAIN = "a photo of a {}.";

// What Python's str.split() takes for space.
const SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;
const PUNCTUATION = /[!-/:-@[-`{-~]/g;

/**
 * The reference evaluator's form: lower case, single spaces, no underscores or punctuation.
 * @param {string} text
 * @param {string} keep a string whose occurrences survive.
 */
export function canonicalize(text, keep) {
  const parts = text.replaceAll("_", " ").split(keep).map((part) => part.replace(PUNCTUATION, ""));
  return parts.join(keep).toLowerCase().split(SPACE).filter(Boolean).join(" ");
}

/**
 * The prompt of a label. A label that brings its own article loses it where the template has one.
 * @param {string} label
 * @param {string} template with one `{}`.
 */
export function prompt(label, template = PLAIN) {
  if (template.split("{}").length !== 2) throw new Error(`template ${template} must contain {} once`);
  const name = canonicalize(label, ",");
  if (!name.replaceAll(",", "").trim()) throw new Error(`label ${JSON.stringify(label)} holds no word`);
  const [before, after] = canonicalize(template, "{}").split("{}");
  const bare = /\b(?:an?|the)\s+$/i.test(before) ? name.replace(/^(?:an?|the)\s+(?=\S)/i, "") : name;
  return `${before}${bare}${after}`;
}
