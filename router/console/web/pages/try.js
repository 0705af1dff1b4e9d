// @ts-check
/** The demo business: both phones, between them the story of the last message, and what breaks. */
import { useEffect, useLayoutEffect, useRef, useState } from "../vendor/hooks.mjs";
import { call, CallFailed } from "../lib/calls.js";
import { show } from "../lib/frame.js";
import { Icon } from "../lib/icons.js";
import { html } from "../lib/render.js";
import { has, seconds, t, time } from "../lib/words.js";

/** @typedef {{ wa_id: string, author: string, text: string }} Message */
/** @typedef {{ name: string, mark: string, seconds: number | null, reason: string | null }} Step */
/** @typedef {{ transcript: Message[], steps: Step[], turn: number | null, attempt: number | null,
 *   handler: string | null, is_paused: boolean, pause_ends_at: string | null,
 *   llm_is_played: boolean }} Shown */

const BETWEEN_LOOKS = 400; // milliseconds
const ICONS = {
  received: "in", judged: "scale", waited: "clock", writes: "ai", human: "phone", fence: "fence",
  sent: "send",
};
const BREAKS = [
  ["kill", "/try/kill"],
  ["lose_answer", "/try/break/lose_answer"],
  ["twice", "/try/break/twice"],
  ["llm_away", "/try/break/llm_away"],
];
const TYPED =
  ".venv/bin/python -m scripts.tenant add my-instance --server https://evolution.example --key KEY\n" +
  ".venv/bin/python -m scripts.tenant connect my-instance --url https://where-evolution-reaches-the-router";
/** When this page first saw a message: the phones themselves tell no time. */
const seen = new Map();

/** @param {Message} message */
function seenAt(message) {
  if (!seen.has(message.wa_id)) seen.set(message.wa_id, Date.now());
  return time(seen.get(message.wa_id));
}

/** What could be written next. @param {Shown} shown @param {string[]} keys */
function unsaid(shown, keys) {
  const said = new Set(shown.transcript.map((each) => each.text));
  return keys.map((key) => t(key)).filter((text) => !said.has(text));
}

/** @param {Shown} shown @returns {Step | undefined} */
function stepNow(shown) {
  return shown.steps.find((step) => step.mark === "now");
}

/** Keep looking while the page is in sight. @returns {[Shown | null, boolean]} what, and whether it is live */
function useDemo() {
  const [shown, setShown] = useState(/** @type {Shown | null} */ (null));
  const [isLive, setLive] = useState(true);
  useEffect(() => {
    let timer = 0;
    let isOver = false;
    const look = async () => {
      if (!document.hidden) {
        try {
          setShown(await call("GET", "/try/state"));
          setLive(true);
        } catch {
          setLive(false);
        }
      }
      if (!isOver) timer = window.setTimeout(look, BETWEEN_LOOKS);
    };
    look();
    return () => {
      isOver = true;
      window.clearTimeout(timer);
    };
  }, []);
  return [shown, isLive];
}

/** @param {{ label: string, count: number, children: any }} props */
function Chat({ label, count, children }) {
  const log = useRef(/** @type {any} */ (null));
  useLayoutEffect(() => {
    if (log.current) log.current.scrollTop = log.current.scrollHeight;
  }, [count]);
  return html`<div class="chat" role="log" tabindex="0" aria-label=${label} ref=${log}><ol>${children}</ol></div>`;
}

/** @param {{ who: string, hints: string[], onFault: (text: string) => void }} props */
function Write({ who, hints, onFault }) {
  const [text, setText] = useState("");
  /** @param {string} said */
  const send = async (said) => {
    onFault("");
    try {
      await call("POST", `/try/${who}?text=${encodeURIComponent(said)}`);
      setText("");
    } catch (error) {
      onFault(told(error));
    }
  };
  /** @param {any} event */
  const submit = (event) => {
    event.preventDefault();
    if (text.trim()) send(text.trim());
  };
  return html`
    <div class="sugg">
      ${hints.slice(0, 2).map(
        (hint) => html`<button type="button" key=${hint} onClick=${() => send(hint)}>${hint}</button>`,
      )}
    </div>
    <form class="write" onSubmit=${submit}>
      <input
        aria-label=${t(`try.write.${who}`)}
        placeholder=${t(`try.write.${who}`)}
        maxlength="1000"
        autocomplete="off"
        value=${text}
        onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)}
      />
      <button class="btn pri" aria-label=${t(`try.send.${who}`)}><${Icon} name="send" /></button>
    </form>
  `;
}

