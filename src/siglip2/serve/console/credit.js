// Credit: what is left, and every movement.

import { call, session } from "./api.js";
import { el, empty, field, heading, sayer } from "./dom.js";

const amount = (micro) => (micro / 1e6).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 6 });

function reason(text) {
  const [word, number] = text.split(" ");
  const said = { "sign-up": "Free credit on sign-up", grant: "Credit from the operator", hold: `Request ${number}`, release: `Given back: request ${number} was not answered` };
  return said[word] ?? text;
}

export default async function credit() {
  const body = el("tbody");
  const more = el("button", { type: "button", hidden: true }, "More");
  const left = el("dd");
  const place = el("div");
  let last = null;

  async function load() {
    try {
      const page = await call("GET", `/account/ledger${last === null ? "" : `?before=${last}`}`);
      left.textContent = amount(page.balance);
      body.append(...page.data.map((line) => el("tr", {},
        el("td", { class: "whole" }, new Date(line.created).toLocaleString("en", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" })),
        el("td", {}, reason(line.reason)),
        el("td", { class: `number ${line.amount > 0 ? "plus" : ""}` }, `${line.amount > 0 ? "+" : "−"}${amount(Math.abs(line.amount))}`),
        el("td", { class: "number" }, amount(line.balance)))));
      last = page.data.at(-1)?.id ?? last;
      more.hidden = !page.has_more;
      if (!body.children.length) place.replaceChildren(empty("No movements yet", "Credit that is granted or spent is listed here."));
    } catch (error) {
      place.replaceChildren(el("p", { class: "alert", role: "alert" }, error.message));
    }
  }

  more.addEventListener("click", load);
  place.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of movements" }, el("table", {},
    el("thead", {}, el("tr", {}, ["When", "What"].map((text) => el("th", { scope: "col" }, text)), ["Amount", "Balance"].map((text) => el("th", { scope: "col", class: "number" }, text)))), body)), more);
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
