// Topic Names and Topic Filters, by the rules of MQTT 5.0 section 4.7.

/** Whether `topic` matches `filter`; wildcards at the start do not match topics that begin with `$`. */
export const matches = (filter, topic) => matcher(filter)(topic);

/** The same as a predicate, for many topics. */
export function matcher(filter) {
  const wanted = filter.split('/');
  const wild = wanted[0] === '+' || wanted[0] === '#';
  return (topic) => {
    if (wild && topic.startsWith('$')) return false;
    const levels = topic.split('/');
    for (let at = 0; at < wanted.length; at += 1) {
      if (wanted[at] === '#') return true;
      if (at >= levels.length) return false;
      if (wanted[at] !== '+' && wanted[at] !== levels[at]) return false;
    }
    return wanted.length === levels.length;
  };
}

/** Why `filter` is no Topic Filter, or null. */
export function filterFault(filter) {
  if (filter === '') return 'A topic filter has at least one character.';
  if (filter.includes('\0')) return 'A topic filter holds no U+0000.';
  const levels = filter.split('/');
  for (const [at, level] of levels.entries()) {
    if (level.includes('#') && (level !== '#' || at !== levels.length - 1)) {
      return '“#” stands alone, and only as the last level.';
    }
    if (level.includes('+') && level !== '+') return '“+” fills a level alone.';
  }
  return null;
}

/** Why `topic` cannot be published to, or null. */
export function topicFault(topic) {
  if (topic === '') return 'A topic has at least one character.';
  if (/[+#]/.test(topic)) return 'A topic to publish to holds no “+” and no “#”.';
  return topic.includes('\0') ? 'A topic holds no U+0000.' : null;
}

/**
 * What somebody means who types `text` into a search box: a Topic Filter if it has wildcards, else every topic that
 * contains it, whatever the case. Returns a predicate on topics.
 */
export function search(text) {
  const wanted = text.trim();
  if (wanted === '') return () => true;
  if (/[+#]/.test(wanted)) {
    if (filterFault(wanted) !== null) return () => false;
    return matcher(wanted);
  }
  const folded = wanted.toLowerCase();
  return (topic) => topic.toLowerCase().includes(folded);
}
