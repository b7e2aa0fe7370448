import { ask } from "./ask.js";
import { addCards, grid } from "./cards.js";
import { make } from "./make.js";
import { attempt } from "./problem.js";
import { may } from "./session.js";

const PAGE = 48;

/** Everything public, the newest first. */
export function library(root, { signal }) {
  const list = grid("Videos, the newest first");
  root.append(make("h1", { class: "unseen" }, "Library"), list);
  if (!may("search", "videos")) {
    root.append(make("p", { class: "empty" }, "Your key is for handing in, not for looking."));
    return;
  }
  paged(root, list, signal, async (after) => {
    const query = new URLSearchParams({ limit: PAGE, ...(after ? { after } : {}) });
    const page = await ask("GET", `/v1/videos?${query}`, { signal });
    return { rows: page.videos, next: page.next_after };
  }, emptyLibrary);
}

function emptyLibrary() {
  const invitation = may("uploads") ? make("a", { href: "#/uploads" }, "Hand in the first one.") : "";
  return make("p", { class: "empty" }, "There are no videos yet. ", invitation);
}

/**
 * Fill a grid page by page, the next one when its end comes into sight.
 *
 * @param fetchPage (where the page before ended, null at first) -> {rows, next}; next is null on the last page
 */
export function paged(root, list, signal, fetchPage, whenEmpty, onFirst = () => {}) {
  const more = make("button", { type: "button", class: "more", hidden: true, onclick: () => load() }, "Show more");
  const foot = make("div", { class: "foot", "aria-busy": "true" }, more);
  root.append(foot);
  let next = null;
  let isFirst = true;
  let isLoading = false;
  const sight = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && load(), { rootMargin: "400px" });
  signal.addEventListener("abort", () => sight.disconnect());

  async function load() {
    if (isLoading) return;
    isLoading = true;
    foot.setAttribute("aria-busy", "true");
    foot.querySelector(".problem")?.remove();
    const page = await attempt(foot, signal, () => fetchPage(next), load);
    isLoading = false;
    if (signal.aborted) return;
    foot.setAttribute("aria-busy", "false");
    if (!page) return;
    addCards(list, page.rows);
    next = page.next;
    more.hidden = next === null;
    if (isFirst) onFirst(page.rows);
    isFirst = false;
    if (next === null && !list.children.length) root.append(whenEmpty());
    sight.disconnect();
    if (next !== null) sight.observe(more); // anew: an end that is still in sight is not told twice
  }

  load();
}
