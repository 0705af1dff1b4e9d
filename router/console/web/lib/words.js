// @ts-check
/** The words of the reader's language: one file each, with the same keys. */

/** @typedef {"pt-BR" | "en" | "es"} Language */

/** @type {ReadonlyArray<readonly [Language, string]>} */
export const LANGUAGES = [
  ["en", "English"],
  ["pt-BR", "Português"],
  ["es", "Español"],
];
const KEPT = "hybridflow.language";

/** @type {Record<string, string>} */
let words = {};
/** @type {Language} */
let language = "en";

/** The language that is shown. */
export function shown() {
  return language;
}

/**
 * The language to show: the one that was chosen, else the first of the browser's that there is.
 * @param {string | null} chosen
 * @param {ReadonlyArray<string>} preferred
 * @returns {Language}
 */
export function bestOf(chosen, preferred) {
  for (const wanted of [chosen ?? "", ...preferred]) {
    const found = LANGUAGES.find(
      ([code]) => code.toLowerCase().split("-")[0] === wanted.toLowerCase().split("-")[0],
    );
    if (found) return found[0];
  }
  return "en";
}

/**
 * Load the words of a language, that of the browser unless one is chosen.
 * @param {Language} [chosen]
 */
export async function speak(chosen) {
  if (chosen) localStorage.setItem(KEPT, chosen);
  language = chosen ?? bestOf(localStorage.getItem(KEPT), navigator.languages);
  const answer = await fetch(`/console/assets/words/${language}.json`);
  words = await answer.json();
  document.documentElement.lang = language;
}

/**
 * The words for a key, with `{name}` replaced.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const text = words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** @param {string} key */
export function has(key) {
  return key in words;
}

/** How the reader's country writes times and numbers, in the language that is shown. */
function locale() {
  const ours = language.split("-")[0];
  return navigator.languages.find((each) => each.split("-")[0] === ours) ?? language;
}

/** @param {string | number | Date} moment */
export function time(moment) {
  return new Intl.DateTimeFormat(locale(), { hour: "numeric", minute: "2-digit" }).format(
    new Date(moment),
  );
}

/** @param {number} value of seconds @param {number} [digits] behind the point, where it is short */
export function seconds(value, digits = 2) {
  const shown = value < 10 ? digits : 0;
  const form = { minimumFractionDigits: shown, maximumFractionDigits: shown };
  return t("unit.seconds", { seconds: new Intl.NumberFormat(locale(), form).format(value) });
}
