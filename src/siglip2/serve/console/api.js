// Requests to the service the page came from, and who is signed in.

export class Failure extends Error {
  constructor(status, error) {
    super(error?.message ?? "The server cannot be reached; check the connection and try again.");
    this.status = status;
    this.code = error?.code ?? null;
  }
}

export const session = { accounts: true, sign_up: false, openid: null, account: null, csrf_token: null, currency: "credit" };
let key = ""; // of the API, in the memory of this page only
const listeners = new Set();

export function onSession(listener) { listeners.add(listener); }

function changed(answer) {
  Object.assign(session, answer);
  for (const listener of listeners) listener();
}

export function useKey(secret) { key = secret.trim(); for (const listener of listeners) listener(); }
export function hasKey() { return key !== ""; }
export function mayAsk() { return !session.accounts || session.account !== null || hasKey(); }

async function send(method, path, body, options) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (session.csrf_token) headers["X-CSRF-Token"] = session.csrf_token;
  else if (hasKey()) headers.Authorization = `Bearer ${key}`;
  let answer;
  try {
    answer = await fetch(path, {
      method, headers, signal: options?.signal, credentials: "same-origin",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, null);
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  const failure = new Failure(answer.status, said?.error ?? { message: `The server answered ${answer.status}.` });
  // The session has ended meanwhile: pages show the way in again.
  if (failure.status === 401 && session.account && !path.startsWith("/account/sign")) await refresh();
  throw failure;
}

export async function call(method, path, body, options) {
  const answer = await send(method, path, body, options);
  const said = await answer.json();
  const left = answer.headers.get("x-credits-remaining");
  if (left !== null && session.account) changed({ account: { ...session.account, balance: Number(left) } });
  return said;
}

export async function blob(method, path, body, options) {
  return (await send(method, path, body, options)).blob();
}

export async function refresh() {
  changed(await (await fetch("/account/session", { credentials: "same-origin" })).json());
}

export async function enter(path, email, password) { changed(await call("POST", path, { email, password })); }

export async function changePassword(current, next) { changed(await call("PUT", "/account/password", { current, new: next })); }

export async function leave() {
  key = "";
  changed(await call("POST", "/account/sign-out", {}));
}
