// The playground: a picture and labels in, a bar for each label out.

const WAIT_MS = 400; // every answer is charged: ask when the typing pauses, not at every key
const at = (id) => document.getElementById(id);
let image = null;
let timer = 0;
let asking = null;

function say(text) { at("status").textContent = text; }

function show(predictions) {
  at("bars").replaceChildren(...predictions.map(({ label, probability }) => {
    const row = document.createElement("li");
    const share = document.createElement("span");
    const bar = document.createElement("progress");
    share.textContent = `${(100 * probability).toFixed(1)} %`;
    bar.value = probability;
    bar.setAttribute("aria-label", label);
    row.append(share, label, bar); // text nodes: a label is never markup
    return row;
  }));
}

async function ask() {
  asking?.abort();
  const labels = [...new Set(at("labels").value.split("\n").map((line) => line.trim()).filter(Boolean))];
  if (!image || !labels.length) {
    show([]);
    say(image ? "Write a label." : "Choose a picture.");
    return;
  }
  const mine = asking = new AbortController();
  const headers = { "Content-Type": "application/json" };
  if (at("key").value.trim()) headers.Authorization = `Bearer ${at("key").value.trim()}`;
  const body = JSON.stringify({ input: [{ image }], labels, multi_label: true });
  try {
    const answer = await fetch("/v1/classify", { method: "POST", headers, body, signal: mine.signal });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error.message);
    show(said.data[0].predictions);
    say(`Answered by ${said.model}.`);
  } catch (error) {
    if (error.name === "AbortError") return; // a newer question is on its way
    show([]);
    say(error.message);
  }
}

function soon() { clearTimeout(timer); timer = setTimeout(ask, WAIT_MS); }

function take(file) {
  if (!file?.type.startsWith("image/")) return;
  const reader = new FileReader();
  reader.onload = () => {
    image = at("preview").src = reader.result;
    at("preview").hidden = false;
    ask();
  };
  reader.readAsDataURL(file);
}

at("labels").addEventListener("input", soon);
at("key").addEventListener("input", soon);
at("picture").addEventListener("change", (event) => take(event.target.files[0]));
addEventListener("paste", (event) => take(event.clipboardData.files[0]));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files[0]); });
