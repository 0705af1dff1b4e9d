// @ts-check
/** The story of the last message: what became of it step by step, with times, and why it ended. */
import { useEffect, useState } from "../vendor/hooks.mjs";
import { call } from "../lib/calls.js";
import { Icon } from "../lib/icons.js";
import { html } from "../lib/render.js";
import { has, seconds, t, time } from "../lib/words.js";

/** @typedef {{ wa_id: string, author: string, text: string, at: number }} Message `at`: in seconds */
/** @typedef {{ name: string, mark: string, seconds: number | null, reason: string | null,
 *   error: string | null }} Step */
/** @typedef {{ transcript: Message[], steps: Step[], turn: number | null, attempt: number | null,
 *   handler: string | null, waits_for: string | null, seconds: number | null, is_paused: boolean,
 *   is_called: boolean, pause_ends_at: string | null, llm_is_played: boolean, at: number }} Shown `at`: when it was read, by
 *   performance.now() */

const TICK = 100; // milliseconds
const HALF = 2; // seconds in which half of the bar is full: nobody knows how long it takes
/** @type {Record<string, any>} */
const ICONS = {
  received: "in", judged: "scale", waited: "clock", began: "ai", writes: "ai", human: "phone",
  fence: "fence", sent: "send", ended: "alert",
};

/** @param {Shown} shown @returns {Step | undefined} */
export function stepNow(shown) {
  return shown.steps.find((step) => step.mark === "now");
}

/** @param {Shown} shown */
export function silence(shown) {
  return shown.pause_ends_at
    ? t("try.silent_until", { time: time(shown.pause_ends_at) })
    : t("try.silent");
}

/** How many seconds the present step takes by now; it goes on by itself. @param {Shown} shown */
function useTaken(shown) {
  const isNow = stepNow(shown) !== undefined && shown.seconds !== null;
  const [, drawAgain] = useState(0);
  useEffect(() => {
    if (!isNow) return undefined;
    const timer = window.setInterval(() => drawAgain(performance.now()), TICK);
    return () => window.clearInterval(timer);
  }, [isNow]);
  if (!isNow) return null;
  const before = Math.max(0, ...shown.steps.map((step) => step.seconds ?? 0));
  return Math.max(0, (shown.seconds ?? 0) - before + (performance.now() - shown.at) / 1000);
}

/** What a step is called. @param {Step} step @param {Shown} shown */
function nameOf(step, shown) {
  const key = `step.${step.name}.${step.mark}`;
  if (!has(key)) return t(`step.${step.name}`);
  const before = shown.steps[shown.steps.indexOf(step) - 1]?.seconds ?? 0;
  return t(key, { time: seconds((step.seconds ?? 0) - before, 0) });
}

/** What is said of a step. @param {Step} step @param {Shown} shown */
function aboutOf(step, shown) {
  if (step.mark === "shut" && (step.reason || step.name !== "ended")) {
    return step.reason && has(`reason.${step.reason}`) ? t(`reason.${step.reason}`) : step.reason;
  }
  if (step.name === "sent" && step.reason === "in_doubt") return t("step.sent.found");
  if (step.name === "human" && shown.pause_ends_at) {
    return t("step.human.until", { time: time(shown.pause_ends_at) });
  }
  if (step.name === "writes" && step.mark === "now" && shown.waits_for) return t("step.writes.away");
  if (step.name === "writes" && shown.llm_is_played) return t("step.writes.played");
  return t(`step.${step.name}.about`);
}

/** @param {{ taken: number }} props */
function Bar({ taken }) {
  const full = 100 * (1 - 2 ** (-taken / HALF));
  return html`<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
    <rect class="t" width="100" height="4" rx="2" />
    <rect class="v" width=${full.toFixed(1)} height="4" rx="2" />
  </svg>`;
}