/** @param {unknown} error */
function told(error) {
  return error instanceof CallFailed && error.message ? error.message : t("error.no_answer");
}

/** @param {{ shown: Shown, onFault: (text: string) => void }} props */
function CustomersPhone({ shown, onFault }) {
  const isTyping = shown.steps.some((step) => step.name === "writes" && step.mark === "now");
  return html`<section class="phone cust" aria-label=${t("try.phone.customer")}>
    <div class="glass">
      <header>
        <span class="av s" aria-hidden="true">PA</span>
        <div><h2>Padaria Aurora</h2><p>${t("try.business")}</p></div>
        <span class="pill plain whose"><${Icon} name="user" size="xs" />${t("try.customer")}</span>
      </header>
      <${Chat} label=${t("try.log.customer")} count=${shown.transcript.length + Number(isTyping)}>
        ${shown.transcript.map(
          (each) =>
            html`<li key=${each.wa_id} class=${each.author === "customer" ? "bub out" : "bub"}>
              ${each.text}<small>${seenAt(each)}</small>
            </li>`,
        )}
        ${isTyping &&
        html`<li class="bub" key="typing">
          <span class="vh">${t("try.typing")}</span>
          <span class="typing" aria-hidden="true"><i></i><i></i><i></i></span>
        </li>`}
      <//>
      <${Write}
        who="customer"
        hints=${unsaid(shown, ["try.hint.open", "try.hint.milk", "try.hint.deliver", "try.hint.person"])}
        onFault=${onFault}
      />
    </div>
  </section>`;
}

/** @type {Record<string, [string, string]>} */
const SIDES = { api: ["bub out ai", "ai"], owner: ["bub out own", "phone"] };

/** @param {{ shown: Shown, onFault: (text: string) => void }} props */
function OwnersPhone({ shown, onFault }) {
  /** @param {Message} each */
  const bubble = (each) => {
    const [kind, icon] = SIDES[each.author] ?? ["bub", ""];
    return html`<li key=${each.wa_id} class=${kind}>
      ${icon &&
      html`<span class="tag">
        <${Icon} name=${icon} size="xs" />${icon === "ai" ? t("try.ai") : "Ana"}
      </span>`}
      ${each.text}<small>${seenAt(each)}</small>
    </li>`;
  };
  return html`<section class="phone shop" aria-label=${t("try.phone.owner")}>
    <div class="glass">
      <header>
        <span class="av s" aria-hidden="true">M</span>
        <div><h2>Marina</h2><p>+55 11 95555-0182</p></div>
        <span class="pill owner whose"><${Icon} name="phone" size="xs" />${t("try.owner")}</span>
      </header>
      <${Chat} label=${t("try.log.owner")} count=${shown.transcript.length + Number(shown.is_paused)}>
        ${shown.transcript.map(bubble)}
        ${stepNow(shown)?.name === "writes" && html`<li class="sys" key="writes">${t("try.ai_writes")}</li>`}
        ${shown.is_paused && html`<li class="sys" key="paused">${silence(shown)}</li>`}
      <//>
      <${Write} who="owner" hints=${unsaid(shown, ["try.hint.owner"])} onFault=${onFault} />
    </div>
  </section>`;
}

/** @param {Shown} shown */
function silence(shown) {
  return shown.pause_ends_at
    ? t("try.silent_until", { time: time(shown.pause_ends_at) })
    : t("try.silent");
}

/** @param {{ step: Step, shown: Shown }} props */
function StepLine({ step, shown }) {
  const key = step.mark === "shut" ? `step.${step.name}.shut` : `step.${step.name}`;
  const reason = step.reason && has(`reason.${step.reason}`) ? t(`reason.${step.reason}`) : step.reason;
  const about = step.mark === "shut" ? reason : t(`step.${step.name}.about`);
  return html`<li
    class=${step.mark === "human" ? "owner" : step.mark}
    aria-current=${step.mark === "now" ? "step" : undefined}
  >
    <span class="k"><${Icon} name=${/** @type {any} */ (ICONS)[step.name]} /></span>
    <b>${t(key)}</b>
    <time>${step.seconds === null ? "" : seconds(step.seconds)}</time>
    <p>${step.name === "writes" && shown.llm_is_played && step.mark !== "shut" ? t("step.writes.played") : about}</p>
  </li>`;
}

