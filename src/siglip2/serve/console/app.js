// The frame: which view is shown, who is signed in, and the theme.

import { hasKey, leave, mayAsk, onSession, refresh, session, useKey } from "./api.js";
import { el } from "./dom.js";
import { signIn } from "./sign_in.js";

const VIEWS = {
  playground: { title: "Playground", load: () => import("./playground.js"), needs: "asking" },
  search: { title: "Search", load: () => import("./search.js"), needs: "asking" },
  keys: { title: "Keys", load: () => import("./keys.js"), needs: "account" },
  usage: { title: "Usage", load: () => import("./usage.js"), needs: "account" },
  credit: { title: "Credit", load: () => import("./credit.js"), needs: "account" },
  account: { title: "Account", load: () => import("./account.js"), needs: "account", aside: true },
  api: { title: "API", load: () => import("./reference.js"), needs: "nothing", aside: true },
};
const at = (id) => document.getElementById(id);
let shown = null; // the name of what is on the page, so that a changed balance does not draw it anew

function wanted() {
  const name = location.hash.replace(/^#\/?/, "").split("?")[0];
  return name in VIEWS || name === "sign-in" ? name : "playground";
}

function allowed(view) {
  if (view.needs === "nothing") return true;
  return view.needs === "asking" ? mayAsk() : session.account !== null;
}

async function show() {
  const name = wanted();
  const view = VIEWS[name];
  const closed = name === "sign-in" ? !session.account : !allowed(view);
  const showing = closed ? "sign-in" : name === "sign-in" ? "playground" : name;
  drawNav(showing);
  drawWho();
  if (showing === shown) return;
  const first = shown === null;
  shown = showing;
  document.title = `${closed ? "Sign in" : VIEWS[showing].title} · SigLIP 2`;
  const content = closed ? signIn() : await draw(VIEWS[showing]);
  if (shown !== null && shown !== showing) return; // somebody went on meanwhile
  at("view").replaceChildren(...content);
  if (!first) at("view").focus({ preventScroll: false });
}

async function draw(view) {
  try {
    return await (await view.load()).default();
  } catch (error) {
    console.error(error);
    shown = null; // the next click tries again
    return [el("p", { class: "alert", role: "alert" }, "This page could not be loaded; try again.")];
  }
}

function drawNav(current) {
  // Whoever is not in yet has one thing to do.
  const shown = mayAsk() ? Object.entries(VIEWS) : [];
  at("nav").replaceChildren(...shown
    .filter(([, { needs, aside }]) => !aside && (needs === "asking" || session.accounts))
    .map(([name, { title }]) => el("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, title)));
}

function drawWho() {
  const out = async () => {
    if (session.account) await leave();
    else useKey("");
    location.hash = "#/sign-in";
  };
  if (session.account) {
    at("who").replaceChildren(el("a", { class: "email", href: "#/account", title: session.account.email },
      el("span", { class: "whole" }, session.account.email), el("span", { class: "short" }, "Account")),
      el("button", { type: "button", class: "small", id: "sign-out", onclick: out }, "Sign out"));
  } else if (hasKey()) {
    at("who").replaceChildren(el("button", { type: "button", class: "small", onclick: out }, "Forget the key"));
  } else {
    at("who").replaceChildren(...session.accounts ? [el("a", { href: "#/sign-in" }, "Sign in")] : []);
  }
}

function drawTheme() {
  const names = { system: ["◐", "System"], light: ["☀", "Light"], dark: ["☾", "Dark"] };
  const name = window.consoleTheme.chosenTheme();
  const [sign, word] = names[name];
  at("theme").replaceChildren(el("span", { "aria-hidden": "true" }, sign), el("span", { class: "long" }, word));
  at("theme").setAttribute("aria-label", `Theme: ${name}. Change it`);
}

at("theme").addEventListener("click", () => { window.consoleTheme.nextTheme(); drawTheme(); });
drawTheme();
addEventListener("hashchange", show);
onSession(show);
refresh().catch(() => {
  at("view").replaceChildren(el("p", { class: "alert", role: "alert" },
    "The server cannot be reached; check the connection and load the page again."));
});
