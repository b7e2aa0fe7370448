import { ask, send, uploadAt } from "./ask.js";
import { addCards, grid } from "./cards.js";
import { make, notice, pause, theirs } from "./make.js";
import { attempt } from "./problem.js";
import { may } from "./session.js";
import { count, problemInWords, reasonInWords, waitInWords } from "./words.js";

const LOOK_EVERY_S = 1.5;
const SHOWN = 50;
const LAST = 8;

/** What was handed in on this page since it was opened, the latest first; kept while other views are looked at. */
const ours = [];
const changed = new EventTarget();
const tell = () => changed.dispatchEvent(new Event("change"));

/** The queue: hand in, see what waits and what was done last. */
export function uploads(root, { signal }) {
  const mine = make("ul", { class: "rows" });
  const queue = make("div", {});
  root.append(make("h1", {}, "Uploads"));
  if (may("uploads")) root.append(dropPlace(), mine);
  root.append(queue);
  const draw = () => mine.replaceChildren(...ours.map(rowOfOurs));
  changed.addEventListener("change", draw, { signal });
  draw();
  if (may("uploads", "videos")) watch(queue, signal);
}

/** Hand in files, each on its own way. */
export function handIn(files, caption = "") {
  for (const file of files) {
    const one = { name: file.name, share: 0, state: null, refusal: null };
    ours.unshift(one);
    follow(one, file, caption);
  }
  tell();
}

async function follow(one, file, caption) {
  const form = new FormData();
  if (caption.trim()) form.append("caption", caption.trim());
  form.append("file", file);
  try {
    one.state = await send("/v1/uploads", form, { onShare: (share) => { one.share = share; tell(); } });
    tell();
    while (!["video", "failure"].includes(one.state.state)) {
      await pause(LOOK_EVERY_S);
      one.state = await ask("GET", uploadAt(one.state.video_id));
      tell();
    }
    notice(one.state.state === "video" ? `${one.name} is in the library.` : `${one.name} did not become a video.`);
  } catch (error) {
    one.refusal = error;
    tell();
  }
}

function dropPlace() {
  const caption = make("input", { type: "text", maxlength: "10000", placeholder: "Caption, if you like", "aria-label": "Caption" });
  const files = make("input", { type: "file", multiple: true, accept: "video/*,audio/*", "aria-label": "Choose videos to hand in" });
  files.addEventListener("change", () => {
    handIn(files.files, caption.value);
    files.value = caption.value = "";
  });
  const choose = make("label", { class: "button pick" }, files, make("span", { "aria-hidden": "true" }, "Choose files"));
  return make("div", { class: "hand-in" }, make("p", {}, "Drop clips anywhere on this page, or choose them."), caption, choose);
}

function rowOfOurs(one) {
  if (one.refusal) {
    const inWords = problemInWords(one.refusal.kind);
    const said = [inWords, one.refusal.message, one.refusal.requestId && `(request ${one.refusal.requestId})`];
    return row("failure", theirs("span", one.name), said.filter(Boolean).join(" "));
  }
  if (!one.state) return row("leaving", theirs("span", one.name), `${Math.round(one.share * 100)} % has arrived`, one.share);
  return rowOfState(one.state, one.name);
}

/** An upload as the service tells of it, under a name of ours or its own. */
export function rowOfState(upload, name = upload.video_id) {
  const isVideo = upload.state === "video";
  const title = theirs(isVideo ? "a" : "span", name, isVideo ? { href: `#/video/${encodeURIComponent(upload.video_id)}` } : {});
  return row(upload.state, title, stateInWords(upload));
}

function stateInWords(upload) {
  const waited = upload.waited_s === null ? "" : `, for ${waitInWords(upload.waited_s)}`;
  if (upload.state === "waiting") {
    const ahead = upload.ahead ? `, behind ${count(upload.ahead, "other")}` : "";
    return `waits${ahead}${waited}`;
  }
  if (upload.state === "working") return `is being looked at${waited}`;
  if (upload.state === "video") return upload.partial ? "in the library, in part" : "in the library";
  return `failed: ${reasonInWords(upload.reason)}`;
}

function row(kind, title, said, share = null) {
  const progress = share === null ? null : make("progress", { max: "1", value: String(share), "aria-hidden": "true" });
  return make("li", { class: `row is-${kind}` }, title, make("span", { class: "quiet" }, said), progress);
}

/** What waits and is worked on, looked at again and again while somebody looks at it. */
async function watch(place, signal) {
  const list = make("ul", { class: "rows" });
  const head = make("h2", {}, "The queue");
  const last = make("div", { class: "last" });
  place.append(head, list, last);
  let before = null;
  while (!signal.aborted) {
    list.querySelector(".problem")?.parentElement.remove();
    const trouble = make("li", {});
    const states = await attempt(trouble, signal, () => Promise.all(["working", "waiting"].map((state) => inState(state, signal))));
    if (signal.aborted) return;
    if (states) {
      const found = states.flatMap((page) => page.uploads);
      const empty = make("li", { class: "quiet" }, "Nothing waits.");
      list.replaceChildren(...(found.length ? found.map((one) => rowOfState(one)) : [empty]));
      if (states.some((page) => page.next_after !== null)) list.append(make("li", { class: "quiet" }, "… and more"));
      const now = found.map((one) => one.video_id).join("\n");
      if (now !== before && may("search", "videos")) await showLast(last, signal);
      before = now;
    } else {
      list.append(trouble);
    }
    await pause(document.hidden ? 10 : LOOK_EVERY_S, signal).catch(() => {}); // called off: the loop ends
  }
}

function inState(state, signal) {
  return ask("GET", `/v1/uploads?${new URLSearchParams({ state, limit: SHOWN })}`, { signal });
}

async function showLast(place, signal) {
  const page = await attempt(place, signal, () => ask("GET", `/v1/videos?limit=${LAST}`, { signal }));
  if (!page?.videos.length) return;
  const list = grid("Done last");
  addCards(list, page.videos);
  place.replaceChildren(make("h2", {}, "Done last"), list);
}
