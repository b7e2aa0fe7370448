import { ask, uploadAt } from "./ask.js";
import { make, notice, pause, theirs } from "./make.js";
import { attempt } from "./problem.js";
import { rowOfState } from "./uploads.js";
import { may } from "./session.js";
import { count, reasonInWords } from "./words.js";

const LOOK_EVERY_S = 1;
/** Retries that are followed one by one; of more the queue tells. */
const FOLLOWED_MAX = 20;

/** What did not become a video, and why; with another try for those who may. */
export async function failures(root, { signal }) {
  const head = make("div", { class: "head" }, make("h1", {}, "Failures"));
  root.append(head);
  if (!may("uploads", "videos")) {
    root.append(make("p", { class: "empty" }, "Your key is not for this."));
    return;
  }
  const place = make("div", { "aria-busy": "true" });
  root.append(place);
  const found = await attempt(place, signal, () => ask("GET", "/v1/failures", { signal }));
  if (signal.aborted) return;
  place.setAttribute("aria-busy", "false");
  if (!found) return;
  if (!found.failures.length) {
    place.append(make("p", { class: "empty" }, "There are none: every upload is a video, or on its way."));
    return;
  }
  show(head, place, found, signal);
}

function show(head, place, found, signal) {
  const list = make("ul", { class: "rows" });
  const rows = found.failures.map((failure) => ({ failure, element: rowOf(failure, signal) }));
  const all = Object.values(found.reasons).reduce((sum, many) => sum + many, 0);
  const choose = (reason, pressed) => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button === pressed));
    for (const { failure, element } of rows) element.hidden = reason !== null && failure.reason !== reason;
  };
  const byCount = Object.entries(found.reasons).sort(([, one], [, other]) => other - one);
  const buttons = [[null, all], ...byCount].map(([reason, many]) => chip(reason, many, choose));
  list.append(...rows.map(({ element }) => element));
  place.append(make("div", { class: "chips", role: "group", "aria-label": "By reason" }, ...buttons));
  if (may("videos")) head.append(retryAll(place, rows, signal));
  place.append(list);
  if (all > rows.length) place.append(make("p", { class: "quiet" }, `The first ${rows.length} of ${all} are shown.`));
}

function chip(reason, many, choose) {
  return make(
    "button",
    { type: "button", class: "chip", "aria-pressed": String(reason === null), onclick: (event) => choose(reason, event.currentTarget) },
    reason === null ? "all" : reasonInWords(reason),
    make("span", { class: "count" }, ` ${many.toLocaleString("en")}`),
  );
}

function rowOf(failure, signal) {
  const row = make(
    "li",
    { class: "row is-failure" },
    theirs("span", failure.video_id),
    make("span", { class: "quiet" }, `${reasonInWords(failure.reason)}, after ${count(failure.attempts, "try", "tries")}`),
    theirs("span", failure.detail, { class: "detail" }),
  );
  if (may("videos")) {
    const again = async () => {
      // one by one, whoever asks has looked at it: also what has killed its decoder before
      const asked = { video_ids: [failure.video_id], quarantined: true };
      const done = await attempt(row, signal, () => ask("POST", "/v1/failures/retry", { json: asked, signal }));
      if (!done) return;
      if (done.queued) follow(row, failure.video_id, signal);
      else notice("There is nothing to run again: hand the file in anew.");
    };
    row.append(make("button", { type: "button", onclick: again, "aria-label": `Try ${failure.video_id} again` }, "Try again"));
  }
  return row;
}

function retryAll(place, rows, signal) {
  const again = async () => {
    const done = await attempt(place, signal, () => ask("POST", "/v1/failures/retry", { json: {}, signal }));
    if (!done) return;
    notice(`${count(done.queued, "upload")} will be tried again.`);
    for (const { failure, element } of rows.slice(0, FOLLOWED_MAX)) follow(element, failure.video_id, signal);
  };
  return make("button", { type: "button", onclick: again }, "Try all again");
}

/** Show where an upload stands, in place of its failure, until it has ended. */
async function follow(row, videoId, signal) {
  await attempt(row, signal, async () => {
    for (;;) {
      const state = await ask("GET", uploadAt(videoId), { signal });
      const now = rowOfState(state);
      row.className = now.className;
      row.replaceChildren(...now.childNodes);
      if (["video", "failure"].includes(state.state)) return;
      await pause(LOOK_EVERY_S, signal);
    }
  });
}
