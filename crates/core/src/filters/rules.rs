//! Rules and their conditions, each kept once however many subscriptions share it, with what the present message made
//! of it and what all messages did.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cork_filter::{Outcome, Reading, Rule, Seen};
use cork_packet::matches;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;

use super::table::FilterTable;

/// What became of messages at a filter, counted for each subscription they might have gone to.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterCounts {
    /// Passed on.
    pub passed: u64,
    /// Kept back: the condition is false, the value did not change, or a later message was sooner.
    pub suppressed: u64,
    /// Kept back: the message lacks what the condition asks for, or is of another type.
    pub not_understood: u64,
    /// Subscriptions that have the filter now; all that a filter is attached to of one client count as one.
    pub subscriptions: u64,
}

impl FilterCounts {
    /// Adds the counts of another shard.
    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.suppressed += other.suppressed;
        self.not_understood += other.not_understood;
        self.subscriptions += other.subscriptions;
    }
}

/// Names a rule.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RuleIx(u32);

/// What a subscription's messages must meet.
enum Kind {
    One(Checked),
    /// A name that the configuration does not know (any more): nothing passes.
    Missing,
    /// By topic, the first one that fits; what fits none passes.
    Attached(Box<[(Box<str>, RuleIx)]>),
}

struct Checked {
    rule: Arc<Rule>,
    condition: Option<u32>,
    /// The present message's value, once somebody asked for it.
    reading: Option<(u64, Option<Reading>)>,
}

struct Entry {
    key: Arc<str>,
    kind: Kind,
    uses: u32,
    counts: FilterCounts,
}

/// A condition, once for all rules that have it.
struct Condition {
    rule: Arc<Rule>,
    uses: u32,
    outcome: Option<(u64, Outcome)>,
}

pub(crate) struct Rules {
    entries: Slab<Entry>,
    by_key: HashMap<Arc<str>, u32, FixedState>,
    conditions: Slab<Condition>,
    by_source: HashMap<Box<str>, u32, FixedState>,
    /// Counts messages: what was found out about one is not used for the next.
    message: u64,
}

