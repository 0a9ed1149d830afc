//! Filters of the configuration that a reload, or another owner of a Session, changes: what is attached to plain
//! subscriptions, and what names mean.

use std::{collections::BTreeSet, sync::Arc};

use cork_filter::Rule;

use super::{FilterTable, Filters, Prefix, RuleIx, parse, watch::Watch};
use crate::{
    board::Timer,
    conn::SessionIx,
    cursors::Cursors,
    session::{NO_GROUP, SubValue},
    shard::Shard,
};

/// A Session's plain subscriptions while they are out of the routes.
struct Detached {
    subscriptions: Vec<(Box<str>, SubValue, Vec<Remembered>)>,
    cursors: Cursors,
}

/// What a subscription passed on last of a topic, and the filter it did so by.
struct Remembered {
    topic: Box<str>,
    watch: Watch,
    rule: Option<Arc<Rule>>,
}

impl Shard {
    /// Another configuration of filters. What subscriptions passed on last still counts where their filter is the same;
    /// what waits for a filter that is gone goes out.
    pub(crate) fn on_filters(&mut self, table: Arc<FilterTable>) {
        let before = Arc::clone(&self.board.filters.table);
        if before == table {
            return;
        }
        let has = |table: &FilterTable, publisher| {
            !table.attached.is_empty() && !table.attached_to(publisher).is_empty()
        };
        let sessions = self.board.sessions.iter();
        let concerned =
            sessions.filter(|(_, one)| has(&before, &one.publisher) || has(&table, &one.publisher));
        let concerned: Vec<SessionIx> = concerned.map(|(six, _)| six_of(six)).collect();
        let detached: Vec<_> = concerned.into_iter().map(|six| (six, self.detach_filters(six))).collect();
        let renamed = self.board.filters.rules.rename(&table);
        self.board.filters.table = table;
        for (six, detached) in detached {
            self.attach_filters(six, detached);
        }
        self.forget_passed(&renamed);
    }

    /// A Session has another owner: other filters may be attached to it.
    pub(crate) fn reattach(&mut self, six: SessionIx) {
        if self.board.filters.table.attached.is_empty() {
            return;
        }
        let detached = self.detach_filters(six);
        self.attach_filters(six, detached);
    }

    /// Takes a Session's subscriptions that are plain to its client out of the routes: those that have an attached filter
    /// or may get one. The store is told nothing: for it nothing changes.
    fn detach_filters(&mut self, six: SessionIx) -> Detached {
        let session = &self.board.sessions[six as usize];
        let mut found = Vec::new();
        for (text, own) in session.filtered.iter() {
            let plain = parse(text).is_ok_and(|parsed| parsed.prefix == Prefix::None) && own.record == *text;
            let Some(key) = own.key.filter(|_| plain) else { continue };
            let Some(value) = self.board.filters.get(key).map(|one| one.value) else { continue };
            found.push((text.clone(), value, self.board.filters.remember(key)));
        }
        let plain = session.subscriptions.iter().filter(|one| one.group == NO_GROUP);
        found.extend(plain.filter_map(|one| {
            let value = self.router.index.get(one.filter, six)?;
            Some((self.router.index.filter(one.filter).into(), value, Vec::new()))
        }));
        // Retained messages that are on their way go on when the subscriptions are back.
        let outgoing = self.board.sessions[six as usize].outgoing.as_deref_mut();
        let cursors = outgoing.map(|outgoing| std::mem::take(&mut outgoing.cursors)).unwrap_or_default();
        let records = self.board.records.len();
        for (text, ..) in &found {
            if let Ok(parsed) = parse(text) {
                self.remove_found(six, &parsed);
            }
        }
        self.board.records.truncate(records);
        Detached { subscriptions: found, cursors }
    }

    fn attach_filters(&mut self, six: SessionIx, detached: Detached) {
        let Detached { subscriptions, mut cursors } = detached;
        let records = self.board.records.len();
        let mut due = Vec::new();
        for (text, value, remembered) in subscriptions {
            if let Ok(parsed) = parse(&text) {
                let spec = self.attached_spec(six, &parsed);
                self.insert_subscription(six, &parsed, value, spec);
            }
            let key = self.board.sessions[six as usize].filtered.get(&*text).and_then(|own| own.key);
            due.push((value, self.recall(key, remembered)));
        }
        self.board.records.truncate(records);
        if !cursors.is_empty() {
            let session = &mut self.board.sessions[six as usize];
            for cursor in cursors.iter_mut() {
                let own = session.filtered.get(&*cursor.name);
                cursor.filtered = own.and_then(|own| own.key);
            }
            session.outgoing().cursors = cursors;
        }
        for (value, watches) in due {
            self.send_waiting(six, value, watches);
        }
    }

    /// Gives a subscription back what it remembers, where its filter is the same. Returns the rest.
    fn recall(&mut self, key: Option<u32>, remembered: Vec<Remembered>) -> Vec<Watch> {
        let mut rest = Vec::new();
        for Remembered { topic, watch, rule } in remembered {
            let now = key.and_then(|key| self.board.filters.settings_for(key, &topic));
            let same = match (&rule, &now) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.to_prefix() == other.to_prefix(),
                _ => false,
            };
            let Some(key) = key.filter(|_| same) else {
                rest.push(watch);
                continue;
            };
            if let Some(until) = watch.waits_until() {
                self.board.at(until, Timer::Held(key, (*topic).into()));
            }
            if let Some(one) = self.board.filters.get_mut(key) {
                one.watches.put(topic, watch);
            }
        }
        rest
    }

    /// A name means something else: what was passed on by its former meaning tells nothing.
    fn forget_passed(&mut self, renamed: &BTreeSet<RuleIx>) {
        if renamed.is_empty() {
            return;
        }
        for (target, value, watches) in self.board.filters.take_watches_of(renamed) {
            self.send_waiting(target, value, watches);
        }
    }

    fn send_waiting(&mut self, target: u32, value: SubValue, watches: Vec<Watch>) {
        for message in watches.into_iter().filter_map(Watch::into_held) {
            self.board.stats.filter_passed += 1;
            self.send_held((target, value), &[], &message);
        }
    }
}

impl Filters {
    /// Takes out what a subscription remembers.
    fn remember(&mut self, key: u32) -> Vec<Remembered> {
        let watches = self.get_mut(key).map(|one| one.watches.take()).unwrap_or_default();
        let with_rule = |(topic, watch): (Box<str>, Watch)| {
            let rule = self.settings_for(key, &topic);
            Remembered { topic, watch, rule }
        };
        watches.into_iter().map(with_rule).collect()
    }

    /// The rule that decides about a topic for a subscription.
    fn settings_for(&self, key: u32, topic: &str) -> Option<Arc<Rule>> {
        let rule = self.rules.deciding(self.rule_of(key)?, topic)?;
        self.rules.rule(rule).cloned()
    }

    /// Takes out what the subscriptions remember that have one of these rules.
    fn take_watches_of(&mut self, rules: &BTreeSet<RuleIx>) -> Vec<(u32, SubValue, Vec<Watch>)> {
        let mut taken = Vec::new();
        for (_, one) in &mut self.subscriptions {
            let rule = self.bundles.get(one.bundle as usize).map(|bundle| bundle.rule);
            if rule.is_some_and(|rule| rules.contains(&rule)) {
                let watches = one.watches.take().into_values().collect();
                taken.push((one.target, one.value, watches));
            }
        }
        taken
    }
}

fn six_of(six: usize) -> SessionIx {
    SessionIx::try_from(six).expect("fewer than 2^31 Sessions fit into memory")
}
