//! The TOML form.
//!
//! ```toml
//! default = "deny"
//! [groups]
//! admin = ["ann"]
//! [[rule]]
//! group = "admin"
//! allow = ["read", "write"]
//! topic = "#"
//! ```

use std::collections::HashMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Faults;
use crate::acl::{Acl, Actions, Rule, Who};
use crate::error::FileErrors;

type Value<'i> = Spanned<DeValue<'i>>;

pub(super) fn read(text: &str, file: &str) -> Result<Acl, FileErrors> {
    let mut reader = Reader { text, faults: Faults::new(file), groups: HashMap::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().unwrap_or(text.len()..text.len());
        let message = match error.message() {
            "duplicate key" => "the key stands here a second time; keep the one that is meant",
            message if message.starts_with("string values must be quoted") => "text stands in quotes",
            message => message,
        };
        let line = reader.line(&at);
        // One slip can throw the parser off for the rest of its line.
        if reader.faults.found.last().is_none_or(|last| last.line != Some(line)) {
            reader.faults.add(line, message);
        }
    }
    if !errors.is_empty() {
        reader.faults.finish()?;
        return Err(FileErrors::whole_file(file, "the rights file is not TOML".to_owned()));
    }
    let (rules, default_allow) = reader.root(table.into_inner());
    reader.faults.finish()?;
    let groups = reader.groups;
    Acl::from_rules(rules, default_allow)
        .map(|acl| acl.with_groups(groups))
        .map_err(|error| FileErrors::whole_file(file, format!("{}: {}", error.topic, error.reason)))
}

struct Reader<'a> {
    text: &'a str,
    faults: Faults<'a>,
    groups: HashMap<String, Vec<String>>,
}

