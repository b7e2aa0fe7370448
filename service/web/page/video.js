import { ask, videoAt } from "./ask.js";
import { addCards, grid } from "./cards.js";
import { make, notice, theirs } from "./make.js";
import { attempt } from "./problem.js";
import { may } from "./session.js";
import { absentInWords, clock } from "./words.js";

const NEIGHBOURS = 12;
/** Channels that may be absent, and what they are called here. */
const CHANNELS = { vision: "picture", sound: "sound", onscreen: "on-screen text", transcript: "transcript" };

/** One video: itself, what is known of it, and what is like it. */
export async function video(root, { videoId, signal, onChanged }) {
  root.append(make("p", { class: "quiet", "aria-busy": "true" }, "…"));
  const place = make("div", { class: "about-video" });
  const known = await attempt(place, signal, () => ask("GET", videoAt(videoId), { signal }));
  if (signal.aborted) return;
  if (known) {
    place.append(stage(known), facts(known, signal, onChanged));
  } else {
    place.prepend(theirs("h2", videoId, { id: "video-title" }));
  }
  root.replaceChildren(place);
  if (known && may("search")) await neighbours(root, videoId, signal);
}

function stage(known) {
  const { width, height } = known.facts;
  const place = make("div", { class: "stage" }, player(known));
  if (width && height) place.style.setProperty("--ratio", String(width / height));
  return place;
}

function player(known) {
  const poster = known.thumbnail ? `${videoAt(known.video_id)}/thumbnail` : null;
  const screen = make("video", {
    src: `${videoAt(known.video_id)}/original`, poster, controls: true, loop: true, playsinline: true, preload: "metadata",
  });
  screen.addEventListener("error", () => {
    const still = poster ? make("img", { src: poster, alt: "" }) : null;
    screen.replaceWith(...[still, make("p", { class: "quiet" }, "A browser cannot play this one.")].filter(Boolean));
  });
  return screen;
}

function facts(known, signal, onChanged) {
  const size = known.facts.width ? `${known.facts.width} × ${known.facts.height}` : null;
  const rows = [
    ["tags", known.tags.length ? tags(known.tags) : null],
    ["on-screen text", known.onscreen_text ? theirs("q", known.onscreen_text) : null],
    ["transcript", known.transcript ? theirs("q", known.transcript) : null],
    ["speech", speech(known)],
    ["length", [clock(known.facts.duration_s), size].filter(Boolean).join(", ")],
    ["creator", known.creator_id ? theirs("span", known.creator_id) : null],
    ["sound", known.sound_id ? theirs("span", known.sound_id) : null],
    ["language", known.language],
    ["uploaded", known.uploaded_at ? new Date(known.uploaded_at).toLocaleDateString("en", { dateStyle: "medium" }) : null],
    ["id", theirs("code", known.video_id)],
    ["without", absent(known.modalities)],
  ];
  return make(
    "div",
    { class: "facts" },
    theirs("h2", known.caption || known.video_id, { id: "video-title", class: known.caption ? null : "unsaid" }),
    known.hashtags.length ? hashtags(known.hashtags) : null,
    make("dl", {}, ...rows.filter(([, said]) => said).flatMap(([name, said]) => [make("dt", {}, name), make("dd", {}, said)])),
    visibility(known, signal, onChanged),
  );
}

function tags(found) {
  return make("span", {}, found.map(({ name, probability }) => `${name} ${Math.round(probability * 100)}\u00a0%`).join(", "));
}

function hashtags(found) {
  const links = found.map((tag) => theirs("a", `#${tag}`, { href: `#/search?${new URLSearchParams({ q: tag })}` }));
  return make("p", { class: "hashtags" }, ...links);
}

function speech(known) {
  const spoken = known.speech_segments_s.reduce((sum, [start, end]) => sum + end - start, 0);
  return spoken ? `${Math.round((100 * spoken) / known.facts.duration_s)} % of the time` : null;
}

function absent(modalities) {
  const missing = Object.entries(CHANNELS).filter(([channel]) => (modalities[channel] ?? "present") !== "present");
  return missing.map(([channel, name]) => `${name} (${absentInWords(modalities[channel])})`).join(", ") || null;
}

/** Whether everybody finds it, and a way to change that for those who may. */
function visibility(known, signal, onChanged) {
  const isPublic = known.visibility === "public";
  if (!may("videos")) return null;
  const place = make("div", { class: "visibility" });
  const change = async () => {
    const visibility = isPublic ? "private" : "public";
    const done = await attempt(place, signal, () => ask("PATCH", videoAt(known.video_id), { json: { visibility }, signal }));
    if (!done) return;
    notice(isPublic ? "Private now: it is in no answer any more." : "Public again: it is found within seconds.");
    onChanged();
  };
  place.append(
    make("span", {}, isPublic ? "Public" : "Private: no answer shows it."),
    make("button", { type: "button", onclick: change }, isPublic ? "Make private" : "Make public"),
  );
  return place;
}

async function neighbours(root, videoId, signal) {
  const list = grid("What is like it, the nearest first");
  const place = make("section", { class: "like" }, make("h3", {}, "What is like it"), list);
  root.append(place);
  const query = new URLSearchParams({ k: NEIGHBOURS, explain: true });
  const found = await attempt(place, signal, () => ask("GET", `${videoAt(videoId)}/similar?${query}`, { signal }));
  if (!found) return;
  addCards(list, found.hits);
  if (!found.hits.length) place.append(make("p", { class: "empty" }, "Nothing is, yet."));
}

