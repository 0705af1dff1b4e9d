// @ts-check
/** The demo business: both phones, between them the story of the last message, and what breaks. */
import { useEffect, useLayoutEffect, useRef, useState } from "../vendor/hooks.mjs";
import { call, CallFailed } from "../lib/calls.js";
import { show } from "../lib/frame.js";
import { Icon } from "../lib/icons.js";
import { html } from "../lib/render.js";
import { follow, oneAtATime } from "../lib/stream.js";
import { t, time } from "../lib/words.js";
import { Mini, silence, stepNow, Story } from "./try-story.js";

/** @typedef {import("./try-story.js").Shown} Shown */
/** @typedef {import("./try-story.js").Message} Message */
/** @typedef {{ text: string, from: number }} Going `from`: how many messages stood there before */

const BREAKS = [
  ["kill", "/try/kill"],
  ["lose_answer", "/try/break/lose_answer"],
  ["twice", "/try/break/twice"],
  ["llm_away", "/try/break/llm_away"],
];
const TYPED =
  ".venv/bin/python -m scripts.tenant add my-instance --server https://evolution.example --key EVOLUTION_KEY \\\n" +
  '    --prompt "You answer for Loja Sol. Be brief and friendly."\n' +
  ".venv/bin/python -m scripts.tenant connect my-instance --url https://where-evolution-reaches-the-router";
/** What the last line of a log is. @param {Shown} shown @param {Going[]} going @param {boolean} isMore whether one follows */
function lastOf(shown, going, isMore) {
  return `${shown.transcript.at(-1)?.wa_id} ${shown.transcript.length} ${going.length} ${isMore}`;
}

/** What could be written next. @param {Shown} shown @param {Going[]} going @param {string[]} keys */
function unsaid(shown, going, keys) {
  const said = new Set([...shown.transcript, ...going].map((each) => each.text));
  return keys.map((key) => t(key)).filter((text) => !said.has(text));
}

/** Whether there is a real business: this page then leads elsewhere, once the demo's router has gone. */
async function isOver() {
  try {
    return (await fetch("/try", { redirect: "manual" })).type === "opaqueredirect";
  } catch {
    return false;
  }
}

/** Look whenever the stream says so. @returns {[Shown | null, boolean]} what, and whether it is live */
function useDemo() {
  const [shown, setShown] = useState(/** @type {Shown | null} */ (null));
  const [isLive, setLive] = useState(true);
  useEffect(() => {
    const look = oneAtATime(async () => {
      try {
        setShown({ ...(await call("GET", "/try/state")), at: performance.now() });
      } catch (error) {
        if (error instanceof CallFailed && error.status === 404 && (await isOver())) location.replace("/");
      }
    });
    return follow("/try/stream", { onChange: look, onLive: setLive });
  }, []);
  return [shown, isLive];
}

const NEAR = 40; // pixels: so near its end a log goes on with what is written

/** @param {{ label: string, last: string, children: any }} props `last` is otherwise with each line */
function Chat({ label, last, children }) {
  const log = useRef(/** @type {any} */ (null));
  const end = useRef(0); // how far down it could be scrolled when it was last looked at
  const goOn = () => {
    const { scrollTop, clientHeight, scrollHeight } = log.current;
    if (!clientHeight) return; // not in sight
    if (end.current - scrollTop < NEAR) log.current.scrollTop = scrollHeight;
    end.current = scrollHeight - clientHeight;
  };
  useLayoutEffect(goOn, [last]);
  useEffect(() => {
    const seen = new ResizeObserver(goOn); // a small screen shows one phone, and then the other
    seen.observe(log.current);
    return () => seen.disconnect();
  }, []);
  return html`<div class="chat" role="log" tabindex="0" aria-label=${label} ref=${log}>
    <ol>${children}</ol>
  </div>`;
}

/** When it was written, and that it has arrived: what is no phone's is not shown. @param {{ message: Message, isOut: boolean }} props */
function Foot({ message, isOut }) {
  return html`<small>
    ${time(message.at * 1000)}
    ${isOut && html`<${Icon} name="checks" size="xs" /><span class="vh">${t("try.arrived")}</span>`}
  </small>`;
}

