// The way in: e-mail and password, the operator's provider, or a key for this page alone.

import { enter, session, useKey } from "./api.js";
import { el, field, sayer } from "./dom.js";

const PROBLEMS = {
  openid_state: "Signing in took too long, or began in another window. Try again.",
  openid_denied: "The provider did not let you in.",
  openid_failed: "The provider could not vouch for you. Try again, or ask the operator of this server.",
  openid_email: "The provider did not tell your e-mail address, which this server needs.",
  openid_taken: "There is an account of your e-mail address already. Sign in to it with its password.",
};

export function signIn() {
  const place = el("div", { class: "door card" });
  draw(place, "in");
  const problem = PROBLEMS[new URLSearchParams(location.search).get("problem")];
  if (!problem) return [place];
  history.replaceState(null, "", `/console${location.hash}`);
  place.prepend(el("p", { class: "alert", role: "alert" }, problem));
  return [place];
}

function draw(place, way) {
  const up = way === "up";
  const email = el("input", { type: "email", autocomplete: "email", required: true, maxlength: "320" });
  const password = el("input", {
    type: "password", required: true, minlength: up ? "10" : null, autocomplete: up ? "new-password" : "current-password",
  });
  const voice = sayer();
  const button = el("button", { class: "main" }, up ? "Create account" : "Sign in");
  const form = el("form", { class: "stack" },
    field("email", "E-mail", email),
    field("password", "Password", password, up ? "At least 10 characters; a few words are good." : null),
    voice.line, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    voice.say(up ? "Creating the account…" : "Signing in…");
    try {
      await enter(up ? "/account/sign-up" : "/account/sign-in", email.value, password.value);
    } catch (error) {
      button.disabled = false;
      voice.fault(error.message);
      (error.code === "wrong_credentials" ? password : email).focus();
    }
  });
  place.replaceChildren(
    el("h1", {}, up ? "Create an account" : "Sign in"),
    el("p", { class: "note" }, up ? "It begins with free credit to try things out."
      : "To try models, make keys and see what was used."),
    form, ...others(place, up));
}

function others(place, up) {
  const parts = [];
  if (session.openid) {
    parts.push(el("p", { class: "or" }, "or"),
      el("a", { class: "button", href: "/account/openid" }, `Continue with ${session.openid}`));
  }
  if (session.sign_up || up) {
    const turn = el("button", { type: "button", class: "plain" }, up ? "Sign in" : "Create an account");
    turn.addEventListener("click", () => { draw(place, up ? "in" : "up"); place.querySelector("input").focus(); });
    parts.push(el("p", { class: "note row" }, up ? "Have an account already?" : "New here?", turn));
  }
  return [el("div", { class: "stack" }, parts), up ? null : withKey()].filter(Boolean);
}

function withKey() {
  const key = el("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = el("form", { class: "stack" },
    field("key", "API key", key, "It stays in the memory of this page and is forgotten when you leave it."),
    el("button", {}, "Use this key"));
  form.addEventListener("submit", (event) => { event.preventDefault(); useKey(key.value); });
  return el("details", {}, el("summary", {}, "Use an API key instead"), form);
}