impl Reader<'_> {
    fn line(&self, at: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..at.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn fault(&mut self, at: &Range<usize>, message: impl Into<String>) {
        let line = self.line(at);
        self.faults.add(line, message);
    }

    /// The rules, and whether the default allows.
    fn root(&mut self, mut table: DeTable<'_>) -> (Vec<Rule>, bool) {
        let default_allow = match table.remove("default") {
            None => false,
            Some(value) => match value.get_ref().as_str() {
                Some("deny") => false,
                Some("allow") => true,
                _ => {
                    self.fault(
                        &value.span(),
                        "`default` is not accepted; accepted are \"deny\" and \"allow\"",
                    );
                    false
                }
            },
        };
        if let Some(groups) = table.remove("groups") {
            self.read_groups(groups);
        }
        let rules = table.remove("rule").map(|rules| self.read_rules(rules)).unwrap_or_default();
        self.unknown(&table, "`default`, `[groups]` and `[[rule]]`");
        (rules, default_allow)
    }

    fn read_groups(&mut self, value: Value<'_>) {
        const ACCEPTED: &str = "a group is a list of user names, as in admin = [\"ann\", \"bob\"]";
        let at = value.span();
        let DeValue::Table(groups) = value.into_inner() else {
            return self.fault(
                &at,
                format!("`groups` is not a table; it begins with the line `[groups]`, and {ACCEPTED}"),
            );
        };
        for (name, value) in groups {
            let names = match value.get_ref() {
                DeValue::Array(names) => {
                    names.iter().map(|name| name.get_ref().as_str().filter(|name| !name.is_empty())).collect()
                }
                _ => None,
            };
            match names {
                Some(names) => {
                    let names: Vec<&str> = names;
                    let names = names.into_iter().map(str::to_owned).collect();
                    self.groups.insert(name.get_ref().to_string(), names);
                }
                None => {
                    let group = name.get_ref().escape_debug().to_string();
                    self.fault(&value.span(), format!("group `{group}` is not accepted; {ACCEPTED}"));
                    // A rule that names it has no fault of its own.
                    self.groups.insert(name.get_ref().to_string(), Vec::new());
                }
            }
        }
    }

    fn read_rules(&mut self, value: Value<'_>) -> Vec<Rule> {
        const ACCEPTED: &str = "each rule begins with the line `[[rule]]`, in double brackets";
        let at = value.span();
        let DeValue::Array(members) = value.into_inner() else {
            self.fault(&at, format!("`rule` is not a list; {ACCEPTED}"));
            return Vec::new();
        };
        let mut rules = Vec::new();
        for member in members {
            let at = member.span();
            match member.into_inner() {
                DeValue::Table(table) => rules.extend(self.read_rule(&at, table)),
                _ => self.fault(&at, format!("a rule is not a table; {ACCEPTED}")),
            }
        }
        rules
    }

    fn read_rule(&mut self, at: &Range<usize>, mut table: DeTable<'_>) -> Option<Rule> {
        let who = self.read_who(&mut table);
        let decision = self.read_decision(at, &mut table);
        let topic = match table.remove("topic") {
            None => {
                self.fault(at, "the rule has no `topic`; write one, as in topic = \"home/#\"");
                None
            }
            Some(value) => self.read_topic(&value),
        };
        self.unknown(&table, "in a rule: `user`, `group` or `client_id`; `allow` or `deny`; `topic`");
        let (actions, allow) = decision?;
        let source = self.faults.source(self.line(at));
        Some(Rule { who: who?, actions, allow, topic: topic?, source })
    }

    fn read_who(&mut self, table: &mut DeTable<'_>) -> Option<Who> {
        let mut found = None;
        for key in ["user", "group", "client_id"] {
            let Some(value) = table.remove(key) else { continue };
            if found.is_some() {
                self.fault(
                    &value.span(),
                    format!("`{key}` stands beside another; a rule has one of `user`, `group` and `client_id`, or none for everybody"),
                );
                return None;
            }
            let Some(name) = value.get_ref().as_str().filter(|name| !name.is_empty()) else {
                self.fault(&value.span(), format!("`{key}` is not accepted; accepted is one name in quotes"));
                return None;
            };
            found = Some(match key {
                "user" => Who::User(name.to_owned()),
                "client_id" => Who::ClientId(name.to_owned()),
                _ => match self.groups.get(name) {
                    Some(names) => Who::Group { name: name.to_owned(), users: names.clone() },
                    None => {
                        let message = format!(
                            "there is no group `{}`; name its users in [groups]",
                            name.escape_debug()
                        );
                        self.fault(&value.span(), message);
                        return None;
                    }
                },
            });
        }
        Some(found.unwrap_or(Who::Everybody))
    }

    fn read_decision(&mut self, at: &Range<usize>, table: &mut DeTable<'_>) -> Option<(Actions, bool)> {
        let (value, allow) = match (table.remove("allow"), table.remove("deny")) {
            (Some(value), None) => (value, true),
            (None, Some(value)) => (value, false),
            (Some(_), Some(value)) => {
                self.fault(&value.span(), "`deny` stands beside `allow`; make two rules of it");
                return None;
            }
            (None, None) => {
                self.fault(
                    at,
                    "the rule has neither `allow` nor `deny`; write one, as in allow = [\"read\"]",
                );
                return None;
            }
        };
        let mut actions = Actions { read: false, write: false };
        let members = value.get_ref().as_array().map(|members| members.iter()).into_iter().flatten();
        let mut understood = true;
        for member in members {
            match member.get_ref().as_str() {
                Some("read") => actions.read = true,
                Some("write") => actions.write = true,
                _ => understood = false,
            }
        }
        if !understood || !(actions.read || actions.write) {
            let key = if allow { "allow" } else { "deny" };
            let message = format!(
                "`{key}` is not accepted; accepted are [\"read\"], [\"write\"] and [\"read\", \"write\"]"
            );
            self.fault(&value.span(), message);
            return None;
        }
        Some((actions, allow))
    }

    fn read_topic(&mut self, value: &Value<'_>) -> Option<String> {
        let Some(topic) = value.get_ref().as_str() else {
            self.fault(&value.span(), "`topic` is not accepted; accepted is one Topic Filter in quotes");
            return None;
        };
        let reason = match Acl::judge_topic(topic) {
            Err(reason) => reason,
            // Such a rule would never fit.
            Ok(()) if topic.starts_with("$share/") => {
                "begins with `$share/`; rules are about the filter behind it, so leave `$share/NAME/` out"
            }
            Ok(()) => return Some(topic.to_owned()),
        };
        self.fault(&value.span(), format!("topic `{}`: {reason}", topic.escape_debug()));
        None
    }

    fn unknown(&mut self, table: &DeTable<'_>, accepted: &str) {
        for key in table.keys() {
            let name = key.get_ref().escape_debug().to_string();
            self.fault(&key.span(), format!("unknown key `{name}` (accepted {accepted})"));
        }
    }
}