/**
 * What was sent and is not on the phone yet: it is shown at once, so that nobody sends it again.
 * @param {Going[]} sent @param {Message[]} transcript @param {string} author
 */
function stillGoing(sent, transcript, author) {
  /** @type {Set<Message>} */
  const found = new Set();
  return sent.filter(({ text, from }) => {
    const it = transcript.find(
      (each, place) => place >= from && each.author === author && each.text === text && !found.has(each),
    );
    if (it) found.add(it);
    return !it;
  });
}

/**
 * What one of them sends. Who is told that it failed has it back.
 * @param {string} who @param {Shown} shown @param {(error: unknown) => void} onFault
 * @returns {[Going[], (text: string) => Promise<boolean>]}
 */
function useSends(who, shown, onFault) {
  const [sent, setSent] = useState(/** @type {Going[]} */ ([]));
  const going = stillGoing(sent, shown.transcript, who);
  /** @param {string} text */
  const send = async (text) => {
    const it = { text, from: shown.transcript.length };
    onFault(null);
    setSent((those) => [...those, it]);
    try {
      await call("POST", `/try/${who}?text=${encodeURIComponent(text)}`);
      return true;
    } catch (error) {
      setSent((those) => those.filter((each) => each !== it));
      onFault(error);
      return false;
    }
  };
  return [going, send];
}

/** @param {{ going: Going[] }} props */
function OnTheirWay({ going }) {
  return going.map(
    ({ text }, place) => html`<li key=${`going ${place}`} class="bub out going">
      ${text}<small><${Icon} name="clock" size="xs" /><span class="vh">${t("try.going")}</span></small>
    </li>`,
  );
}

