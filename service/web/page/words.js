/** What the service's short words mean, for a person. Anything it may learn to say later is shown as it is. */

const REASONS = {
  box_overrun: "the file is damaged",
  broken_header: "the file is damaged at its beginning",
  broken_moov: "the file's table of contents is damaged",
  child_died: "decoding it crashed",
  child_lied: "decoding it answered nonsense",
  cpu_limit: "decoding it took too long",
  empty_file: "the file is empty",
  encrypted: "it is encrypted",
  format_not_allowed: "a format that is not taken",
  media_empty: "there is nothing in it",
  memory_limit: "decoding it took too much memory",
  moov_missing: "the file was cut off before its table of contents",
  no_frames: "there is no picture in it that could be decoded",
  no_streams: "there is neither picture nor sound in it",
  not_media: "neither a video nor a sound",
  original_gone: "its bytes are gone",
  quarantined: "it has crashed its decoder again and again",
  still_image: "a still picture, not a video",
  text_file: "text, not a video",
  too_long: "it is too long",
  too_many_bytes: "it is too large",
  too_many_frames: "it has too many frames",
  too_many_pixels: "its picture is too large",
  too_many_streams: "it has too many tracks",
  truncated_header: "the file was cut off at its beginning",
  undecodable: "it cannot be decoded",
  unknown_codec: "a codec that is not known here",
  unreadable: "it cannot be read",
  wall_limit: "decoding it took too long",
};

const ABSENT = {
  no_sound: "no sound",
  no_speech: "nobody speaks",
  no_picture: "no picture",
  no_text: "none",
  "off:model_missing": "switched off, no model is installed",
};

const PROBLEMS = {
  bad_key: "This key opens nothing.",
  bug: "Something went wrong on the side of the service.",
  busy: "The service has too much to do just now.",
  disk_full: "The service's disk is full.",
  full: "The service has too much to do just now.",
  no_row_yet: "This video is not understood yet.",
  not_found: "There is no such video.",
  too_often: "That was too often in too short a time.",
  too_slow: "That took too long.",
  too_large: "The file is too large.",
  wrong_scope: "Your key is not for this.",
};

const plain = (slug) => slug.replaceAll("_", " ");
/** A word of ours, and never what every object has, such as "constructor". */
const said = (words, slug) => (Object.hasOwn(words, slug) ? words[slug] : null);
const sentence = (words) => words && `${words[0].toUpperCase()}${words.slice(1)}.`;

export const reasonInWords = (reason) => said(REASONS, reason) ?? plain(reason);
export const absentInWords = (reason) => said(ABSENT, reason) ?? plain(reason.replace(/^(off|failed):/, "$1, "));
export const problemInWords = (kind) => said(PROBLEMS, kind) ?? sentence(said(REASONS, kind));

/** 65.4 -> "1:05" */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** How long somebody waits, in the largest unit that says enough. */
export function waitInWords(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3_600) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3_600).toFixed(1)} h`;
}

export const two = (number) => number.toFixed(2).replace("-", "−");
export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
