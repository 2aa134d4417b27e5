// Keys: made, shown once, revoked.

import { call, session } from "./api.js";
import { copyButton, el, empty, field, heading, sayer } from "./dom.js";
import { tableOf } from "./table.js";

const SCOPES = [["classify", "Classify"], ["embed", "Embed"], ["score", "Score and rerank"], ["search", "Search"]];
const day = (text) => (text ? new Date(text).toLocaleDateString("en", { dateStyle: "medium", timeZone: "UTC" }) : "never");
const micro = (input) => (input.value === "" ? null : Math.round(1e6 * Number(input.value)));

export default async function keys() {
  const place = el("div");
  const made = el("div", { class: "made", role: "status" });
  const refresh = async () => {
    const { data } = await call("GET", "/account/keys");
    place.replaceChildren(listed(data.filter((key) => !key.console), refresh));
  };
  await refresh().catch((error) => place.replaceChildren(el("p", { class: "alert", role: "alert" }, error.message)));
  return [
    heading("Keys", "Programs send a key with each request. Give each its own, so that you can take it back."),
    el("section", { class: "card", "aria-labelledby": "new" }, el("h2", { id: "new" }, "New key"), creation(made, refresh), made),
    el("section", { class: "card", "aria-labelledby": "yours" }, el("h2", { id: "yours" }, "Your keys"), place),
  ];
}

function creation(made, refresh) {
  const name = el("input", { required: true, maxlength: "100", placeholder: "laptop", autocomplete: "off" });
  const days = el("select", {}, [["90", "90 days"], ["30", "30 days"], ["365", "a year"], ["", "never"]].map(([value, text]) => el("option", { value }, text)));
  const [soft, hard] = ["0.8", "1"].map((hint) => el("input", { type: "number", min: "0", step: "any", placeholder: hint }));
  const scopes = SCOPES.map(([value, text]) => [el("input", { type: "checkbox", name: "scope", value, defaultChecked: true }), text]);
  const voice = sayer();
  const form = el("form", { class: "stack" },
    el("div", { class: "stack new-key" }, field("key-name", "Name", name), field("key-days", "Expires after", days)),
    el("fieldset", {}, el("legend", {}, "May"), el("div", { class: "row" }, scopes.map(([box, text]) => el("label", { class: "check" }, box, text)))),
    el("details", {}, el("summary", {}, "Monthly limits"), el("div", { class: "stack new-key" },
      field("key-soft", `Warn beyond (${session.currency})`, soft, "Answers then carry the header x-credits-low."),
      field("key-hard", `Refuse beyond (${session.currency})`, hard, "Requests then get 429 until the month is over."))),
    voice.line, el("div", {}, el("button", { class: "main" }, "Create key")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const chosen = scopes.map(([box]) => box).filter((box) => box.checked).map((box) => box.value);
    if (!chosen.length) return voice.fault("Choose at least one thing that the key may do.");
    voice.say("");
    try {
      const key = await call("POST", "/account/keys", {
        name: name.value, scopes: chosen, days: days.value ? Number(days.value) : null, soft_limit: micro(soft), hard_limit: micro(hard),
      });
      made.replaceChildren(el("div", { class: "stack" },
        el("p", {}, el("strong", {}, "Copy the key now: "), "it is not stored, and cannot be shown again."),
        el("div", { class: "secret" }, el("code", { id: "secret" }, key.secret), copyButton(key.secret))));
      form.reset();
      await refresh();
    } catch (error) {
      voice.fault(error.message);
    }
    return undefined;
  });
  return form;
}

function listed(data, refresh) {
  if (!data.length) return empty("No keys yet", "Make one above; a program sends it as Authorization: Bearer sg2_…");
  const table = tableOf("Table of keys", [["Key"], ["May"], ["Created"], ["Expires"], ["Last used"], ["State"], ["Revoke", true, true]]);
  table.add(data.map((key) => [
    [el("strong", {}, key.name), el("br"), el("code", {}, key.shown)],
    key.scopes.length === SCOPES.length ? "everything" : key.scopes.join(", "),
    el("span", { class: "whole" }, day(key.created)),
    el("span", { class: "whole" }, day(key.expires)),
    el("span", { class: "whole" }, day(key.last_used)),
    el("span", { class: `badge ${key.works ? "good" : "bad"}` }, key.revoked ? "revoked" : key.works ? "works" : "expired"),
    key.works ? el("button", { type: "button", class: "danger small", "aria-label": `Revoke ${key.name}`, onclick: () => confirm(key, refresh) }, "Revoke") : null,
  ]));
  return table.place;
}

function confirm(key, refresh) {
  const voice = sayer();
  const dialog = el("dialog", { "aria-labelledby": "revoking" },
    el("h2", { id: "revoking" }, `Revoke ${key.name}?`),
    el("p", {}, "Programs that use it are refused from now on. This cannot be undone."), voice.line,
    el("div", { class: "row" },
      el("button", { type: "button", onclick: () => dialog.close() }, "Keep it"),
      el("button", { type: "button", class: "danger", id: "revoke", onclick: async () => {
        try {
          await call("DELETE", `/account/keys/${key.id}`);
          dialog.close();
          await refresh();
        } catch (error) {
          voice.fault(error.message);
        }
      } }, "Revoke")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
