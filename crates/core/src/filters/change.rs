//! Subscriptions with filters made, replaced and ended.

use std::sync::Arc;

use cork_filter::Rule;
use cork_packet::ReasonCode;
use cork_store::{OWES_RETAINED, Record};
use cork_topic::FilterId;

use super::{Asked, FILTERED_PER_SESSION_MAX, Parsed, Prefix, Refused, RuleIx, parse};
use crate::{
    conn::SessionIx,
    cursors::RetainedCursor,
    history::Wish,
    presence,
    session::{GROUP_BIT, NO_GROUP, Own, SubValue, Subscription},
    shard::Shard,
};

/// What a subscription's filter is.
pub(crate) struct Spec {
    rule: RuleIx,
    /// What the store is told: the Topic Filter and, behind a U+0000, what the text does not say.
    record: Box<str>,
    /// The name of the group, if it is shared.
    group: Option<Box<str>>,
}

/// Between a Topic Filter and its filter in the store's records: no Topic Filter has this character.
const MARK: char = '\0';

/// Whether a subscription that the store knows as this reaches into the past.
pub(crate) fn reaches_back(record: &str) -> bool {
    let prefix = record.split_once(MARK).map_or(record, |(_, prefix)| prefix);
    prefix.starts_with("$history/")
}

impl Shard {
    /// The filter of a subscription, if it has one. What is wrong with it is found here.
    pub(crate) fn spec_of(
        &mut self,
        six: SessionIx,
        parsed: &Parsed<'_>,
        asked: &Asked,
    ) -> Result<Option<Spec>, Refused> {
        let spec = match (parsed.prefix, asked) {
            (Prefix::Refused(why), _) => return Err(Refused::invalid(why)),
            (_, Asked::Wrong(why)) => return Err(Refused::invalid(&**why)),
            (
                Prefix::Where(_) | Prefix::Named(_) | Prefix::History(_),
                Asked::Rule(..) | Asked::Replay(..),
            ) => {
                let why = "a filter stands in the topic filter or in the user properties, not in both";
                return Err(Refused::invalid(why));
            }
            (Prefix::None, Asked::Nothing) => return Ok(self.attached_spec(six, parsed)),
            (Prefix::None, Asked::Rule(rule, prefix)) => self.property_spec(parsed, rule, prefix),
            (Prefix::None, Asked::Replay(_, prefix)) => {
                if parsed.group.is_some() {
                    return Err(Refused::invalid("a shared subscription has no history"));
                }
                self.history_spec(format!("{}{MARK}{prefix}", parsed.text))
            }
            (Prefix::History(text), Asked::Nothing) => {
                Wish::parse(text).map_err(Refused::invalid)?;
                self.history_spec(parsed.text.to_owned())
            }
            (Prefix::Where(text), Asked::Nothing) => {
                let key = format!("$where/{text}");
                let rules = &mut self.board.filters.rules;
                let rule = match rules.reuse(&key) {
                    Some(rule) => rule,
                    None => {
                        let rule =
                            Rule::from_prefix(text).map_err(|error| Refused::invalid(error.to_string()))?;
                        rules.of_rule(&key, &Arc::new(rule))
                    }
                };
                Spec { rule, record: parsed.text.into(), group: parsed.group.as_deref().map(Box::from) }
            }
            (Prefix::Named(name), Asked::Nothing) => {
                if !self.board.filters.table.named.contains_key(name) {
                    return Err(Refused::invalid(format!("this broker has no filter named `{name}`")));
                }
                self.named_spec(parsed, name)
            }
        };
        let session = &self.board.sessions[six as usize];
        let own = session.filtered.len();
        if own >= FILTERED_PER_SESSION_MAX && !session.has_filtered(parsed.text) {
            self.board.filters.rules.release(spec.rule);
            let why = format!("a session has at most {FILTERED_PER_SESSION_MAX} subscriptions with filters");
            return Err(Refused { code: ReasonCode::QUOTA_EXCEEDED, why });
        }
        Ok(Some(spec))
    }

    /// The past first; of the present everything passes.
    fn history_spec(&mut self, record: String) -> Spec {
        let rule = self.board.filters.rules.of_rule("$history", &Arc::default());
        Spec { rule, record: record.into(), group: None }
    }

    fn named_spec(&mut self, parsed: &Parsed<'_>, name: &str) -> Spec {
        let table = Arc::clone(&self.board.filters.table);
        let rule = self.board.filters.rules.named(name, &table);
        Spec { rule, record: parsed.text.into(), group: parsed.group.as_deref().map(Box::from) }
    }

