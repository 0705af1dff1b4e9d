// @ts-check
/** Light or dark: the system's, unless one is chosen. */

/** @typedef {"system" | "light" | "dark"} Look */

const KEPT = "hybridflow.look";

/** @returns {Look} */
export function look() {
  const kept = localStorage.getItem(KEPT);
  return kept === "light" || kept === "dark" ? kept : "system";
}

/** @param {Look} chosen */
export function wear(chosen) {
  if (chosen === "system") {
    localStorage.removeItem(KEPT);
    delete document.documentElement.dataset.theme;
    return;
  }
  localStorage.setItem(KEPT, chosen);
  document.documentElement.dataset.theme = chosen;
}

wear(look());
