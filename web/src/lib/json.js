// JSON in colours: a text cut into pieces that together are the text again. Pure.

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\b(?:true|false|null)\b/g;
/** Longer ones are not worth the elements. */
const LENGTH_MAX = 20_000;

/** `[kind, text]` for each piece: kind is key, text, number, word, or empty for what stands between them. */
export function pieces(text) {
  if (text.length > LENGTH_MAX) return [['', text]];
  const found = [];
  let at = 0;
  for (const match of text.matchAll(TOKEN)) {
    if (match.index > at) found.push(['', text.slice(at, match.index)]);
    const [whole, string, colon] = match;
    if (string === undefined) found.push([/[a-z]/.test(whole[0]) ? 'word' : 'number', whole]);
    else {
      found.push([colon === undefined ? 'text' : 'key', string]);
      if (colon !== undefined) found.push(['', colon]);
    }
    at = match.index + whole.length;
  }
  if (at < text.length) found.push(['', text.slice(at)]);
  return found;
}
