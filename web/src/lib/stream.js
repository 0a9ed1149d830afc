// Server-Sent Events that come back: after a restart of the broker, a cut network, or a connection that only looks
// alive. Used for every live view.

import { address, get } from './api.js';

const RETRY_FIRST = 500;
const RETRY_MAX = 8000;

/**
 * Opens the stream at `path` and calls `handlers[event](data)` for its events. `state` is told `open`, `lost`, or
 * `denied` with what the broker says. With `silence` (milliseconds) a stream that says nothing for so long is opened
 * again: only for streams with a sign of life. Returns a function that closes it for good.
 */
export function open(path, query, handlers, { state = () => {}, silence = 0, once = false } = {}) {
  let source = null;
  let retry = RETRY_FIRST;
  let timer = null;
  let watch = null;
  let closed = false;

  function connect() {
    timer = null;
    source = new EventSource(address(path, query));
    source.onopen = () => { retry = RETRY_FIRST; state('open'); alive(); };
    source.onerror = lost;
    for (const [name, handler] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        // An event named `error` without data is the browser's own.
        if (event.data === undefined) return;
        alive();
        handler(JSON.parse(event.data));
      });
    }
    // The broker ends a stream with a reason; some have an end by themselves.
    source.addEventListener('end', () => { if (once) close(); else lost(); });
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

  // EventSource does not tell why it was refused: a request does.
  async function again() {
    try {
      await get('session');
    } catch (problem) {
      if (closed) return;
      timer = null;
      if (problem.status === 401) return;
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
