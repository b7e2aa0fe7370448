import { Refusal, SESSION, ask } from "./ask.js";

let scopes = [];

/** Learn what this browser's session may do; false: there is none. */
export async function learnSession() {
  ({ scopes } = await ask("GET", SESSION));
  return scopes.length > 0;
}

/**
 * Show a key. It becomes a cookie that no script can read, and is kept nowhere else.
 *
 * @throws {Refusal}
 */
export async function signIn(key) {
  await ask("POST", SESSION, { json: { key } });
  if (!(await learnSession())) throw new Refusal(0, "no_cookie", "This browser does not keep the session: are cookies off?", null);
}

export async function signOut() {
  scopes = [];
  await ask("DELETE", SESSION);
}

/** Whether the session is for one of these. */
export const may = (...wanted) => scopes.includes("admin") || wanted.some((scope) => scopes.includes(scope));