impl Rules {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            entries: Slab::new(),
            by_key: HashMap::with_hasher(FixedState::with_seed(seed)),
            conditions: Slab::new(),
            by_source: HashMap::with_hasher(FixedState::with_seed(seed)),
            message: 0,
        }
    }

    /// What comes is about another message.
    pub(super) fn next_message(&mut self) {
        self.message += 1;
    }

    /// One more use of a rule that is there.
    pub(crate) fn reuse(&mut self, key: &str) -> Option<RuleIx> {
        let at = *self.by_key.get(key)?;
        self.entries[at as usize].uses += 1;
        Some(RuleIx(at))
    }

    fn add(&mut self, key: &str, kind: Kind) -> RuleIx {
        let key: Arc<str> = key.into();
        let entry = Entry { key: Arc::clone(&key), kind, uses: 1, counts: FilterCounts::default() };
        let at = u32::try_from(self.entries.insert(entry)).expect("fewer than 2^32 rules fit into memory");
        self.by_key.insert(key, at);
        RuleIx(at)
    }

    /// The rule with this key, made of `rule` if it is not there: one use more.
    pub(crate) fn of_rule(&mut self, key: &str, rule: &Arc<Rule>) -> RuleIx {
        if let Some(rule) = self.reuse(key) {
            return rule;
        }
        let checked = self.check(rule);
        self.add(key, Kind::One(checked))
    }

    /// A named one.
    pub(crate) fn named(&mut self, name: &str, table: &FilterTable) -> RuleIx {
        let key = named_key(name);
        if let Some(rule) = self.reuse(&key) {
            return rule;
        }
        let kind = self.look_up(name, table);
        self.add(&key, kind)
    }

    fn look_up(&mut self, name: &str, table: &FilterTable) -> Kind {
        match table.named.get(name) {
            Some(rule) => Kind::One(self.check(rule)),
            None => Kind::Missing,
        }
    }

    /// What is attached to somebody: these entries of the table.
    pub(crate) fn attached(&mut self, places: &[usize], table: &FilterTable) -> RuleIx {
        let names = places.iter().filter_map(|at| table.attached.get(*at));
        let key = format!("$attach/{}", names.map(|one| &*one.name).collect::<Vec<_>>().join("/"));
        if let Some(rule) = self.reuse(&key) {
            return rule;
        }
        let list: Box<[(Box<str>, RuleIx)]> = places
            .iter()
            .filter_map(|at| table.attached.get(*at))
            .map(|one| (one.topic.clone(), self.of_rule(&one.name, &one.rule)))
            .collect();
        self.add(&key, Kind::Attached(list))
    }

    fn check(&mut self, rule: &Arc<Rule>) -> Checked {
        let condition = rule.when.as_ref().map(|when| {
            let at = self.by_source.get(when.source()).copied().unwrap_or_else(|| {
                let condition = Condition { rule: Arc::clone(rule), uses: 0, outcome: None };
                let at = u32::try_from(self.conditions.insert(condition)).unwrap_or(u32::MAX);
                self.by_source.insert(when.source().into(), at);
                at
            });
            self.conditions[at as usize].uses += 1;
            at
        });
        Checked { rule: Arc::clone(rule), condition, reading: None }
    }

    /// One use less; a rule that nobody uses is forgotten.
    pub(crate) fn release(&mut self, rule: RuleIx) {
        let Some(entry) = self.entries.get_mut(rule.0 as usize) else { return };
        entry.uses -= 1;
        if entry.uses > 0 {
            return;
        }
        let entry = self.entries.remove(rule.0 as usize);
        self.by_key.remove(&entry.key);
        self.drop_kind(entry.kind);
    }

    fn drop_kind(&mut self, kind: Kind) {
        match kind {
            Kind::Missing => {}
            Kind::Attached(list) => list.iter().for_each(|(_, rule)| self.release(*rule)),
            Kind::One(Checked { condition: Some(at), .. }) => {
                let condition = &mut self.conditions[at as usize];
                condition.uses -= 1;
                if condition.uses == 0 {
                    let condition = self.conditions.remove(at as usize);
                    let source = condition.rule.when.as_ref().map(cork_filter::Expression::source);
                    self.by_source.remove(source.unwrap_or_default());
                }
            }
            Kind::One(_) => {}
        }
    }

    /// Another configuration: names mean what it says from now on. Returns those that meant something else before.
    pub(super) fn rename(&mut self, table: &FilterTable) -> BTreeSet<RuleIx> {
        let mut changed = BTreeSet::new();
        let named = |(at, entry): (usize, &Entry)| Some((at, entry.key.strip_prefix(NAMED)?.to_owned()));
        let names: Vec<(usize, String)> = self.entries.iter().filter_map(named).collect();
        for (at, name) in names {
            let kind = self.look_up(&name, table);
            let before = std::mem::replace(&mut self.entries[at].kind, kind);
            let text = |kind: &Kind| match kind {
                Kind::One(checked) => Some(checked.rule.to_prefix()),
                Kind::Missing | Kind::Attached(_) => None,
            };
            if text(&before) != text(&self.entries[at].kind) {
                changed.extend(u32::try_from(at).map(RuleIx));
            }
            self.drop_kind(before);
        }
        changed
    }

    /// The rule that decides about a topic; `None`: it passes.
    pub(super) fn deciding(&self, rule: RuleIx, topic: &str) -> Option<RuleIx> {
        match &self.entries[rule.0 as usize].kind {
            Kind::One(_) | Kind::Missing => Some(rule),
            Kind::Attached(list) => {
                list.iter().find(|(filter, _)| matches(filter, topic)).map(|(_, rule)| *rule)
            }
        }
    }

    /// What a rule's condition says of the present message.
    pub(super) fn outcome(&mut self, rule: RuleIx, seen: &Seen<'_>) -> Outcome {
        let condition = match &self.entries[rule.0 as usize].kind {
            Kind::One(checked) => checked.condition,
            Kind::Missing | Kind::Attached(_) => return Outcome::Fails,
        };
        let Some(condition) = condition.map(|at| &mut self.conditions[at as usize]) else {
            return Outcome::Passes;
        };
        if let Some((message, outcome)) = condition.outcome
            && message == self.message
        {
            return outcome;
        }
        let outcome = condition.rule.when.as_ref().map_or(Outcome::Passes, |when| when.test(seen));
        condition.outcome = Some((self.message, outcome));
        outcome
    }

    /// The rule itself, if it has one.
    pub(super) fn rule(&self, rule: RuleIx) -> Option<&Arc<Rule>> {
        match &self.entries.get(rule.0 as usize)?.kind {
            Kind::One(checked) => Some(&checked.rule),
            Kind::Missing | Kind::Attached(_) => None,
        }
    }

    /// The value that a rule compares, of the present message.
    pub(super) fn reading(&mut self, rule: RuleIx, seen: &Seen<'_>, hasher: &FixedState) -> Option<Reading> {
        let message = self.message;
        let Kind::One(checked) = &mut self.entries[rule.0 as usize].kind else { return None };
        if let Some((of, reading)) = checked.reading
            && of == message
        {
            return reading;
        }
        let reading = match &checked.rule.changed {
            Some(cork_filter::Changed::Named(named)) => named.reading(seen, hasher),
            Some(cork_filter::Changed::Payload) | None => Some(seen.reading(hasher)),
        };
        checked.reading = Some((message, reading));
        reading
    }

    pub(super) fn counts(&mut self, rule: RuleIx) -> &mut FilterCounts {
        &mut self.entries[rule.0 as usize].counts
    }

    /// What is counted, by filter: named ones under their names, others as they were written.
    pub(crate) fn all_counts(&self) -> impl Iterator<Item = (&Arc<str>, FilterCounts)> {
        // What is attached is one use of its filter, whatever the number of subscriptions it is attached to.
        let mut attached: BTreeMap<usize, (u32, u32)> = BTreeMap::new();
        for (_, entry) in &self.entries {
            let Kind::Attached(list) = &entry.kind else { continue };
            let rules: BTreeSet<usize> = list.iter().map(|(_, rule)| rule.0 as usize).collect();
            list.iter().for_each(|(_, rule)| attached.entry(rule.0 as usize).or_default().0 += 1);
            rules.iter().for_each(|rule| attached.entry(*rule).or_default().1 += entry.uses);
        }
        let decides = |(_, entry): &(usize, &Entry)| !matches!(entry.kind, Kind::Attached(_));
        self.entries.iter().filter(decides).map(move |(at, entry)| {
            let (uses, subscriptions) = attached.get(&at).copied().unwrap_or_default();
            let subscriptions = u64::from(entry.uses.saturating_sub(uses) + subscriptions);
            (&entry.key, FilterCounts { subscriptions, ..entry.counts })
        })
    }
}

/// How a named filter's key begins.
pub(crate) const NAMED: &str = "$filter/";

pub(crate) fn named_key(name: &str) -> String {
    format!("{NAMED}{name}")
}