    /// By User Properties: the text says nothing of it, so the record and the share's name must.
    fn property_spec(&mut self, parsed: &Parsed<'_>, rule: &Arc<Rule>, prefix: &str) -> Spec {
        let rule = self.board.filters.rules.of_rule(&format!("$where/{prefix}"), rule);
        let group = parsed.group.as_deref().and_then(|group| {
            let (share, _) = group.split_once('/')?;
            Some(format!("{share}/$where/{prefix}/{}", parsed.filter).into())
        });
        Spec { rule, record: format!("{}{MARK}{prefix}", parsed.text).into(), group }
    }

    /// What an administrator attached to a plain subscription.
    pub(super) fn attached_spec(&mut self, six: SessionIx, parsed: &Parsed<'_>) -> Option<Spec> {
        let filters = &mut self.board.filters;
        if filters.table.attached.is_empty() || parsed.group.is_some() {
            return None;
        }
        let places = filters.table.attached_to(&self.board.sessions[six as usize].publisher);
        if places.is_empty() {
            return None;
        }
        let table = Arc::clone(&filters.table);
        let rule = filters.rules.attached(&places, &table);
        Some(Spec { rule, record: parsed.text.into(), group: None })
    }

    /// The same for a subscription of an earlier life of the broker. One whose filter means nothing any more stays, and
    /// lets nothing through.
    pub(crate) fn restore_subscription(&mut self, six: SessionIx, record: &str, value: SubValue) {
        let (text, prefix) =
            record.split_once(MARK).map_or((record, None), |(text, prefix)| (text, Some(prefix)));
        let Ok(parsed) = parse(text) else { return };
        let owed = value.options & OWES_RETAINED != 0;
        let value = SubValue { options: value.options & !OWES_RETAINED, ..value };
        let spec = match (prefix, parsed.prefix) {
            (Some(prefix), _) if prefix.starts_with("$history/") => {
                Some(self.history_spec(record.to_owned()))
            }
            (Some(prefix), _) => match Rule::from_prefix(prefix) {
                Ok(rule) => Some(self.property_spec(&parsed, &Arc::new(rule), prefix)),
                Err(_) => Some(Spec { record: record.into(), ..self.named_spec(&parsed, prefix) }),
            },
            (None, Prefix::Named(name)) => Some(self.named_spec(&parsed, name)),
            (None, _) => match self.spec_of(six, &parsed, &Asked::Nothing) {
                Ok(spec) => spec,
                Err(_) => Some(self.named_spec(&parsed, text)),
            },
        };
        self.insert_subscription(six, &parsed, value, spec);
        if owed {
            let cursor = RetainedCursor { owed: true, ..self.cursor(six, &parsed, value) };
            self.board.sessions[six as usize].outgoing().cursors.push(cursor);
        }
    }

    /// Makes or replaces a subscription with a filter. Returns whether it is new to the Session.
    pub(crate) fn insert_filtered(
        &mut self,
        six: SessionIx,
        parsed: &Parsed<'_>,
        value: SubValue,
        spec: Spec,
    ) -> bool {
        let Spec { rule, record, group } = spec;
        if self.update_filtered(six, parsed, value, &record, rule) {
            return false;
        }
        let existed = self.remove_found(six, parsed);
        let own = match group {
            Some(name) => {
                let group = self.filtered_group(&name, parsed.filter, rule);
                self.join_group(six, group, value);
                Own { key: None, group, record: record.clone() }
            }
            None => {
                let first = self.tells_others() && !self.has_plain(parsed.filter);
                let key = self.board.filters.insert(parsed.filter, rule, six, value);
                if first {
                    self.announce_filter(parsed.filter, true);
                }
                Own { key: Some(key), group: NO_GROUP, record: record.clone() }
            }
        };
        self.board.stats.subscriptions += 1;
        self.board.stats.shared_subscriptions += u64::from(own.key.is_none());
        let session = &mut self.board.sessions[six as usize];
        session.filtered.insert(parsed.text.into(), own);
        if presence::concerns(parsed.filter) {
            self.watch_presence(true);
        }
        self.record_subscribed(six, &record, value);
        !existed
    }

    /// The same filter again, perhaps with other options: what it passed on before still counts.
    fn update_filtered(
        &mut self,
        six: SessionIx,
        parsed: &Parsed<'_>,
        value: SubValue,
        record: &str,
        rule: RuleIx,
    ) -> bool {
        let session = &self.board.sessions[six as usize];
        let Some(own) = session.filtered.get(parsed.text) else {
            return false;
        };
        let (key, group) = (own.key, own.group);
        let same = match key {
            Some(key) => self.board.filters.rule_of(key) == Some(rule),
            None => true, // a group's name says its rule
        };
        if *own.record != *record || !same {
            return false;
        }
        self.board.filters.rules.release(rule);
        let before = match key {
            Some(key) => {
                let subscription = self.board.filters.get_mut(key);
                subscription.map(|subscription| std::mem::replace(&mut subscription.value, value))
            }
            None => {
                let group = self.router.groups.get_mut(group as usize);
                group.and_then(|group| group.members.insert(six, value))
            }
        };
        if before != Some(value) {
            self.record_subscribed(six, record, value);
        }
        true
    }