/** @param {{ shown: Shown, isLive: boolean }} props */
function Story({ shown, isLive }) {
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
      ${!isLive && html`<p class="dare"><${Icon} name="alert" /><span>${t("try.away")}</span></p>`}
      ${shown.steps.length === 0
        ? html`<p class="muted">${t("try.begin")}</p>`
        : html`<ol class="steps">
            ${shown.steps.map(
              (step) => html`<${StepLine} key=${step.name} step=${step} shown=${shown} />`,
            )}
          </ol>`}
    </div>
    <${Dare} shown=${shown} />
  </section>`;
}

/** @param {{ shown: Shown }} props */
function Dare({ shown }) {
  if (!shown.is_paused) {
    return html`<p class="dare">
      <${Icon} name="phone" /><span><b>${t("try.dare")}</b> ${t("try.dare.about")}</span>
    </p>`;
  }
  return html`<p class="dare ok">
    <${Icon} name="check" />
    <span>
      <b>${t("try.held")}</b> ${silence(shown)}
      <span class="choices">
        <button class="btn quiet" type="button" onClick=${() => call("POST", "/try/resume").catch(() => null)}>
          ${t("try.resume")}
        </button>
        ${shown.pause_ends_at &&
        html`<button class="btn quiet" type="button" onClick=${() => call("POST", "/try/pass-time").catch(() => null)}>
          ${t("try.pass_time")}
        </button>`}
      </span>
    </span>
  </p>`;
}

/** @param {{ shown: Shown, onFault: (text: string) => void }} props */
function Break({ shown, onFault }) {
  /** @param {string} path */
  const make = async (path) => {
    onFault("");
    try {
      await call("POST", path);
    } catch (error) {
      onFault(told(error));
    }
  };
  const possible = BREAKS.filter(([name]) => name !== "llm_away" || shown.llm_is_played);
  return html`<div class="break">
    <b>${t("try.break")}</b>
    ${possible.map(
      ([name, path]) =>
        html`<button class="btn" type="button" key=${name} onClick=${() => make(path)}>
          ${t(`break.${name}`)}
        </button>`,
    )}
  </div>`;
}

function Which() {
  return html`<div class="which" role="radiogroup" aria-label=${t("try.which")}>
    <input class="vh" type="radio" name="w" id="w1" checked />
    <label for="w1">${t("try.phone.customer")}</label>
    <input class="vh" type="radio" name="w" id="w2" />
    <label for="w2">${t("try.phone.owner")}</label>
  </div>`;
}

/** Where the story stands, above the one phone that a small screen shows. @param {{ shown: Shown }} props */
function Mini({ shown }) {
  const last = stepNow(shown) ?? shown.steps.at(-1);
  if (!last) return null;
  const place = shown.steps.indexOf(last) + 1;
  const name = t(last.mark === "shut" ? `step.${last.name}.shut` : `step.${last.name}`);
  return html`<p class="mini" aria-hidden="true">
    <${Icon} name=${/** @type {any} */ (ICONS)[last.name]} />
    <b>${name}</b>
    <span>${t("try.step", { step: place, steps: shown.steps.length })}</span>
    <span class="six">
      ${shown.steps.map(
        (step) => html`<i key=${step.name} class=${step.mark === "now" ? "n" : step.mark === "todo" ? "" : "d"}></i>`,
      )}
    </span>
  </p>`;
}

function Demo() {
  return html`<span class="pill plain demo">${t("try.demo")}</span>`;
}

function openConnect() {
  const place = document.getElementById("connect");
  if (place instanceof HTMLDetailsElement) place.open = true;
}

function Connect() {
  return html`<details class="connect" id="connect">
    <summary class="link">${t("try.connect")}</summary>
    <p>${t("try.connect.about")}</p>
    <pre tabindex="0" aria-label=${t("try.connect")}>${TYPED}</pre>
  </details>`;
}

function Page() {
  const [shown, isLive] = useDemo();
  const [fault, setFault] = useState("");
  return html`<main class="stage" id="main">
    <div class="head"><div><h1>${t("try.title")}</h1><p>${shown && !shown.llm_is_played ? t("try.about_real") : t("try.about")}</p></div>
      <a class="btn pri" href="#connect" onClick=${openConnect}>${t("try.connect")}</a></div>
    <p class="fault" role="alert">${fault}</p>
    ${shown &&
    html`<${Which} />
      <${Mini} shown=${shown} />
      <div class="three">
        <${CustomersPhone} shown=${shown} onFault=${setFault} />
        <${Story} shown=${shown} isLive=${isLive} />
        <${OwnersPhone} shown=${shown} onFault=${setFault} />
      </div>
      <${Break} shown=${shown} onFault=${setFault} />`}
    <${Connect} />
  </main>`;
}

show(Page, { title: "try.title", beside: Demo });
