// The page is the part of the address behind `#`: `#/topics?t=home%2Fkitchen`. So every page can be linked to, and the
// server needs to know of none.

function parse() {
  const [path, query = ''] = window.location.hash.replace(/^#\/?/, '').split('?');
  const segments = path.split('/').filter((segment) => segment !== '').map(decode);
  return { page: segments[0] ?? 'overview', rest: segments.slice(1), query: new URLSearchParams(query) };
}

function decode(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

export const route = $state({ at: parse() });

window.addEventListener('hashchange', () => { route.at = parse(); });

/** The address of a page: `link('clients', ['lamp'])`, `link('topics', [], { t: 'a/b' })`. */
export function link(page, rest = [], query = {}) {
  const path = [page, ...rest].map(encodeURIComponent).join('/');
  const text = new URLSearchParams(query).toString();
  return `#/${path}${text === '' ? '' : `?${text}`}`;
}

export function go(page, rest = [], query = {}) {
  window.location.hash = link(page, rest, query);
}

/** Changes the query without a step in the browser's history. */
export function replace(query) {
  const at = parse();
  const target = link(at.page, at.rest, query);
  window.history.replaceState(null, '', target);
  route.at = parse();
}
