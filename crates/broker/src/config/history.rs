//! `[[history]]`: what is kept beyond its delivery.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use cork_core::FilterTable;
use cork_history::Rule;

use super::read::Section;
use super::units::{show_duration, show_size};
use super::values::{duration, size, text};

/// Less could not be cut into parts.
const BYTES: RangeInclusive<u64> = 1_000_000..=u64::MAX;
const KEEP: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(100 * 366 * 86_400);
const KEEP_DEFAULT: Duration = Duration::from_secs(7 * 86_400);
const BYTES_DEFAULT: u64 = 1_000_000_000;

pub(super) fn read_history(root: &mut Section<'_, '_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for (span, section) in root.sections("history") {
        let Some(rule) = read_rule(section, &span) else { continue };
        if rules.iter().any(|other| other.filter == rule.filter) {
            let message = format!("there is a history of `{}` already; make them one", rule.filter);
            root.fault(&span, "history.filter", message);
        } else {
            rules.push(rule);
        }
    }
    rules
}

fn read_rule(mut section: Section<'_, '_>, span: &Range<usize>) -> Option<Rule> {
    let faults = section.faults();
    let filter = section.read("filter", |value| {
        let accepted = || "accepted is a topic filter, as \"sensor/#\"".to_owned();
        text(value).ok().filter(|filter| FilterTable::is_topic_filter(filter)).ok_or_else(accepted)
    });
    if filter.is_none() && section.faults() == faults {
        let message = "says which topics are kept, as in filter = \"sensor/#\"; \"#\" is all".to_owned();
        section.fault(span, "filter", message);
    }
    let (mut keep, mut max_bytes) = (KEEP_DEFAULT, BYTES_DEFAULT);
    section.set("keep", &mut keep, duration(KEEP));
    section.set("max_bytes", &mut max_bytes, size(BYTES));
    section.finish();
    Some(Rule { filter: filter?.into(), keep, max_bytes })
}

/// For showing what differs.
pub(super) fn values(rules: &[Rule]) -> [(&'static str, String); 1] {
    let one =
        |rule: &Rule| format!("{}: {}, {}", rule.filter, show_duration(rule.keep), show_size(rule.max_bytes));
    let list: Vec<String> = rules.iter().map(one).collect();
    [("history", if list.is_empty() { "none".to_owned() } else { list.join("; ") })]
}
