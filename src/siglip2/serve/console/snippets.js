// The request that the page has sent, for other programs.

import { session } from "./api.js";
import { copyButton, el } from "./dom.js";

const python = (value) => (value === true ? "True" : value === null ? "None" : JSON.stringify(value));
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl({ url, labels, model, template }) {
  const key = session.accounts ? ' \\\n  -H "Authorization: Bearer $SIGLIP2_KEY"' : "";
  const options = [model && ["model", model], template && ["template", template]].filter(Boolean);
  const route = `curl ${location.origin}/v1/classify${key}`;
  if (url === null) {
    const forms = [...labels.map((label) => ["labels", label]), ...options].map(([name, value]) => ` \\\n  --form-string ${shell(`${name}=${value}`)}`);
    return `${route} \\\n  -F file=@photo.jpg${forms.join("")}`;
  }
  const body = { input: { image: url }, labels, ...Object.fromEntries(options) };
  return `${route} \\\n  -H "Content-Type: application/json" \\\n  -d ${shell(JSON.stringify(body))}`;
}

function inPython({ url, labels, model, template }) {
  const image = url === null ? 'base64.b64encode(open("photo.jpg", "rb").read()).decode()' : python(url);
  const lines = [
    url === null ? "import base64\nimport os\n" : "import os\n", "import requests", "",
    "answer = requests.post(", `    ${python(`${location.origin}/v1/classify`)},`,
    session.accounts ? '    headers={"Authorization": f"Bearer {os.environ[\'SIGLIP2_KEY\']}"},' : null,
    "    json={", `        "input": {"image": ${image}},`, `        "labels": ${python(labels)},`,
    model ? `        "model": ${python(model)},` : null, template ? `        "template": ${python(template)},` : null,
    "    },", ")", "answer.raise_for_status()",
    'for prediction in answer.json()["data"][0]["predictions"]:', '    print(prediction["label"], prediction["probability"])',
  ].filter((line) => line !== null);
  return (session.accounts ? lines : lines.map((line) => line.replace("import os\n", "").trimEnd())).join("\n");
}

function inJavaScript({ url, labels, model, template }) {
  const image = url === null ? 'readFileSync("photo.jpg").toString("base64")' : JSON.stringify(url);
  return [
    url === null ? 'import { readFileSync } from "node:fs";\n' : null,
    `const answer = await fetch(${JSON.stringify(`${location.origin}/v1/classify`)}, {`, '  method: "POST",', "  headers: {",
    session.accounts ? "    Authorization: `Bearer ${process.env.SIGLIP2_KEY}`," : null,
    '    "Content-Type": "application/json",', "  },", "  body: JSON.stringify({",
    `    input: { image: ${image} },`, `    labels: ${JSON.stringify(labels)},`,
    model ? `    model: ${JSON.stringify(model)},` : null, template ? `    template: ${JSON.stringify(template)},` : null,
    "  }),", "});", "if (!answer.ok) throw new Error((await answer.json()).error.message);",
    "for (const { label, probability } of (await answer.json()).data[0].predictions) console.log(label, probability);",
  ].filter((line) => line !== null).join("\n");
}

const LANGUAGES = [["curl", curl], ["Python", inPython], ["JavaScript", inJavaScript]];

export function snippets() {
  let request = { url: null, labels: [], model: null, template: null };
  let chosen = 0;
  const code = el("code");
  const panel = el("pre", { class: "code", role: "tabpanel", id: "snippet", tabindex: "0", "aria-labelledby": "snippet-0" }, code);
  const draw = () => { code.textContent = LANGUAGES[chosen][1](request); };
  const tabs = LANGUAGES.map(([name], index) => el("button", {
    type: "button", role: "tab", id: `snippet-${index}`, "aria-controls": "snippet", onclick: () => turn(index),
  }, name));

  function turn(index) {
    chosen = (index + tabs.length) % tabs.length;
    tabs.forEach((tab, number) => {
      tab.setAttribute("aria-selected", String(number === chosen));
      tab.tabIndex = number === chosen ? 0 : -1;
    });
    panel.setAttribute("aria-labelledby", `snippet-${chosen}`);
    draw();
  }

  const bar = el("div", { class: "tabs", role: "tablist", "aria-label": "Language" }, tabs);
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    turn(chosen + step);
    tabs[chosen].focus();
  });
  turn(0);
  return {
    card: el("section", { class: "card", "aria-labelledby": "as-code" },
      el("div", { class: "row between head" }, el("h2", { id: "as-code" }, "The same request as code"), copyButton(() => code.textContent)), bar, panel),
    show(next) { request = next; draw(); },
  };
}
