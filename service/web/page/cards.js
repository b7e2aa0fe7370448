import { videoAt } from "./ask.js";
import { make, theirs } from "./make.js";
import { clock, two } from "./words.js";

/** In the order in which they are drawn, and the only names that become part of a class. */
const MODALITIES = ["vision", "text", "sound", "words"];
/** So long a pointer rests before a clip plays: passing over a grid starts nothing. */
const REST_S = 0.15;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** A list of cards, in which arrow keys move and only one card is a stop of the Tab key. */
export function grid(label) {
  const list = make("ul", { class: "grid", "aria-label": label });
  list.addEventListener("focusin", ({ target }) => makeStop(list, target.closest("a.card")));
  list.addEventListener("keydown", (event) => {
    const cards = cardsOf(list);
    const to = cards[stepTo(event.key, cards.indexOf(document.activeElement), cards)];
    if (to === undefined) return;
    event.preventDefault();
    to.focus();
  });
  return list;
}

/** Add cards for these rows, as the service answers them. */
export function addCards(list, rows) {
  list.append(...rows.map((row) => make("li", {}, card(row))));
  if (!list.querySelector('a.card[tabindex="0"]')) makeStop(list, list.querySelector("a.card"));
}

export const firstCard = () => document.querySelector("main a.card");

function cardsOf(list) {
  return [...list.querySelectorAll("a.card")];
}

function makeStop(list, stop) {
  for (const one of cardsOf(list)) one.tabIndex = one === stop ? 0 : -1;
}

function stepTo(key, at, cards) {
  if (at < 0) return -1;
  const topOf = (one) => one.getBoundingClientRect().top;
  const columns = cards.filter((one) => topOf(one) === topOf(cards[0])).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: cards.length - 1 - at };
  return key in steps ? at + steps[key] : -1;
}

function card(row) {
  const link = make(
    "a",
    { class: "card", href: `#/video/${encodeURIComponent(row.video_id)}`, tabindex: "-1" },
    picture(row),
    about(row),
    row.modalities ? shares(row) : null,
  );
  playsOnRest(link, row.video_id);
  return link;
}

function picture(row) {
  const there = row.thumbnail
    ? make("img", { src: `${videoAt(row.video_id)}/thumbnail`, alt: "", loading: "lazy", decoding: "async" })
    : make("span", { class: "no-picture" }, "sound only");
  return make("span", { class: "picture" }, there, make("span", { class: "clock" }, clock(row.duration_s)));
}

/** What its creator said, else what was seen or read in it, else its id. */
function about(row) {
  if (row.caption) return theirs("span", row.caption, { class: "about" });
  const seen = [row.tags.slice(0, 2).join(", "), row.onscreen_text && `“${row.onscreen_text}”`].filter(Boolean);
  return theirs("span", seen.join(" · ") || row.video_id, { class: "about unsaid" });
}

/** The score as a bar of its parts, and the same in figures. The whole width is a score of 1. */
export function shares({ score, modalities }) {
  const parts = MODALITIES.filter((name) => name in modalities).map((name) => [name, modalities[name]]);
  const bar = make("span", { class: "bar", "aria-hidden": "true" });
  for (const [name, share] of parts) {
    const part = make("span", { class: name });
    part.style.inlineSize = `${Math.max(0, share) * 100}%`;
    bar.append(part);
  }
  const figures = parts.map(([name, share]) => make("span", { class: `figure ${name}` }, `${name} ${two(share)}`));
  return make(
    "span",
    { class: "shares" },
    make("span", { class: "score" }, make("span", { class: "sum" }, two(score)), bar),
    make("span", { class: "figures" }, ...spaced(figures)),
  );
}

/** With blanks between, so that a screen reader does not run them together. */
function spaced(elements) {
  return elements.flatMap((element, i) => (i ? [" ", element] : [element]));
}

/** Play a card's clip, without sound, while a pointer rests on it or the keyboard has brought one there. */
function playsOnRest(link, videoId) {
  const place = link.querySelector(".picture");
  if (!place.querySelector("img")) return;
  let soon;
  let video = null;
  const start = () => {
    if (calm.matches || video) return;
    video = make("video", { muted: true, loop: true, playsinline: true, "aria-hidden": "true", tabindex: "-1" });
    video.muted = true; // the attribute alone counts only in markup
    video.onplaying = () => video?.classList.add("plays");
    video.src = `${videoAt(videoId)}/original`;
    video.play().catch(() => {}); // taken away before it began, or a container that is not handed out
    place.append(video);
  };
  const rest = () => { soon = setTimeout(start, REST_S * 1_000); };
  const end = () => {
    clearTimeout(soon);
    if (!video || link.matches(":hover, :focus-visible")) return;
    video.removeAttribute("src");
    video.load(); // ends the download
    video.remove();
    video = null;
  };
  link.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && rest());
  link.addEventListener("pointerleave", end);
  link.addEventListener("focus", () => link.matches(":focus-visible") && rest());
  link.addEventListener("blur", end);
}