/** @param {{ step: Step, shown: Shown, taken: number | null }} props */
function StepLine({ step, shown, taken }) {
  const isNow = step.mark === "now" && taken !== null;
  return html`<li
    class=${step.mark === "human" ? "owner" : step.mark}
    aria-current=${step.mark === "now" ? "step" : undefined}
  >
    <span class="k"><${Icon} name=${ICONS[step.name]} /></span>
    <b>${nameOf(step, shown)}</b>
    ${isNow
      ? html`<time aria-hidden="true">${t("try.so_far", { time: seconds(taken, 1) })}</time>`
      : html`<time>${step.seconds === null ? "" : seconds(step.seconds)}</time>`}
    <p>${aboutOf(step, shown)}</p>
    ${step.error && html`<p class="met">${step.error}</p>`}
    ${isNow && step.name === "writes" && html`<${Bar} taken=${taken} />`}
  </li>`;
}

/** @param {{ shown: Shown, isLive: boolean, onFault: (error: unknown) => void }} props */
export function Story({ shown, isLive, onFault }) {
  const taken = useTaken(shown);
  const isOver = shown.steps.length > 0 && !stepNow(shown);
  const facts = [
    shown.turn !== null && t("try.turn", { turn: shown.turn }),
    shown.handler && t("try.handler", { handler: shown.handler === "n8n" ? "n8n" : "Python" }),
    (shown.attempt ?? 0) > 1 && t("try.attempt", { attempt: shown.attempt ?? 0 }),
  ];
  return html`<section class="story" aria-label=${t("try.story")}>
    <header>
      <h2>${isOver ? t("try.happened") : t("try.happens")}</h2>
      <span>${facts.filter(Boolean).join(" · ")}</span>
    </header>
    <div aria-live="polite">
      ${!isLive && html`<p class="dare away"><${Icon} name="alert" /><span>${t("try.away")}</span></p>`}
      ${shown.steps.length === 0
        ? html`<p class="muted">${t("try.begin")}</p>`
        : html`<ol class="steps">
            ${shown.steps.map(
              (step) =>
                html`<${StepLine} key=${step.name} step=${step} shown=${shown} taken=${taken} />`,
            )}
          </ol>`}
    </div>
    <${Dare} shown=${shown} onFault=${onFault} />
  </section>`;
}

/** @param {{ shown: Shown, onFault: (error: unknown) => void }} props */
function Dare({ shown, onFault }) {
  /** @param {string} path */
  const ask = (path) => {
    onFault(null);
    call("POST", path).catch(onFault);
  };
  if (!shown.is_paused && shown.steps.length === 0) return null;
  if (!shown.is_paused) {
    return html`<p class="dare">
      <${Icon} name="phone" /><span><b>${t("try.dare")}</b> ${t("try.dare.about")}</span>
    </p>`;
  }
  return html`<p class="dare ok">
    <${Icon} name="check" />
    <span>
      <b>${t(shown.is_called ? "try.called" : "try.held")}</b> ${silence(shown)}
      <span class="choices">
        <button class="btn quiet" type="button" onClick=${() => ask("/try/resume")}>
          ${t("try.resume")}
        </button>
        ${shown.pause_ends_at &&
        html`<button class="btn quiet" type="button" onClick=${() => ask("/try/pass-time")}>
          ${t("try.pass_time")}
        </button>`}
      </span>
    </span>
  </p>`;
}

/** Where the story stands, above the one phone that a small screen shows. @param {{ shown: Shown }} props */
export function Mini({ shown }) {
  const last = stepNow(shown) ?? shown.steps.at(-1);
  if (!last) return null;
  const place = shown.steps.indexOf(last) + 1;
  return html`<p class=${`mini ${last.mark}`} aria-hidden="true">
    <${Icon} name=${ICONS[last.name]} />
    <b>${nameOf(last, shown)}</b>
    <span>${t("try.step", { step: place, steps: shown.steps.length })}</span>
    <span class="six">
      ${shown.steps.map(
        (step) => html`<i key=${step.name} class=${step.mark === "now" ? "n" : step.mark === "todo" ? "" : "d"}></i>`,
      )}
    </span>
  </p>`;
}
