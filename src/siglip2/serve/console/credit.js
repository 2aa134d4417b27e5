// Credit: what is left, and every movement.

import { call, session } from "./api.js";
import { el, empty, field, heading, sayer } from "./dom.js";
import { tableOf } from "./table.js";

const amount = (micro) => (micro / 1e6).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 6 });

function reason(text) {
  const [word, number] = text.split(" ");
  const said = { "sign-up": "Free credit on sign-up", grant: "Credit from the operator", hold: `Request ${number}`, release: `Given back for request ${number}` };
  return said[word] ?? text;
}

// Requests of a day that follow on one another are one line: a busy day has thousands.
function condensed(lines) {
  const runs = [];
  for (const line of lines) {
    const request = /^(hold|release) /.test(line.reason);
    const run = runs.at(-1);
    if (request && run?.request && run.day === line.created.slice(0, 10)) {
      run.amount += line.amount;
      run.count += Number(line.reason.startsWith("hold"));
    } else {
      runs.push({ ...line, request, day: line.created.slice(0, 10), count: Number(line.reason.startsWith("hold")) });
    }
  }
  return runs;
}

function what(run) {
  if (!run.request || run.count === 0) return reason(run.reason);
  return run.count === 1 ? "1 request" : `${run.count.toLocaleString("en")} requests`;
}

export default async function credit() {
  const table = tableOf("Table of movements", [["When"], ["What"], ["Amount", true], ["Balance", true]]);
  const more = el("button", { type: "button", hidden: true }, "More");
  const left = el("dd");
  const place = el("div");
  let last = null;

  async function load() {
    try {
      const page = await call("GET", `/account/ledger?limit=200${last === null ? "" : `&before=${last}`}`);
      left.textContent = amount(page.balance);
      table.add(condensed(page.data).map((run) => [
        el("span", { class: "whole" }, new Date(run.created).toLocaleString("en", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" })),
        what(run),
        el("span", { class: run.amount > 0 ? "plus" : null }, `${run.amount > 0 ? "+" : "−"}${amount(Math.abs(run.amount))}`),
        amount(run.balance),
      ]));
      last = page.data.at(-1)?.id ?? last;
      more.hidden = !page.has_more;
      if (!table.length) place.replaceChildren(empty("No movements yet", "Credit that is granted or spent is listed here."));
    } catch (error) {
      place.replaceChildren(el("p", { class: "alert", role: "alert" }, error.message));
    }
  }

  more.addEventListener("click", load);
  place.append(table.place, more);
  const limits = await limitForm();
  await load();
  return [
    heading("Credit", "Requests that fail cost nothing. The operator of this server grants more credit."),
    el("dl", { class: "tiles" }, el("div", { class: "tile" }, el("dt", {}, `Left (${session.currency})`), left), limits.tile),
    limits.card,
    el("section", { class: "card", "aria-labelledby": "movements" }, el("h2", { id: "movements" }, "Movements"), place),
  ];
}

async function limitForm() {
  const spent = el("dd");
  const [soft, hard] = [0, 0].map(() => el("input", { type: "number", min: "0", step: "any", placeholder: "none" }));
  const voice = sayer();
  const micro = (input) => (input.value === "" ? null : Math.round(1e6 * Number(input.value)));
  const show = (said) => {
    spent.textContent = amount(said.spent);
    soft.value = said.soft_limit === null ? "" : said.soft_limit / 1e6;
    hard.value = said.hard_limit === null ? "" : said.hard_limit / 1e6;
  };
  const form = el("form", { class: "stack" }, el("div", { class: "stack new-key" },
    field("soft", `Warn beyond (${session.currency})`, soft, "Answers then carry the header x-credits-low."),
    field("hard", `Refuse beyond (${session.currency})`, hard, "Requests then get 429 until the month is over.")),
  voice.line, el("div", {}, el("button", {}, "Save the limits")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      show(await call("PUT", "/account/limits", { soft_limit: micro(soft), hard_limit: micro(hard) }));
      voice.say("Saved.");
    } catch (error) {
      voice.fault(error.message);
    }
  });
  await call("GET", "/account/limits").then(show).catch((error) => voice.fault(error.message));
  return {
    tile: el("div", { class: "tile" }, el("dt", {}, `Spent this month (${session.currency})`), spent),
    card: el("section", { class: "card", "aria-labelledby": "limits" }, el("h2", { id: "limits" }, "Monthly limits"), form),
  };
}
