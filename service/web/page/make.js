/**
 * Make an element.
 *
 * Children that are strings become text nodes and nothing else: what a stranger wrote can never be markup. No other
 * module makes elements, and none of them uses innerHTML, which the page's policy forbids as well.
 *
 * @param attributes name -> text, true (present), or null, undefined, false (absent); `on…` wants a function
 */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key.slice("on".length), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** What strangers wrote, in whichever direction it runs, without turning around what stands beside it. */
export function theirs(name, text, attributes = {}) {
  return make(name, { dir: "auto", ...attributes }, text);
}

let fades;

/** Say something in passing, to eyes and screen readers. */
export function notice(text) {
  const place = document.getElementById("notice");
  place.textContent = text;
  clearTimeout(fades);
  fades = setTimeout(() => { place.textContent = ""; }, 6_000);
}

/** Wait, or be called off. */
export function pause(seconds, signal) {
  return new Promise((done, stop) => {
    const timer = setTimeout(done, seconds * 1_000);
    signal?.addEventListener("abort", () => { clearTimeout(timer); stop(signal.reason); }, { once: true });
  });
}
