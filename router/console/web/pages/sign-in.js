// @ts-check
/** Sign in with a key of the API, see who one is, sign out. */
import { useEffect, useState } from "../vendor/hooks.mjs";
import { call, CallFailed } from "../lib/calls.js";
import { show } from "../lib/frame.js";
import { html } from "../lib/render.js";
import { t } from "../lib/words.js";

/** @typedef {{ kind: string, name: string, role: string | null,
 *   roles: { tenant_id: number, instance_name: string, role: string }[] }} Me */

// Whether to ask who one is: the cookie itself is out of reach, and to ask in vain is an error.
const MAY_BE = "hybridflow.signed_in";

const SHOWN_BY = ".venv/bin/python -m scripts.serve --show-secrets";

/** @param {unknown} error */
function isUnknown(error) {
  return error instanceof CallFailed && error.status === 401;
}

/** @param {unknown} error */
function told(error) {
  if (isUnknown(error)) return t("signin.unknown");
  if (error instanceof CallFailed && error.status !== 0) return error.message;
  return t("error.no_answer");
}

/** @param {{ onSignedIn: (me: Me) => void }} props */
function Form({ onSignedIn }) {
  const [fault, setFault] = useState(/** @type {unknown} */ (null));
  const [isBusy, setBusy] = useState(false);
  /** @param {any} event */
  const submit = async (event) => {
    event.preventDefault();
    const field = event.currentTarget.elements.key;
    setBusy(true);
    setFault(null);
    try {
      const me = await call("POST", "/api/session", { headers: { "X-API-Key": field.value.trim() } });
      field.value = "";
      localStorage.setItem(MAY_BE, "1");
      onSignedIn(me);
    } catch (error) {
      setFault(error);
    }
    setBusy(false);
  };
  return html`<form class="sign" onSubmit=${submit}>
    <input type="text" autocomplete="username" value="HybridFlow" hidden readonly />
    <label for="key">${t("signin.key")}</label>
    <input
      id="key"
      name="key"
      type="password"
      autocomplete="current-password"
      placeholder="hfk_"
      required
      aria-describedby="key-about key-fault"
    />
    <button class="btn pri" disabled=${isBusy}>${t("signin.button")}</button>
    <p id="key-about">${t("signin.about")}</p>
    <p>${t("signin.where")} <code>${SHOWN_BY}</code></p>
    <p id="key-fault" class="fault" role="alert">${fault && told(fault)}</p>
  </form>`;
}

/** @param {{ me: Me, onSignedOut: () => void }} props */
function Who({ me, onSignedOut }) {
  const [fault, setFault] = useState(/** @type {unknown} */ (null));
  const signOut = async () => {
    setFault(null);
    try {
      await call("DELETE", "/api/session");
    } catch (error) {
      if (!isUnknown(error)) return setFault(error); // the cookie is still there
    }
    localStorage.removeItem(MAY_BE);
    onSignedOut();
  };
  return html`<div class="sign">
    <p><b>${me.name}</b></p>
    ${me.role
      ? html`<p>${t("me.everywhere", { role: t(`role.${me.role}`) })}</p>`
      : html`<ul class="roles">
          ${me.roles.map(
            (each) =>
              html`<li key=${each.tenant_id}>${each.instance_name}: ${t(`role.${each.role}`)}</li>`,
          )}
        </ul>`}
    <button class="btn" type="button" onClick=${signOut}>${t("me.sign_out")}</button>
    <p class="fault" role="alert">${fault && told(fault)}</p>
  </div>`;
}

function Page() {
  /** @type {[Me | null | undefined, (me: Me | null) => void]} */
  const [me, setMe] = useState(/** @type {any} */ (undefined));
  const [fault, setFault] = useState(/** @type {unknown} */ (null));
  useEffect(() => {
    if (!localStorage.getItem(MAY_BE)) return setMe(null);
    call("GET", "/api/me").then(setMe, (error) => {
      if (!isUnknown(error)) return setFault(error); // one may be signed in all the same
      localStorage.removeItem(MAY_BE);
      setMe(null);
    });
  }, []);
  return html`<main class="narrow" id="main">
    <h1>${me ? t("me.title") : t("signin.title")}</h1>
    ${fault && html`<p class="fault" role="alert">${fault && told(fault)}</p>`}
    ${me === null && html`<${Form} onSignedIn=${setMe} />`}
    ${me && html`<${Who} me=${me} onSignedOut=${() => setMe(null)} />`}
  </main>`;
}

show(Page, { title: "signin.title" });
