// Who is signed in, and another password.

import { changePassword, session } from "./api.js";
import { el, field, heading, sayer } from "./dom.js";

export default function account() {
  const { email, role, has_password: had } = session.account;
  const facts = [["E-mail", email], ["Role", role === "admin" ? "operator of this server" : "customer"]];
  return [
    heading("Account", "Who you are on this server."),
    el("section", { class: "card", "aria-label": "Facts" },
      el("dl", { class: "facts" }, facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))))),
    el("section", { class: "card", "aria-labelledby": "change" },
      el("h2", { id: "change" }, had ? "Change the password" : "Set a password"), form(had)),
  ];
}

function form(had) {
  const password = (way) => el("input", { type: "password", required: true, autocomplete: `${way}-password`, minlength: way === "new" ? "10" : null });
  const current = had ? password("current") : null;
  const next = password("new");
  const voice = sayer();
  const button = el("button", { class: "main" }, "Save the password");
  const made = el("form", { class: "stack narrow" },
    current ? field("current", "Password so far", current) : null,
    field("next", "New password", next, "At least 10 characters; a few words are good. You are signed out everywhere else."),
    voice.line, el("div", {}, button));
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    voice.say("Saving…");
    try {
      await changePassword(current?.value ?? null, next.value);
      made.reset();
      voice.say("Saved.");
    } catch (error) {
      voice.fault(error.message);
      (error.code === "wrong_password" ? current : next)?.focus();
    }
    button.disabled = false;
  });
  return made;
}
