// @ts-check
/** A stream of the router's: it says that something is otherwise now, and what is shown is read anew. */

const AGAIN = 1000; // milliseconds until a stream that was refused is asked for again

/**
 * Do it, one at a time: who asks meanwhile has it done once more, and gets nothing old.
 * @param {() => Promise<void>} work
 */
export function oneAtATime(work) {
  let isBusy = false;
  let isWanted = false;
  return async () => {
    isWanted = true;
    if (isBusy) return;
    isBusy = true;
    while (isWanted) {
      isWanted = false;
      await work();
    }
    isBusy = false;
  };
}

/**
 * Follow it while the page is in sight; browsers allow few connections to one host.
 * @param {string} path
 * @param {{ onChange: () => void, onLive: (isLive: boolean) => void }} tell `onChange` also after each
 *   interruption: something may have been missed
 * @returns {() => void} what ends it
 */
export function follow(path, { onChange, onLive }) {
  /** @type {EventSource | null} */
  let source = null;
  let timer = 0;
  const close = () => {
    window.clearTimeout(timer);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    source = new EventSource(path);
    source.addEventListener("ready", () => {
      onLive(true);
      onChange();
    });
    for (const name of ["session", "tenant", "reset"]) source.addEventListener(name, onChange);
    source.onerror = () => {
      onLive(false);
      onChange(); // what the router says by now tells why
      // An answer that is no stream is the end of it for a browser, not for us.
      if (source?.readyState === EventSource.CLOSED) timer = window.setTimeout(open, AGAIN);
    };
  };
  const look = () => {
    if (document.hidden) return close();
    if (source === null) return open();
    onChange();
  };
  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    document.removeEventListener("visibilitychange", look);
    close();
  };
}
