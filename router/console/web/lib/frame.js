// @ts-check
/** What stands around every page: the bar on top, with the language and the look. */
import { useState } from "../vendor/hooks.mjs";
import { look, wear } from "./look.js";
import { html, render } from "./render.js";
import { LANGUAGES, shown, speak, t } from "./words.js";

function Brand() {
  return html`<a class="brand" href="/" aria-label="HybridFlow">
    <svg viewBox="0 0 22 22" aria-hidden="true">
      <path class="a" d="M10 2a9 9 0 0 0 0 18z" />
      <path class="b" d="M12 2a9 9 0 0 1 6.5 15.3L19 20h-7z" />
    </svg>
    <b>HybridFlow</b>
  </a>`;
}

/** @param {{ onLanguage: (code: any) => void }} props */
function Choices({ onLanguage }) {
  const [worn, setWorn] = useState(look());
  /** @param {any} event */
  const choose = (event) => {
    wear(event.currentTarget.value);
    setWorn(event.currentTarget.value);
  };
  return html`
    <select
      class="lang"
      aria-label=${t("frame.language")}
      value=${shown()}
      onChange=${(/** @type {any} */ event) => onLanguage(event.currentTarget.value)}
    >
      ${LANGUAGES.map(([code, name]) => html`<option value=${code}>${name}</option>`)}
    </select>
    <select class="lang" aria-label=${t("frame.look")} value=${worn} onChange=${choose}>
      ${["system", "light", "dark"].map(
        (each) => html`<option value=${each}>${t(`frame.look.${each}`)}</option>`,
      )}
    </select>
  `;
}

/** @param {{ page: any, beside?: any }} props */
function Frame({ page: Page, beside: Beside }) {
  const [, drawAgain] = useState("");
  /** @param {any} code */
  const change = async (code) => {
    await speak(code);
    drawAgain(code);
  };
  return html`
    <a class="skip" href="#main">${t("frame.skip")}</a>
    <header class="top">
      <${Brand} />
      ${Beside && html`<${Beside} />`}
      <span class="push choices"><${Choices} onLanguage=${change} /></span>
    </header>
    <${Page} />
  `;
}

/**
 * Draw a page, once its words are there.
 * @param {any} page
 * @param {{ title: string, beside?: any }} about
 */
export async function show(page, { title, beside }) {
  await speak();
  document.title = `${t(title)} · HybridFlow`;
  const place = document.getElementById("page");
  if (place) render(html`<${Frame} page=${page} beside=${beside} />`, place);
}