/** @param {{ who: string, hints: string[], send: (text: string) => Promise<boolean> }} props */
function Write({ who, hints, send }) {
  const [text, setText] = useState("");
  /** @param {any} event */
  const submit = async (event) => {
    event.preventDefault();
    const said = text.trim();
    if (!said) return;
    setText("");
    if (!(await send(said))) setText((draft) => draft || said);
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

/** Whether the AI makes a reply now: while it is away, nobody does. @param {Shown} shown */
function isWriting(shown) {
  return stepNow(shown)?.name === "writes" && !shown.waits_for;
}

/** @param {unknown} error */
function told(error) {
  return error instanceof CallFailed && error.message ? error.message : t("error.no_answer");
}

/** @param {{ shown: Shown, onFault: (error: unknown) => void }} props */
function CustomersPhone({ shown, onFault }) {
  const isTyping = isWriting(shown);
  const [going, send] = useSends("customer", shown, onFault);
  return html`<section class="phone cust" aria-label=${t("try.phone.customer")}>
    <div class="glass">
      <header>
        <span class="av s" aria-hidden="true">PA</span>
        <div><h2>Padaria Aurora</h2><p>${t("try.business")}</p></div>
        <span class="pill plain whose"><${Icon} name="user" size="xs" />${t("try.customer")}</span>
      </header>
      <${Chat} label=${t("try.log.customer")} last=${lastOf(shown, going, isTyping)}>
        ${shown.transcript.map(
          (each) =>
            html`<li key=${each.wa_id} class=${each.author === "customer" ? "bub out" : "bub"}>
              ${each.text}<${Foot} message=${each} isOut=${each.author === "customer"} />
            </li>`,
        )}
        <${OnTheirWay} going=${going} />
        ${isTyping &&
        html`<li class="bub" key="typing">
          <span class="vh">${t("try.typing")}</span>
          <span class="typing" aria-hidden="true"><i></i><i></i><i></i></span>
        </li>`}
      <//>
      <${Write}
        who="customer"
        hints=${unsaid(shown, going, ["try.hint.open", "try.hint.milk", "try.hint.deliver", "try.hint.person"])}
        send=${send}
      />
    </div>
  </section>`;
}

/** @type {Record<string, [string, string]>} */
const SIDES = { api: ["bub out ai", "ai"], owner: ["bub out own", "phone"] };

/** @param {{ shown: Shown, onFault: (error: unknown) => void }} props */
function OwnersPhone({ shown, onFault }) {
  const [going, send] = useSends("owner", shown, onFault);
  /** @param {Message} each */
  const bubble = (each) => {
    const [kind, icon] = SIDES[each.author] ?? ["bub", ""];
    return html`<li key=${each.wa_id} class=${kind}>
      ${icon &&
      html`<span class="tag">
        <${Icon} name=${icon} size="xs" />${icon === "ai" ? t("try.ai") : "Ana"}
      </span>`}
      ${each.text}<${Foot} message=${each} isOut=${icon !== ""} />
    </li>`;
  };
  return html`<section class="phone shop" aria-label=${t("try.phone.owner")}>
    <div class="glass">
      <header>
        <span class="av s" aria-hidden="true">M</span>
        <div><h2>Marina</h2><p>+55 11 95555-0182</p></div>
        <span class="pill owner whose"><${Icon} name="phone" size="xs" />${t("try.owner")}</span>
      </header>
      <${Chat} label=${t("try.log.owner")} last=${lastOf(shown, going, shown.is_paused)}>
        ${shown.transcript.map(bubble)}
        <${OnTheirWay} going=${going} />
        ${isWriting(shown) && html`<li class="sys" key="writes">${t("try.ai_writes")}</li>`}
        ${shown.is_paused && html`<li class="sys" key="paused">${silence(shown)}</li>`}
      <//>
      <${Write} who="owner" hints=${unsaid(shown, going, ["try.hint.owner"])} send=${send} />
    </div>
  </section>`;
}

/** @param {{ shown: Shown, isLive: boolean, onFault: (error: unknown) => void }} props */
function Break({ shown, isLive, onFault }) {
  const [done, setDone] = useState("");
  /** @param {string} name @param {string} path */
  const make = async (name, path) => {
    onFault(null);
    setDone("");
    try {
      await call("POST", path);
      setDone(name);
    } catch (error) {
      onFault(error);
    }
  };
  const isWritten = shown.transcript.some((each) => each.author === "customer");
  // A router that is dead would be killed again as soon as it is back.
  const cannot = [!isWritten && "twice", !isLive && "kill"];
  const possible = BREAKS.filter(([name]) => name !== "llm_away" || shown.llm_is_played);
  return html`<div class="break">
    <b>${t("try.break")}</b>
    ${possible.map(
      ([name, path]) =>
        html`<button
          class="btn"
          type="button"
          key=${name}
          disabled=${cannot.includes(name)}
          onClick=${() => make(name, path)}
        >
          ${t(`break.${name}`)}
        </button>`,
    )}
    <p class="done" role="status">${done && t(`break.${done}.done`)}</p>
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

function Demo() {
  return html`<span class="pill plain demo">${t("try.demo")}</span>`;
}

function openConnect() {
  const place = document.getElementById("connect");
  if (place instanceof HTMLDetailsElement) place.open = true;
}

/** @param {{ shown: Shown | null }} props */
function Connect({ shown }) {
  return html`<details class="connect" id="connect">
    <summary class="link">${t("try.connect")}</summary>
    <p>${t("try.connect.about")}</p>
    <pre tabindex="0" aria-label=${t("try.connect")}>${TYPED}</pre>
    ${shown?.llm_is_played && html`<p>${t("try.connect.key")}</p>`}
  </details>`;
}

function Page() {
  const [shown, isLive] = useDemo();
  const [fault, setFault] = useState(/** @type {unknown} */ (null));
  return html`<main class="stage" id="main">
    <div class="head"><div><h1>${t("try.title")}</h1><p>${shown && !shown.llm_is_played ? t("try.about_real") : t("try.about")}</p></div>
      <a class="btn pri" href="#connect" onClick=${openConnect}>${t("try.connect")}</a></div>
    <p class="fault" role="alert">${fault && told(fault)}</p>
    ${shown &&
    html`<${Which} />
      <${Mini} shown=${shown} />
      <div class="three">
        <${CustomersPhone} shown=${shown} onFault=${setFault} />
        <${Story} shown=${shown} isLive=${isLive} onFault=${setFault} />
        <${OwnersPhone} shown=${shown} onFault=${setFault} />
      </div>
      <${Break} shown=${shown} isLive=${isLive} onFault=${setFault} />`}
    <${Connect} shown=${shown} />
  </main>`;
}

show(Page, { title: "try.title", beside: Demo });
