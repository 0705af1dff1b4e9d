// @ts-check
/** The demo business, in two minutes. */
import { show } from "../lib/frame.js";
import { html } from "../lib/render.js";
import { t } from "../lib/words.js";

function Page() {
  return html`<main class="stage" id="main">
    <div class="head"><div><h1>${t("try.title")}</h1><p>${t("try.about")}</p></div></div>
  </main>`;
}

show(Page, { title: "try.title" });
