import { ask } from "./ask.js";
import { grid } from "./cards.js";
import { paged } from "./library.js";
import { make, theirs } from "./make.js";

const PAGE = 24;
/** The service ranks so far. */
const OFFSET_MAX = 1_000;
/** Files that were searched by, as long as the page is open: Back leads to them too. */
const files = [];

/** Where the answer to a file is shown. */
export function placeOfFile(file) {
  files.push(file);
  return `#/search?file=${files.length}`;
}

/** What is like some words, or like a file that is not in the library. */
export function search(root, { query, signal }) {
  const words = query.get("q")?.trim() ?? "";
  const file = files[Number(query.get("file")) - 1];
  if (!words && !file) {
    const lost = query.has("file") ? "The file is not at hand any more: choose or drop it again." : "What are you looking for?";
    root.append(make("h1", { class: "unseen" }, "Search"), make("p", { class: "empty" }, lost));
    return;
  }
  const head = make("h1", {}, file ? "Like " : "", theirs("q", file ? file.name : words));
  const summary = make("p", { class: "quiet", role: "status" }, file ? "Looking at the file…" : "Looking…");
  const list = grid("What was found, the best first");
  root.append(head, summary, list);
  paged(root, list, signal, async (offset) => {
    const page = await (file ? byFile(file, offset ?? 0, signal) : byWords(words, offset ?? 0, signal));
    const next = page.next_offset !== null && page.next_offset <= OFFSET_MAX ? page.next_offset : null;
    return { rows: page.hits, next };
  }, nothingFound, (rows) => {
    summary.textContent = rows.length ? "The best first. A score is the sum of what each modality says; a whole bar is 1." : "";
  });
}

function byWords(text, offset, signal) {
  return ask("POST", "/v1/search", { json: { text, k: PAGE, offset, explain: true }, signal });
}

function byFile(file, offset, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries({ k: PAGE, offset, explain: true })) form.append(name, value);
  form.append("file", file);
  return ask("POST", "/v1/search/file", { form, signal });
}

function nothingFound() {
  return make("p", { class: "empty" }, "Nothing here is like that.");
}
