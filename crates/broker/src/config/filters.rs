//! `[[filter]]` and `[[attach]]`: filters by content and type.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use cork_core::{Attachment, FilterTable, Who};
use cork_filter::Rule;
use toml::de::DeValue;

use super::error::{ConfigError, Origin};
use super::read::{Section, nearest};
use super::values::text;

/// The key by which an attachment names its filter.
pub(super) const ATTACHED: &str = "attach.filter";

/// What a filter is made of, wherever it stands.
const RULE_KEYS: [&str; 4] = ["when", "changed", "deadband", "every"];

/// What a file says of filters.
#[derive(Default)]
pub(super) struct Filters {
    pub(super) table: FilterTable,
    /// Where each name stands.
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) elsewhere: Vec<Elsewhere>,
}

/// An attachment whose filter the file does not define.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Elsewhere {
    /// Its place in [`FilterTable::attached`].
    at: usize,
    name: String,
    origin: Origin,
}

pub(super) fn read_filters(root: &mut Section<'_, '_>) -> Filters {
    let mut filters = Filters::default();
    for (name, (rule, origin)) in read_named(root) {
        filters.table.named.insert(name.as_str().into(), Arc::new(rule));
        filters.origins.insert(name, origin);
    }
    for (span, section) in root.sections("attach") {
        let attachment = read_attachment(section, &span, &mut filters);
        filters.table.attached.extend(attachment);
    }
    filters
}

impl Elsewhere {
    /// Gives the attachment its filter, if there is one of that name by now.
    pub(super) fn resolve(&self, table: &mut FilterTable) {
        if let (Some(rule), Some(one)) =
            (table.named.get(&*self.name).cloned(), table.attached.get_mut(self.at))
        {
            one.rule = rule;
        }
    }

    /// That there is no such filter, if there is none.
    pub(super) fn fault(&self, table: &FilterTable) -> Option<ConfigError> {
        let message = (!table.named.contains_key(&*self.name)).then(|| unknown(&self.name, table))?;
        Some(ConfigError { origin: self.origin.clone(), key: ATTACHED.to_owned(), message })
    }
}

/// `[[filter]]` by name, and where each stands.
pub(super) fn read_named(root: &mut Section<'_, '_>) -> BTreeMap<String, (Rule, Origin)> {
    let mut named = BTreeMap::new();
    for (span, section) in root.sections("filter") {
        read_filter(section, &span, &mut named);
    }
    named
}

fn read_filter(
    mut section: Section<'_, '_>,
    span: &Range<usize>,
    named: &mut BTreeMap<String, (Rule, Origin)>,
) {
    let faults = section.faults();
    let name = section.read("name", filter_name);
    let named_wrongly = section.faults() > faults;
    let rule = read_rule(&mut section, span);
    match (&name, rule) {
        (None, _) if named_wrongly => {}
        (None, _) => section.fault(span, "name", "a filter needs a name, as in name = \"hot\"".to_owned()),
        (Some(name), Some(rule)) => {
            if named.insert(name.clone(), (rule, section.origin(span))).is_some() {
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
    let (rule, _) = read_keys(section)?;
    rule.checked().map_err(|error| section.fault(span, "when", error.to_string())).ok()
}

/// What the keys say, and whether any is there; `None` if one is wrong.
fn read_keys(section: &mut Section<'_, '_>) -> Option<(Rule, bool)> {
    let faults = section.faults();
    let (mut rule, mut any) = (Rule::default(), false);
    for key in RULE_KEYS {
        let Some(value) = section.take(key) else { continue };
        any = true;
        if let Err(message) = set(&mut rule, key, value.get_ref()) {
            section.fault(&value.span(), key, message);
        }
    }
    (section.faults() == faults).then_some((rule, any))
}

/// What `when`, `changed`, `deadband` and `every` of a link's topic or a sink mean, as the prefix of a topic filter; empty
/// without them.
pub(super) fn read_prefix(section: &mut Section<'_, '_>, span: &Range<usize>) -> String {
    let Some((rule, true)) = read_keys(section) else { return String::new() };
    match rule.checked() {
        Ok(rule) => format!("$where/{}/", rule.to_prefix()),
        // As `changed = false` alone.
        Err(error) => {
            section.fault(span, "when", error.to_string());
            String::new()
        }
    }
}

/// Takes a topic filter apart that may begin with `$filter/<name>/` or `$where/<expression>/`: the prefix with its last
/// slash, or nothing, and the rest.
///
/// # Errors
/// What is wrong with the prefix.
pub(super) fn split_prefix<'a>(text: &'a str, table: &FilterTable) -> Result<(&'a str, &'a str), String> {
    let (mark, rest) = match ["$filter/", "$where/", "$history/"].map(|mark| text.strip_prefix(mark)) {
        [Some(rest), ..] => ("$filter/", rest),
        [_, Some(rest), _] => ("$where/", rest),
        [.., Some(_)] => return Err("asks for history; what is here is for what comes".to_owned()),
        _ => return Ok(("", text)),
    };
    let (inside, filter) = rest
        .split_once('/')
        .filter(|(_, filter)| !filter.is_empty())
        .ok_or("ends behind its prefix; a topic filter follows, as in $filter/<name>/sensors/#")?;
    if mark == "$where/" {
        Rule::from_prefix(inside).map_err(|error| error.to_string())?;
    } else if !table.named.contains_key(inside) {
        return Err(unknown(inside, table));
    }
    Ok((&text[..text.len() - filter.len()], filter))
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
    filters: &mut Filters,
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
            Some(find(&section, name, filters))
        }
        // Counted under a name that no filter can have.
        None => read_rule(&mut section, span)
            .map(|rule| (format!("$attach/{}", filters.table.attached.len() + 1), Arc::new(rule))),
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

/// The filter that an attachment names, and what it is counted as. One that is defined elsewhere is found later.
fn find(
    section: &Section<'_, '_>,
    name: &toml::Spanned<DeValue<'_>>,
    filters: &mut Filters,
) -> (String, Arc<Rule>) {
    let text = name.get_ref().as_str().unwrap_or_default();
    let rule = filters.table.named.get(text).cloned().unwrap_or_else(|| {
        let (at, origin) = (filters.table.attached.len(), section.origin(&name.span()));
        filters.elsewhere.push(Elsewhere { at, name: text.to_owned(), origin });
        Arc::default()
    });
    (format!("$filter/{text}"), rule)
}

fn unknown(name: &str, table: &FilterTable) -> String {
    let known: Vec<&str> = table.named.keys().map(|name| &**name).collect();
    let hint = match nearest(name, &known) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; it is defined by [[filter]] with name and when".to_owned(),
    };
    format!("there is no filter `{}`{hint}", name.escape_debug())
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
