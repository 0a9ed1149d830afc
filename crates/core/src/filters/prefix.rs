//! A Topic Filter as a client wrote it: `$share/<group>/`, then `$filter/<name>/` or `$where/<expression>/`, then what
//! topics are matched with.

use std::{borrow::Cow, sync::Arc};

use cork_filter::{FilterError, Rule};
use cork_packet::{Properties, ReasonCode, split_share, validate_filter};
use cork_proto::PeerError;

/// What stands between a Topic Filter and its share.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Prefix<'a> {
    None,
    /// `$where/…/`: the expression, still encoded, with its options.
    Where(&'a str),
    /// `$filter/…/`: the name.
    Named(&'a str),
    /// Something with the form of a prefix that is none, and why.
    Refused(&'static str),
}

/// A Topic Filter as it is subscribed: plain, through a share, through a filter.
#[derive(Clone, Debug)]
pub(crate) struct Parsed<'a> {
    /// As the client wrote it.
    pub(crate) text: &'a str,
    /// What topics are matched with.
    pub(crate) filter: &'a str,
    /// What follows `$share/`: a shared subscription's name.
    pub(crate) group: Option<Cow<'a, str>>,
    pub(crate) prefix: Prefix<'a>,
}

/// Takes a Topic Filter apart.
///
/// # Errors
/// What topics are matched with, or the share, breaks the syntax. What is wrong with a prefix is no such error: the
/// subscription is refused, the connection stays.
pub(crate) fn parse(text: &str) -> Result<Parsed<'_>, PeerError> {
    if let Some(parsed) = text.strip_prefix('$').and_then(|_| parse_prefixed(text)) {
        return parsed;
    }
    match split_share(text) {
        Ok(None) => {
            validate_filter(text).map_err(|_| PeerError::TopicFilterInvalid)?;
            Ok(Parsed { text, filter: text, group: None, prefix: Prefix::None })
        }
        Ok(Some((_, filter))) => {
            let group = text.strip_prefix("$share/").map(Cow::Borrowed);
            Ok(Parsed { text, filter, group, prefix: Prefix::None })
        }
        Err(_) => Err(PeerError::TopicFilterInvalid),
    }
}

/// The same for one with a prefix; `None` for all others.
fn parse_prefixed(text: &str) -> Option<Result<Parsed<'_>, PeerError>> {
    let group = text.strip_prefix("$share/");
    let (share, rest) = match group {
        Some(group) => group.split_once('/').map(|(share, rest)| (Some(share), rest))?,
        None => (None, text),
    };
    let (prefix, filter) = split_prefix(rest)?;
    // 5.0 [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    let share_is_wrong = share.is_some_and(|share| share.is_empty() || share.contains(['+', '#', '\0']));
    let is_wrong = text.len() > cork_packet::MAX_TOPIC_LEN || text.contains('\0') || share_is_wrong;
    let filter_is_wrong = !matches!(prefix, Prefix::Refused(_)) && validate_filter(filter).is_err();
    if is_wrong || filter_is_wrong {
        return Some(Err(PeerError::TopicFilterInvalid));
    }
    Some(Ok(Parsed { text, filter, group: group.map(Cow::Borrowed), prefix }))
}

const NO_TOPIC: &str = "a prefix is followed by a topic filter, as in $filter/<name>/sensors/#";
const ONE_PREFIX: &str = "there may be one of $filter/ and $where/, and $share/ comes before it";
const NO_HISTORY: &str = "this broker has no $history/ to subscribe to";

fn split_prefix(rest: &str) -> Option<(Prefix<'_>, &str)> {
    type Make = for<'a> fn(&'a str) -> Prefix<'a>;
    let known: [(&str, Make); 3] = [
        ("$where/", |text| Prefix::Where(text)),
        ("$filter/", |name| Prefix::Named(name)),
        ("$history/", |_| Prefix::Refused(NO_HISTORY)),
    ];
    let (make, rest) = known.iter().find_map(|(mark, make)| Some((make, rest.strip_prefix(mark)?)))?;
    let Some((inside, filter)) = rest.split_once('/').filter(|(_, filter)| !filter.is_empty()) else {
        return Some((Prefix::Refused(NO_TOPIC), rest));
    };
    let another = ["$where/", "$filter/", "$history/", "$share/"].iter().any(|mark| filter.starts_with(mark));
    Some((if another { Prefix::Refused(ONE_PREFIX) } else { make(inside) }, filter))
}

/// What a v5 SUBSCRIBE asks for all its Topic Filters, by User Properties.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Nothing,
    /// The rule, and the prefix that means the same.
    Rule(Arc<Rule>, Arc<str>),
    /// It is wrong; every Topic Filter is refused.
    Wrong(Box<str>),
}

impl Asked {
    /// # Errors
    /// `filter` is there twice.
    pub(crate) fn of(properties: &Properties<'_>) -> Result<Self, PeerError> {
        let mut rule = Rule::default();
        let (mut any, mut filters) = (false, 0);
        let mut wrong: Option<FilterError> = None;
        for (name, value) in properties.user_properties() {
            let result = match name {
                "filter" => {
                    filters += 1;
                    rule.when(value)
                }
                "changed" | "deadband" | "every" => rule.option(name, value),
                _ => continue,
            };
            any = true;
            wrong = wrong.or_else(|| result.err());
        }
        if filters > 1 {
            return Err(PeerError::SecondContentFilter);
        }
        if !any {
            return Ok(Self::Nothing);
        }
        Ok(match wrong.map_or_else(|| rule.checked(), Err) {
            Ok(rule) => {
                let prefix = rule.to_prefix().into();
                Self::Rule(Arc::new(rule), prefix)
            }
            Err(error) => Self::Wrong(error.to_string().into()),
        })
    }
}

/// Why a subscription with a filter is refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: ReasonCode,
    pub(crate) why: String,
}

impl Refused {
    pub(crate) fn invalid(why: impl Into<String>) -> Self {
        Self { code: ReasonCode::TOPIC_FILTER_INVALID, why: why.into() }
    }
}
