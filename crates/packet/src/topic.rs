//! Topic Names, Topic Filters and Shared Subscriptions: syntax and the reference matcher (3.1.1 and 5.0
//! section 4.7, 5.0 section 4.8.2).
//!
//! Levels are separated by `/`; a level may be empty. `+` stands for one level, `#` at the end for the level
//! before it and everything below.

use std::fmt;

use crate::scan;

#[cfg(test)]
mod tests;

/// The most bytes a topic may have: 3.1.1, 5.0 [MQTT-4.7.3-3].
pub const MAX_TOPIC_LEN: usize = 65_535;

/// Why a string is no Topic Name, Topic Filter or Shared Subscription.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum TopicError {
    /// No byte at all: 3.1.1, 5.0 [MQTT-4.7.3-1].
    Empty,
    /// More than 65535 bytes: 3.1.1, 5.0 [MQTT-4.7.3-3].
    TooLong,
    /// U+0000: 3.1.1, 5.0 [MQTT-4.7.3-2].
    Nul,
    /// `+` or `#` in a Topic Name: 3.1.1, 5.0 [MQTT-3.3.2-2], 5.0 [MQTT-4.7.0-1].
    WildcardInName,
    /// `#` before the end or beside other characters of its level: 3.1.1, 5.0 [MQTT-4.7.1-2] (5.0:
    /// [MQTT-4.7.1-1]).
    MultiLevelWildcard,
    /// `+` beside other characters of its level: 3.1.1 [MQTT-4.7.1-3], 5.0 [MQTT-4.7.1-2].
    SingleLevelWildcard,
    /// The ShareName is missing, empty or has a wildcard: 5.0 [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    ShareName,
    /// Nothing follows the ShareName: 5.0 [MQTT-4.8.2-2].
    ShareFilter,
}

/// Checks a Topic Name: not empty, no wildcard, no U+0000, at most 65535 bytes.
///
/// # Errors
/// The rule the name breaks.
pub fn validate_name(name: &str) -> Result<(), TopicError> {
    if name.is_empty() {
        return Err(TopicError::Empty);
    }
    if name.len() > MAX_TOPIC_LEN {
        return Err(TopicError::TooLong);
    }
    if scan::has_nul_or_wildcard(name.as_bytes()) {
        let nul = scan::has_nul(name.as_bytes());
        return Err(if nul { TopicError::Nul } else { TopicError::WildcardInName });
    }
    Ok(())
}

/// Checks a Topic Filter: as a name, but `+` may be a whole level and `#` the whole last level.
///
/// A Shared Subscription passes as the ordinary filter it looks like; take it apart with [`split_share`]
/// first.
///
/// # Errors
/// The rule the filter breaks.
pub fn validate_filter(filter: &str) -> Result<(), TopicError> {
    if filter.is_empty() {
        return Err(TopicError::Empty);
    }
    if filter.len() > MAX_TOPIC_LEN {
        return Err(TopicError::TooLong);
    }
    let bytes = filter.as_bytes();
    if !scan::has_nul_or_wildcard(bytes) {
        return Ok(());
    }
    if scan::has_nul(bytes) {
        return Err(TopicError::Nul);
    }
    check_wildcards(bytes)
}

/// Whether `filter` matches `name`. Both must be valid; the filter must not be a Shared Subscription.
///
/// This is the plain statement of the rules that the subscription index is tested against; it is linear in
/// the shorter of the two. A wildcard in the first level does not match names that begin with `$`: 3.1.1, 5.0
/// [MQTT-4.7.2-1].
#[must_use]
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = name.split('/');
    for wanted in filter.split('/') {
        // `a/#` matches `a` too: the name may be used up here.
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Takes `$share/<ShareName>/<Topic Filter>` apart; `Ok(None)` for every filter that is not shared.
///
/// # Errors
/// [`TopicError::ShareName`] for `$share` alone, without second `/`, or with an empty name or one with `+` or
/// `#`; [`TopicError::ShareFilter`] when nothing follows; else what [`validate_filter`] says of the filter
/// inside.
pub fn split_share(filter: &str) -> Result<Option<(&str, &str)>, TopicError> {
    let Some(rest) = filter.strip_prefix("$share") else { return Ok(None) };
    if rest.is_empty() {
        return Err(TopicError::ShareName);
    }
    // `$shared/a` is an ordinary filter.
    let Some(rest) = rest.strip_prefix('/') else { return Ok(None) };
    let (share, inner) = rest.split_once('/').ok_or(TopicError::ShareName)?;
    if share.is_empty() || scan::has_nul_or_wildcard(share.as_bytes()) {
        return Err(TopicError::ShareName);
    }
    if inner.is_empty() {
        return Err(TopicError::ShareFilter);
    }
    if filter.len() > MAX_TOPIC_LEN {
        return Err(TopicError::TooLong);
    }
    validate_filter(inner)?;
    Ok(Some((share, inner)))
}

/// The number of levels of a name or filter: one more than it has `/`.
#[must_use]
pub fn levels(topic: &str) -> usize {
    memchr::memchr_iter(b'/', topic.as_bytes()).count() + 1
}

/// Each wildcard must be alone in its level, and `#` must be last.
fn check_wildcards(filter: &[u8]) -> Result<(), TopicError> {
    for at in memchr::memchr2_iter(b'+', b'#', filter) {
        let begins = at == 0 || filter[at - 1] == b'/';
        let last = at + 1 == filter.len();
        if filter[at] == b'#' {
            if !begins || !last {
                return Err(TopicError::MultiLevelWildcard);
            }
        } else if !begins || !(last || filter[at + 1] == b'/') {
            return Err(TopicError::SingleLevelWildcard);
        }
    }
    Ok(())
}

impl std::error::Error for TopicError {}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic must have at least one character",
            Self::TooLong => "a topic has at most 65535 bytes",
            Self::Nul => "a topic must not contain U+0000",
            Self::WildcardInName => "a Topic Name must not contain + or #",
            Self::MultiLevelWildcard => "# must be the whole last level",
            Self::SingleLevelWildcard => "+ must be a whole level",
            Self::ShareName => "$share/ must be followed by a ShareName without + and #, and a /",
            Self::ShareFilter => "$share/<ShareName>/ must be followed by a Topic Filter",
        })
    }
}
