import { make } from "./make.js";
import { problemInWords } from "./words.js";

/** What went wrong, in words, with the id by which the service's log knows it. */
export function problem(error, again = null) {
  const inWords = problemInWords(error.kind ?? "");
  const id = error.requestId ? make("small", {}, "request ", make("code", {}, error.requestId)) : null;
  return make(
    "div",
    { class: "problem", role: "alert" },
    make("p", {}, inWords ?? error.message),
    inWords ? make("p", { class: "quiet" }, error.message) : null,
    again ? make("button", { type: "button", onclick: again }, "Try again") : null,
    id,
  );
}

/**
 * Do something that may be refused, and show the refusal in a place.
 *
 * What was called off because somebody went elsewhere is no refusal.
 */
export async function attempt(place, signal, act, again = null) {
  try {
    return await act();
  } catch (error) {
    if (signal.aborted) return undefined;
    if (error.status !== 401) place.append(problem(error, again)); // 401: the page asks for a key already
    if (error.status === undefined) throw error; // a bug of ours belongs into the console too
    return undefined;
  }
}
