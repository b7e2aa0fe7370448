import { notice, pause } from "./make.js";

const TRIES = 4;
const PAUSE_MAX_S = 30;
/** Answers after which the same request may be made once more. */
const AGAIN = new Set([429, 503]);

/** Where a key is shown: that it is none is no news about the session. */
export const SESSION = "/v1/session";

/** The service said no, or nothing at all; `message` is for a person. */
export class Refusal extends Error {
  constructor(status, kind, message, requestId) {
    super(message);
    Object.assign(this, { status, kind, requestId });
  }
}

/** Where a video lies: its id may hold slashes, dots and anything else. */
export const videoAt = (videoId) => `/v1/videos/${encodeURIComponent(videoId)}`;
export const uploadAt = (videoId) => `/v1/uploads/${encodeURIComponent(videoId)}`;

/**
 * Ask the service; answers what its JSON says, null where it says nothing.
 *
 * Where it is full it says when to come again, and we do.
 *
 * @throws {Refusal}
 */
export async function ask(method, path, { json, form, signal } = {}) {
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  const body = json === undefined ? form : JSON.stringify(json);
  return insist(path, signal, async () => {
    const answer = await fetch(path, { method, headers, body, signal });
    return { status: answer.status, retryAfter: answer.headers.get("Retry-After"), text: await answer.text() };
  });
}

/**
 * Hand in a file, and say how much of it has gone.
 *
 * Not by fetch, which does not tell. It carries an id of its own, so that made again it is still one upload.
 *
 * @param onShare called with 0..1
 * @throws {Refusal}
 */
export function send(path, form, { onShare, signal } = {}) {
  const id = crypto.randomUUID();
  return insist(path, signal, () => new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("Idempotency-Key", id);
    request.upload.onprogress = (sent) => sent.lengthComputable && onShare?.(sent.loaded / sent.total);
    request.onload = () =>
      done({ status: request.status, retryAfter: request.getResponseHeader("Retry-After"), text: request.responseText });
    request.onerror = () => fail(new TypeError("the connection broke"));
    signal?.addEventListener("abort", () => { request.abort(); fail(signal.reason); }, { once: true });
    request.send(form);
  }));
}

async function insist(path, signal, makeRequest) {
  for (let tried = 1; ; tried += 1) {
    let answer;
    try {
      answer = await makeRequest();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Refusal(0, "no_answer", "The service does not answer. Is it running?", null);
    }
    if (answer.status < 400) return answer.text ? JSON.parse(answer.text) : null;
    if (answer.status === 401 && path !== SESSION) document.dispatchEvent(new Event("signed-out"));
    if (!AGAIN.has(answer.status) || tried === TRIES) throw refusal(answer);
    const seconds = Math.min(PAUSE_MAX_S, Number(answer.retryAfter) || 1);
    notice(`There is much to do just now; asking again in ${seconds} s.`);
    await pause(seconds, signal);
  }
}

function refusal({ status, text }) {
  let said = {};
  try {
    said = JSON.parse(text);
  } catch {
    // a proxy before the service speaks its own language
  }
  const kind = String(said.type ?? "").replace("urn:firstlook:", "") || "unknown";
  return new Refusal(status, kind, String(said.detail ?? `The answer was ${status}.`), said.request_id ?? null);
}
