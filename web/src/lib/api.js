// Requests to the broker's HTTP API. Every answer that is no success becomes a `Problem`.

let csrf = null;
let onLoginRequired = () => {};

/** What went wrong with a request: `status` 0 if there was no answer at all; `position` where an expression is wrong. */
export class Problem extends Error {
  constructor(status, code, detail, position = null) {
    super(detail);
    this.status = status;
    this.code = code;
    this.position = position;
  }
}

/** The token of this login that requests which change something carry. */
export function setCsrf(token) { csrf = token; }

/** What is done when the broker says that nobody is logged in (any more). */
export function whenLoginRequired(handler) { onLoginRequired = handler; }

/** The address of `path` under the API; a list in `query` becomes repeated parameters, nothing is left out. */
export function address(path, query = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== '') parameters.append(name, String(one));
    }
  }
  const text = parameters.toString();
  return `api/v1/${path}${text === '' ? '' : `?${text}`}`;
}

/** Sends a request; resolves to the decoded answer (null for 204). */
export async function call(method, path, { query, body, signal } = {}) {
  const headers = {};
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (csrf !== null && method !== 'GET') headers['X-Csrf-Token'] = csrf;
  let response;
  try {
    response = await fetch(address(path, query), {
      method,
      headers,
      signal,
      credentials: 'same-origin',
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, 'unreachable', 'The broker does not answer.');
  }
  if (response.status === 204) return null;
  if (response.ok) return response.json();
  const problem = await asProblem(response);
  if (problem.code === 'login-required') onLoginRequired();
  throw problem;
}

async function asProblem(response) {
  try {
    const said = await response.json();
    return new Problem(response.status, said.code ?? '', said.detail ?? said.title ?? response.statusText, said.position);
  } catch {
    return new Problem(response.status, '', `The broker answered ${response.status} ${response.statusText}.`);
  }
}

export const get = (path, query, signal) => call('GET', path, { query, signal });
export const post = (path, body, query) => call('POST', path, { body, query });
export const put = (path, body) => call('PUT', path, { body });
export const remove = (path, query) => call('DELETE', path, { query });

/** One percent-encoded segment of a path. */
export const segment = encodeURIComponent;
