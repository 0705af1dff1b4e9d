// @ts-check
/** Calls of the API, with the session's cookie; what went wrong has a code and words. */

export class CallFailed extends Error {
  /**
   * @param {number} status 0: no answer came
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{ body?: unknown, headers?: Record<string, string> }} [more]
 * @returns {Promise<any>}
 */
export async function call(method, path, { body, headers = {} } = {}) {
  /** @type {Response} */
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined ? null : JSON.stringify(body),
    });
  } catch {
    throw new CallFailed(0, "no_answer", "");
  }
  if (answer.status === 204) return null;
  const said = await answer.json().catch(() => null);
  if (answer.ok) return said;
  throw new CallFailed(answer.status, said?.error?.code ?? "unexpected", said?.error?.message ?? "");
}
