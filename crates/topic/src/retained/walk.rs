//! How a filter moves through topics in order: what one topic says about where the next match can be.

use super::order::Key;

/// What comparing a filter with a topic tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// The topic matches.
    Match,
    /// The topic matches, and so do all after it up to the key, or to the last.
    MatchUntil(Option<Key<'a>>),
    /// No match; the next topic may be one.
    Next,
    /// No match here nor below the key, which is above the topic.
    Seek(Key<'a>),
    /// No match here nor above.
    End,
}

/// The first key that starts with `$`.
const DOLLAR: Key<'static> = Key::of_bytes(b"$");

/// The first key above those.
const AFTER_DOLLAR: Key<'static> = Key::of_bytes(b"%");

/// Compares level by level (5.0 section 4.7) and finds the nearest key above the topic that can match.
pub(super) fn judge<'a>(filter: &'a [u8], topic: &'a [u8]) -> Verdict<'a> {
    // 5.0 [MQTT-4.7.2-1]
    if topic.first() == Some(&b'$') && starts_with_wildcard(filter) {
        return Verdict::Seek(AFTER_DOLLAR);
    }
    // The end of the topic's level that the last `+` stood for.
    let mut plus_end = None;
    let (mut in_filter, mut in_topic) = (0, 0);
    loop {
        let topic_over = in_topic > topic.len();
        if in_filter > filter.len() {
            return if topic_over { Verdict::Match } else { after_plus(topic, plus_end) };
        }
        let wanted = level(filter, in_filter);
        if wanted == b"#" && in_filter + 1 == filter.len() {
            return all_below(topic, in_topic);
        }
        if topic_over {
            return match wanted {
                b"+" => Verdict::Next,
                _ => Verdict::Seek(with_literals(filter, in_filter, topic, in_topic)),
            };
        }
        let given = level(topic, in_topic);
        if wanted == b"+" {
            plus_end = Some(in_topic + given.len());
        } else if given < wanted {
            return Verdict::Seek(with_literals(filter, in_filter, topic, in_topic));
        } else if given > wanted {
            return after_plus(topic, plus_end);
        }
        in_filter += wanted.len() + 1;
        in_topic += given.len() + 1;
    }
}

/// The levels before the first wildcard: no match is below them.
pub(super) fn literal_front(filter: &[u8]) -> &[u8] {
    if starts_with_wildcard(filter) { b"" } else { &filter[..literals_end(filter, 0)] }
}

fn starts_with_wildcard(filter: &[u8]) -> bool {
    matches!(level(filter, 0), b"+" | b"#")
}

/// A `#` stands here: the front of the topic with all its subtree matches.
fn all_below(topic: &[u8], in_topic: usize) -> Verdict<'_> {
    match in_topic.checked_sub(1) {
        Some(end) => Verdict::MatchUntil(Some(Key::after_subtree(&topic[..end]))),
        // The whole set, but not what starts with `$`.
        None if DOLLAR.compare(topic).is_gt() => Verdict::MatchUntil(Some(DOLLAR)),
        None => Verdict::MatchUntil(None),
    }
}

/// The levels after the last `+` cannot be met any more: the next value for it.
fn after_plus(topic: &[u8], plus_end: Option<usize>) -> Verdict<'_> {
    plus_end.map_or(Verdict::End, |end| Verdict::Seek(Key::after_subtree(&topic[..end])))
}

/// The topic's levels before `in_topic`, then the filter's from `in_filter` on up to its next wildcard.
fn with_literals<'a>(filter: &'a [u8], in_filter: usize, topic: &'a [u8], in_topic: usize) -> Key<'a> {
    let end = literals_end(filter, in_filter);
    // Both starts are behind a slash or both are 0; the slash comes from the filter.
    let (head, tail) = (in_topic.saturating_sub(1), in_filter.saturating_sub(1));
    Key::joined(&topic[..head], &filter[tail..end])
}

/// Where the literal levels that begin at `from` end.
fn literals_end(filter: &[u8], from: usize) -> usize {
    let mut end = from + level(filter, from).len();
    while end < filter.len() && !matches!(level(filter, end + 1), b"+" | b"#") {
        end += 1 + level(filter, end + 1).len();
    }
    end
}

fn level(path: &[u8], from: usize) -> &[u8] {
    let rest = &path[from..];
    &rest[..memchr::memchr(b'/', rest).unwrap_or(rest.len())]
}
