/** Where the page begins: who looks, which view, what is dropped on it. */

import { firstCard } from "./cards.js";
import { failures } from "./failures.js";
import { library } from "./library.js";
import { make, notice } from "./make.js";
import { problem } from "./problem.js";
import { placeOfFile, search } from "./search.js";
import { learnSession, may, signIn, signOut } from "./session.js";
import { handIn, uploads } from "./uploads.js";
import { video } from "./video.js";

const VIEWS = { "": library, search, uploads, failures };
const TITLES = { "": "firstlook", search: "Search · firstlook", uploads: "Uploads · firstlook", failures: "Failures · firstlook" };
const VIDEO = "#/video/";
const KEY = "#key=";

const header = document.getElementById("top");
const main = document.getElementById("content");
const dialog = document.getElementById("video");
const form = document.getElementById("search");
const drop = document.getElementById("drop");

/** The view under an open video: its address, and what calls off its requests. */
let base = { hash: null, name: "", leave: new AbortController() };
let leaveVideo = new AbortController();
/** How many videos were opened one from another; a history entry remembers its own. */
let depth = 0;

async function start() {
  if (!(await signedIn())) return;
  header.hidden = false;
  form.hidden = !may("search");
  for (const link of header.querySelectorAll("nav a")) {
    link.hidden = link.hash === "#/" ? !may("search", "videos") : !may("uploads", "videos");
  }
  route();
}

async function signedIn() {
  const key = takeKey();
  try {
    if (key !== null) {
      await signIn(key);
      return true;
    }
    if (await learnSession()) return true;
    askForKey();
  } catch (error) {
    askForKey(error);
  }
  return false;
}

/** A link may bring a key behind its `#`, which no server and no log ever sees; it leaves the address bar at once. */
function takeKey() {
  if (!location.hash.startsWith(KEY)) return null;
  const key = decodeURIComponent(location.hash.slice(KEY.length));
  history.replaceState(null, "", location.pathname);
  return key;
}

function askForKey(error = null) {
  base.leave.abort();
  leaveVideo.abort();
  if (dialog.open) dialog.close();
  header.hidden = true;
  document.title = "firstlook";
  const input = make("input", { name: "key", type: "password", required: true, autocomplete: "current-password", "aria-label": "Key", placeholder: "fl_…" });
  const trouble = make("div", {}, error ? problem(error) : "");
  const enter = async (event) => {
    event.preventDefault();
    try {
      await signIn(input.value.trim());
      location.reload(); // with an empty memory: nothing of somebody else's session is left
    } catch (refused) {
      trouble.replaceChildren(problem(refused));
      input.select();
    }
  };
  main.replaceChildren(make(
    "form",
    { class: "sign-in", onsubmit: enter },
    make("h1", { class: "brand" }, "firstlook"),
    make("p", {}, "Your key, please. It is asked for once."),
    make("div", { class: "line" }, input, make("button", { type: "submit" }, "Open")),
    trouble,
    make("p", { class: "quiet" }, "A key is made with ", make("code", {}, "firstlook keys create --scope search,uploads,videos")),
  ));
  input.focus();
}

// Views -------------------------------------------------------------------------------------------------------------

function route() {
  const hash = location.hash || "#/";
  const isVideo = hash.startsWith(VIDEO);
  if (history.state === null) history.replaceState({ depth: isVideo && base.hash !== null ? depth + 1 : 0 }, "");
  depth = history.state.depth;
  if (!isVideo) showBase(hash);
  else if (base.hash === null) showBase("#/");
  if (isVideo) showVideo(decodeURIComponent(hash.slice(VIDEO.length)));
  else hideVideo();
}

function showBase(hash, { anew = false } = {}) {
  if (hash === base.hash && !anew) return;
  base.leave.abort();
  const [name, query] = hash.slice("#/".length).split("?");
  const known = Object.hasOwn(VIEWS, name) ? name : "";
  base = { hash, name: known, leave: new AbortController() };
  const words = new URLSearchParams(query);
  main.replaceChildren();
  VIEWS[known](main, { query: words, signal: base.leave.signal });
  document.title = TITLES[known];
  form.words.value = words.get("q") ?? "";
  for (const link of header.querySelectorAll("nav a")) {
    if (link.hash === `#/${known}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (anew) return;
  notice("");
  scrollTo(0, 0);
}

function showVideo(videoId) {
  leaveVideo.abort();
  leaveVideo = new AbortController();
  const close = make("button", { type: "button", class: "close", "aria-label": "Close", onclick: closeVideo }, "×");
  const place = make("div", {});
  dialog.replaceChildren(close, place);
  if (dialog.open) close.focus(); // what had it is gone
  else dialog.showModal();
  dialog.scrollTo(0, 0);
  const onChanged = () => {
    showBase(base.hash, { anew: true });
    showVideo(videoId);
  };
  video(place, { videoId, signal: leaveVideo.signal, onChanged });
}

function hideVideo() {
  leaveVideo.abort();
  if (dialog.open) dialog.close();
  dialog.replaceChildren(); // what plays falls silent
}

/** Back to the view below, past all videos that were opened one from another. */
function closeVideo() {
  if (depth > 0) history.go(-depth);
  else location.hash = base.hash; // the page was opened at this video
}

addEventListener("hashchange", () => {
  if (location.hash.startsWith(KEY)) location.reload(); // a link that signs in was opened where the page is open
  else if (!header.hidden) route();
});

// What is done to it ------------------------------------------------------------------------------------------------

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const words = form.words.value.trim();
  if (words) location.hash = `#/search?${new URLSearchParams({ q: words })}`;
});
form.file.addEventListener("change", () => {
  const [file] = form.file.files;
  if (file) location.hash = placeOfFile(file);
  form.file.value = "";
});
form.words.addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown") return;
  event.preventDefault();
  firstCard()?.focus();
});

dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  closeVideo();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) closeVideo(); // beside it
});

document.getElementById("skip").addEventListener("click", () => main.focus());
document.getElementById("leave").addEventListener("click", async () => {
  await signOut().catch(() => {}); // it has ended anyway
  location.hash = "";
  location.reload();
});
document.addEventListener("signed-out", () => askForKey());
document.addEventListener("keydown", (event) => {
  const types = event.target.closest?.("input, textarea, video");
  if (event.key === "/" && !types && !dialog.open && !form.hidden) {
    event.preventDefault();
    form.words.select();
  }
  if (event.key === "Escape" && event.target === form.words) form.words.blur();
});

/** What becomes of files that are dropped now; null: nothing. */
function onDrop() {
  if (header.hidden || dialog.open) return null;
  const handsIn = { said: "Drop to hand it in", act: handIn };
  const looks = { said: "Drop to see what is like it", act: ([file]) => { location.hash = placeOfFile(file); } };
  if (["uploads", "failures"].includes(base.name) && may("uploads")) {
    return base.name === "uploads" ? handsIn : { ...handsIn, act: (files) => { handIn(files); location.hash = "#/uploads"; } };
  }
  return may("search") ? looks : null;
}

addEventListener("dragover", (event) => {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault(); // else the browser leaves the page and opens the file
  const on = onDrop();
  event.dataTransfer.dropEffect = on ? "copy" : "none";
  drop.hidden = !on;
  drop.textContent = on?.said ?? "";
});
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) drop.hidden = true;
});
addEventListener("drop", (event) => {
  if (!event.dataTransfer?.files.length) return;
  event.preventDefault();
  drop.hidden = true;
  onDrop()?.act(event.dataTransfer.files);
});

start().catch((error) => { notice(String(error.message)); throw error; });
