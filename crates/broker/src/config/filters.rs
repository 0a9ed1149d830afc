//! `[[filter]]` and `[[attach]]`: filters by content and type.

use std::ops::Range;
use std::sync::Arc;

use cork_core::{Attachment, FilterTable, Who};
use cork_filter::Rule;
use toml::de::DeValue;

use super::read::{Section, nearest};
use super::values::text;

/// What a filter is made of, wherever it stands.
const RULE_KEYS: [&str; 4] = ["when", "changed", "deadband", "every"];

pub(super) fn read_filters(root: &mut Section<'_, '_>) -> FilterTable {
    let mut table = FilterTable::default();
    for (span, section) in root.sections("filter") {
        read_filter(section, &span, &mut table);
    }
    for (span, section) in root.sections("attach") {
        let attachment = read_attachment(section, &span, &table);
        table.attached.extend(attachment);
    }
    table
}

fn read_filter(mut section: Section<'_, '_>, span: &Range<usize>, table: &mut FilterTable) {
    let faults = section.faults();
    let name = section.read("name", filter_name);
    let named_wrongly = section.faults() > faults;
    let rule = read_rule(&mut section, span);
    match (&name, rule) {
        (None, _) if named_wrongly => {}
        (None, _) => section.fault(span, "name", "a filter needs a name, as in name = \"hot\"".to_owned()),
        (Some(name), Some(rule)) => {
            if table.named.insert(name.as_str().into(), Arc::new(rule)).is_some() {
                section.fault(span, "name", format!("there is another filter named `{name}`"));
            }
        }
        (Some(_), None) => {}
    }
    section.finish();
}

/// A name stands between slashes of a topic filter.
fn filter_name(value: &DeValue<'_>) -> Result<String, String> {
    let name = text(value)?;
    if name.contains(['/', '+', '#', '\0']) {
        return Err("accepted is a name without `/`, `+` and `#`".to_owned());
    }
    Ok(name)
}

fn read_rule(section: &mut Section<'_, '_>, span: &Range<usize>) -> Option<Rule> {
    let faults = section.faults();
    let mut rule = Rule::default();
    for key in RULE_KEYS {
        let Some(value) = section.take(key) else { continue };
        if let Err(message) = set(&mut rule, key, value.get_ref()) {
            section.fault(&value.span(), key, message);
        }
    }
    if section.faults() > faults {
        return None;
    }
    rule.checked().map_err(|error| section.fault(span, "when", error.to_string())).ok()
}

fn set(rule: &mut Rule, key: &str, value: &DeValue<'_>) -> Result<(), String> {
    let text = match (key, value) {
        (_, DeValue::String(text)) => text.to_string(),
        ("changed", DeValue::Boolean(truth)) => truth.to_string(),
        ("deadband", DeValue::Integer(number)) => number.to_string(),
        ("deadband", DeValue::Float(number)) => number.to_string(),
        ("when", _) => return Err("an expression in quotes is accepted, as \"payload.t > 25\"".to_owned()),
        ("changed", _) => return Err("accepted are true and what to look at, as \"payload.t\"".to_owned()),
        ("deadband", _) => return Err("a number is accepted, as 0.5".to_owned()),
        _ => return Err("a time in quotes is accepted, as \"10s\"".to_owned()),
    };
    let done = if key == "when" { rule.when(&text) } else { rule.option(key, &text) };
    done.map_err(|error| error.to_string())
}

fn read_attachment(
    mut section: Section<'_, '_>,
    span: &Range<usize>,
    table: &FilterTable,
) -> Option<Attachment> {
    let (user, client) = (section.read("user", text), section.read("client_id", text));
    let faults = section.faults();
    let topic = section.read("topic", |value| {
        let accepted = || "accepted is a topic filter, as \"sensors/#\"".to_owned();
        text(value).ok().filter(|topic| FilterTable::is_topic_filter(topic)).ok_or_else(accepted)
    });
    let topic_is_wrong = section.faults() > faults;
    let named = section.take("filter");
    let rule = match &named {
        Some(name) => {
            let own: Vec<&str> = RULE_KEYS.into_iter().filter(|key| section.take(key).is_some()).collect();
            if !own.is_empty() {
                let message = format!("the filter it names says everything; take away {}", own.join(", "));
                section.fault(span, "filter", message);
            }
            find(&section, name, table)
        }
        // Counted under a name that no filter can have.
        None => read_rule(&mut section, span)
            .map(|rule| (format!("$attach/{}", table.attached.len() + 1), Arc::new(rule))),
    };
    if user.is_some() == client.is_some() {
        section.fault(
            span,
            "user",
            "either `user` or `client_id` says whose subscriptions are meant".to_owned(),
        );
    }
    if topic.is_none() && !topic_is_wrong {
        let message = "says which topics are meant, as in topic = \"sensors/#\"; \"#\" is all".to_owned();
        section.fault(span, "topic", message);
    }
    section.finish();
    let who = match (user, client) {
        (Some(user), None) => Who::User(user.into()),
        (None, Some(client)) => Who::Client(client.into()),
        _ => return None,
    };
    let (name, rule) = rule?;
    Some(Attachment { who, topic: topic?.into(), rule, name: name.into() })
}

/// The filter that an attachment names, and what it is counted as.
fn find(
    section: &Section<'_, '_>,
    name: &toml::Spanned<DeValue<'_>>,
    table: &FilterTable,
) -> Option<(String, Arc<Rule>)> {
    let text = name.get_ref().as_str().unwrap_or_default();
    if let Some(rule) = table.named.get(text) {
        return Some((format!("$filter/{text}"), Arc::clone(rule)));
    }
    let known: Vec<&str> = table.named.keys().map(|name| &**name).collect();
    let hint = match nearest(text, &known) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; it is defined by [[filter]] with name and when".to_owned(),
    };
    section.fault(&name.span(), "filter", format!("there is no filter `{}`{hint}", text.escape_debug()));
    None
}

/// For showing what differs.
pub(super) fn values(table: &FilterTable) -> [(&'static str, String); 2] {
    let or_none = |list: Vec<String>| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let named = table.named.iter().map(|(name, rule)| format!("{name}: {}", rule.to_prefix()));
    let attached = table.attached.iter().map(|one| {
        let who = match &one.who {
            Who::User(user) => format!("user {user}"),
            Who::Client(client) => format!("client {client}"),
        };
        format!("{who}, {}: {}", one.topic, one.rule.to_prefix())
    });
    [("filter", or_none(named.collect())), ("attach", or_none(attached.collect()))]
}