    /// The group of a shared subscription with a filter, made when it does not exist; takes over one use of the rule.
    fn filtered_group(&mut self, name: &str, filter: &str, rule: RuleIx) -> u32 {
        if let Some(group) = self.router.group(name) {
            self.board.filters.rules.release(rule);
            return group;
        }
        let group = self.router.new_group(name, FilterId(u32::MAX));
        let value = SubValue { options: 0, sub_id: 0 };
        let key = self.board.filters.insert(filter, rule, group | GROUP_BIT, value);
        self.router.groups[group as usize].filtered = Some(key);
        group
    }

    /// The group that another shard has members of.
    pub(crate) fn group_by_name(&mut self, name: &str) -> Option<u32> {
        if let Some(group) = self.router.group(name) {
            return Some(group);
        }
        let text = format!("$share/{name}");
        let parsed = parse(&text).ok()?;
        let rule = match parsed.prefix {
            Prefix::None => return Some(self.router.group_or_new(name, parsed.filter)),
            Prefix::Refused(_) | Prefix::History(_) => return None,
            Prefix::Named(filter) => {
                let table = Arc::clone(&self.board.filters.table);
                self.board.filters.rules.named(filter, &table)
            }
            Prefix::Where(text) => {
                let rule = Rule::from_prefix(text).ok()?;
                self.board.filters.rules.of_rule(&format!("$where/{text}"), &Arc::new(rule))
            }
        };
        Some(self.filtered_group(name, parsed.filter, rule))
    }

    fn join_group(&mut self, six: SessionIx, group_ix: u32, value: SubValue) {
        let group = &mut self.router.groups[group_ix as usize];
        group.join(six, &self.board.sessions[six as usize], value);
        let subscription = Subscription { filter: group.filter, group: group_ix };
        self.board.sessions[six as usize].subscriptions.insert(subscription);
        self.announce_group(group_ix);
    }

    /// Drops a group that has no member anywhere.
    pub(crate) fn drop_group(&mut self, group: u32) {
        if let Some(key) = self.router.drop_group_if_empty(group) {
            self.board.filters.remove(key);
        }
    }

    /// Whether some Session here subscribes to a Topic Filter, with or without a filter.
    pub(crate) fn has_plain(&self, filter: &str) -> bool {
        let id = self.router.index.find(filter);
        let first = id.and_then(|id| self.router.index.subscribers(id).next());
        // Groups stand behind the Sessions.
        first.is_some_and(|(key, _)| key & GROUP_BIT == 0) || self.board.filters.has_session(filter)
    }

    /// Ends a Session's subscription of this text, if it has one with a filter.
    pub(crate) fn remove_filtered(&mut self, six: SessionIx, text: &str) -> bool {
        let session = &mut self.board.sessions[six as usize];
        let Some(own) = session.filtered.remove(text) else {
            return false;
        };
        if let Some(outgoing) = session.outgoing.as_deref_mut() {
            if own.key.is_some() {
                outgoing.cursors.remove(text);
                let left = outgoing.replays.as_deref_mut().is_some_and(|replays| replays.remove(text));
                if !left {
                    outgoing.replays = None;
                }
            } else {
                outgoing.leave_group(own.group);
            }
        }
        if session.is_persistent() {
            let record = Record::Unsubscribed { session: session.key, filter: own.record.clone() };
            self.board.record(record);
        }
        self.drop_own(six, &own);
        true
    }

    /// Takes a subscription with a filter out of the routes.
    pub(crate) fn drop_own(&mut self, six: SessionIx, own: &Own) {
        let Some(key) = own.key else {
            let Some(group) = self.router.groups.get(own.group as usize) else { return };
            let subscription = Subscription { filter: group.filter, group: own.group };
            if self.board.sessions[six as usize].subscriptions.remove(subscription) {
                self.drop_subscription(six, subscription);
            }
            return;
        };
        let filter = self.board.filters.filter_of(key);
        self.board.filters.remove(key);
        self.board.stats.subscriptions -= 1;
        if self.presence.is_watched() && presence::concerns(&filter) {
            self.watch_presence(false);
        }
        if self.tells_others() && !self.has_plain(&filter) {
            self.announce_filter(&filter, false);
        }
    }
}
