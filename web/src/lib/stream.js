// Live data that comes back: after a restart of the broker, a cut network, or a connection that only looks alive.
// It comes over WebSocket: a browser opens only six connections for requests to one server, over all its windows, and
// streams would use them up.

import { address, get } from './api.js';

const RETRY_FIRST = 500;
const RETRY_MAX = 8000;

/**
 * Opens the stream at `path` and calls `handlers[event](data)` for its events. `state` is told `open`, `lost`, or
 * `denied` with the problem that the broker names (then it is over). With `silence` (milliseconds) a stream that says
 * nothing for so long is opened again: only for streams with a sign of life. With `once` the broker's `end` is the
 * end. Returns a function that closes it for good.
 */
export function open(path, query, handlers, { state = () => {}, silence = 0, once = false } = {}) {
  let source = null;
  let opened = false;
  let retry = RETRY_FIRST;
  let timer = null;
  let watch = null;
  let closed = false;

  function connect() {
    timer = null;
    opened = false;
    const parts = {
      open() { opened = true; retry = RETRY_FIRST; state('open'); alive(); },
      lost,
      event(name, data) {
        alive();
        handlers[name]?.(data);
        // The broker ends a stream with a reason; some have an end by themselves.
        if (name === 'end') { if (once) close(); else lost(); }
      },
    };
    source = socket(address(path, query), parts);
  }

  function alive() {
    if (silence === 0) return;
    clearTimeout(watch);
    watch = setTimeout(lost, silence);
  }

  function lost() {
    if (closed || timer !== null) return;
    clearTimeout(watch);
    source?.close();
    state('lost');
    // Some jitter, so that a hundred pages do not come back in the same instant.
    timer = setTimeout(again, retry * (0.75 + Math.random() / 2));
    retry = Math.min(retry * 1.7, RETRY_MAX);
  }

  // A WebSocket does not tell why it was refused: a request does.
  async function again() {
    try {
      if (opened) await get('session');
      else await probe(address(path, query));
    } catch (problem) {
      if (closed) return;
      timer = null;
      if (problem.status === 401) return;
      if (problem.status >= 400 && problem.status < 500 && problem.status !== 429) {
        close();
        state('denied', problem);
        return;
      }
      lost();
      return;
    }
    if (!closed) connect();
  }

  function close() {
    closed = true;
    clearTimeout(timer);
    clearTimeout(watch);
    source?.close();
  }

  connect();
  return close;
}

/** The same while the page is in sight: a hidden one has no stream, and opens it again when it is seen. */
export function openInSight(path, query, handlers, options = {}) {
  let close = null;
  const seen = () => {
    if (document.hidden) {
      close?.();
      close = null;
    } else close ??= open(path, query, handlers, options);
  };
  document.addEventListener('visibilitychange', seen);
  seen();
  return () => {
    document.removeEventListener('visibilitychange', seen);
    close?.();
  };
}

// Asks for the stream as a plain request, and gives it up as soon as it is clear whether it is granted.
async function probe(url) {
  const cut = new AbortController();
  let response;
  try {
    response = await fetch(url, { credentials: 'same-origin', signal: cut.signal });
  } catch {
    throw Object.assign(new Error('The broker does not answer.'), { status: 0 });
  }
  if (response.ok) {
    cut.abort();
    return;
  }
  const said = await response.json().catch(() => ({}));
  throw Object.assign(new Error(said.detail ?? `The broker answered ${response.status}.`), { status: response.status, code: said.code });
}

function socket(url, parts) {
  const full = new URL(url, document.baseURI);
  full.protocol = full.protocol.replace('http', 'ws');
  const source = new WebSocket(full);
  source.onopen = parts.open;
  source.onclose = parts.lost;
  source.onmessage = (frame) => {
    const { event, data } = JSON.parse(frame.data);
    parts.event(event, data);
  };
  // Closed while it is being opened, the browser would complain in the console.
  const close = () => {
    source.onmessage = source.onclose = null;
    if (source.readyState === WebSocket.CONNECTING) source.onopen = () => source.close();
    else source.close();
  };
  return { close };
}
