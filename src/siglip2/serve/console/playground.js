// A picture and labels in, a bar for each label out.

import { call, session } from "./api.js";
import { barList } from "./bars.js";
import { chipField } from "./chips.js";
import { choice, el, field, heading, sayer } from "./dom.js";
import { drawHeat } from "./heat.js";
import { picturePicker } from "./picture.js";
import { snippets } from "./snippets.js";

const WAIT_MS = 350; // every answer is charged: ask when the typing pauses, not at every key
const FIRST = ["a cat", "a dog", "a city at night"];
const MODES = {
  softmax: "Shares among your labels: they add up to 100 %, even where none of them fits.",
  probability: "Each label on its own, whatever the others are. Models are cautious: a label that fits may well stay low.",
};

export default async function playground() {
  const models = (await call("GET", "/v1/models").catch(() => ({ data: [] }))).data.map(({ id }) => id);
  let picture = null;
  let labels = FIRST;
  let draft = "";
  let model = models[0] ?? null;
  let template = "";
  let mode = "softmax";
  let timer = 0;
  let asking = null;
  let looking = null; // for a heat map
  let seen = null; // the label whose heat map is shown
  const logits = new Map(); // a label's logit depends on nothing but picture, model and template: ask once
  const maps = new Map();

  const voice = sayer();
  const bars = barList(where);
  const about = el("p", { class: "note" });
  const code = snippets();
  const picker = picturePicker((taken) => { picture = taken; forget(); ask(); }, (text) => voice.fault(text));
  const chips = chipField(labels, (next, typed) => { labels = next; draft = typed; draw(); later(); });

  function forget() {
    asking?.abort(); // what is on its way is about another picture, model or template
    looking?.abort();
    logits.clear();
    maps.clear();
    seen = null;
    picker.canvas.hidden = true;
  }

  const wanted = () => [...labels, ...(draft ? [draft] : [])];

  function draw() {
    const known = wanted().filter((label) => logits.has(label));
    const values = known.map((label) => logits.get(label));
    const most = Math.max(...values);
    const sum = values.reduce((total, value) => total + Math.exp(value - most), 0);
    const alone = (value) => 1 / (1 + Math.exp(-value));
    const share = (value) => (mode === "probability" ? alone(value) : Math.exp(value - most) / sum);
    const order = known.map((label, index) => [label, values[index]]).sort((a, b) => b[1] - a[1]);
    bars.show(order.map(([label, value]) => [label, share(value), mode === "probability" ? null : alone(value)]), draft);
    about.textContent = MODES[mode];
    bars.press(seen);
    code.show({ url: picture?.url ?? null, labels, model: models.length > 1 ? model : null, template: template || null });
  }

  function body(asked) {
    return { input: { image: picture.data }, labels: asked, ...(model ? { model } : {}), ...(template ? { template } : {}) };
  }

  async function ask() {
    asking?.abort();
    draw();
    if (!picture) return voice.say("Choose a picture to begin.");
    if (!wanted().length) return voice.say("Add a label.");
    const missing = wanted().filter((label) => !logits.has(label));
    if (!missing.length) return seen ? undefined : voice.say("");
    const mine = asking = new AbortController();
    voice.say("Looking…");
    try {
      const said = await call("POST", "/v1/classify", body(missing), { signal: mine.signal });
      if (mine.signal.aborted) return undefined;
      for (const { label, logit } of said.data[0].predictions) logits.set(label, logit);
      voice.say(`Answered by ${said.model}${session.account ? `; ${credit(session.account.balance)} left` : ""}.`);
      draw();
    } catch (error) {
      if (error.name !== "AbortError") voice.fault(error.message);
    }
    return undefined;
  }

  async function where(label) {
    looking?.abort();
    if (seen === label) {
      seen = null;
      picker.canvas.hidden = true;
      return bars.press(null);
    }
    const mine = looking = new AbortController();
    try {
      if (!maps.has(label)) {
        voice.say(`Looking where ${label} is…`);
        const said = await call("POST", "/v1/heatmap", body([label]), { signal: mine.signal });
        if (mine.signal.aborted) return undefined;
        maps.set(label, said.data[0].similarity);
      }
      seen = label;
      drawHeat(picker.canvas, maps.get(label));
      bars.press(label);
      voice.say(`Yellow is where the picture is most like ${label}.`);
    } catch (error) {
      if (error.name !== "AbortError") voice.fault(error.message);
    }
    return undefined;
  }

  function later() { clearTimeout(timer); timer = setTimeout(ask, WAIT_MS); }
  const change = (act) => (event) => { act(event.target.value); forget(); later(); };
  const asked = field("template", "Template", el("input", { placeholder: "a photo of a {label}", oninput: change((text) => {
    template = text.includes("{label}") ? text : "";
  }) }), "Optional: a sentence with {label} in it, for every label.");
  const which = models.length > 1
    ? field("model", "Model", el("select", { onchange: change((name) => { model = name; }) }, models.map((name) => el("option", {}, name)))) : null;

  draw();
  voice.say("Choose a picture to begin.");
  return [
    heading("Playground", "Which of your labels fit a picture? Write any words you like: nothing is trained for them."),
    el("div", { class: "two" },
      el("section", { class: "card stack", "aria-label": "Picture and labels" },
        picker.parts,
        el("div", { class: "field" }, el("label", { for: "label" }, "Labels"), chips.place,
          el("p", { class: "note", id: "label-note" }, "Enter or a comma adds one; click a label to change it.")),
        el("details", {}, el("summary", {}, "Options"), el("div", { class: "stack" }, which, asked))),
      el("div", { class: "stack" },
        el("section", { class: "card", "aria-labelledby": "answer" },
          el("div", { class: "row between head" }, el("h2", { id: "answer" }, "How well each label fits"),
            choice("mode", "How to count", [["softmax", "One of them"], ["probability", "Each by itself"]], mode, (next) => { mode = next; draw(); })),
          about, bars.list, voice.line),
        code.card)),
  ];
}

function credit(micro) { return `${(micro / 1e6).toLocaleString("en", { maximumFractionDigits: 4 })} ${session.currency}`; }
