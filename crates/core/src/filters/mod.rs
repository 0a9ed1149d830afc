//! Subscriptions that let through a part of what their topics bring: kept apart from all others, so that a broker
//! without filters pays one look at an empty index.
//!
//! ```text
//! topic ── index ──> bundles ──> rules ──> conditions     evaluated once a message each, however many share them
//!                       └──> subscriptions ──> what each passed on last, by topic (`changed`, `deadband`, `every`)
//! ```
//!
//! A bundle is all subscriptions of one Topic Filter with one rule: a message that fails the rule costs the same
//! whether one or a hundred thousand share it.

mod attach;
mod change;
mod prefix;
mod route;
mod rules;
mod table;
mod watch;

pub(crate) use change::{Spec, reaches_back};
pub(crate) use prefix::{Asked, Parsed, Prefix, Refused, parse};
pub use rules::FilterCounts;
pub(crate) use rules::{NAMED, RuleIx};
pub use table::{Attachment, FilterTable, Who};

use std::{collections::BTreeSet, sync::Arc};

use cork_topic::{FilterId, SubscriptionIndex};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;

use crate::session::SubValue;
use rules::Rules;
use watch::Watches;

/// Subscriptions with filters of its own that a Session may have.
pub(crate) const FILTERED_PER_SESSION_MAX: usize = 1000;

/// Retained messages that filters may look at in vain in one go.
const LOOKS_PER_TURN: u32 = 64;
/// Steps of an evaluation that count as one more such look.
const STEPS_IN_A_LOOK: u32 = 150;

/// One subscription with a filter.
pub(crate) struct Filtered {
    /// The Session, or a shared subscription's group with its bit: what the plain index would hold.
    pub(crate) target: u32,
    pub(crate) value: SubValue,
    bundle: u32,
    watches: Watches,
    /// Shards whose present has not begun for it: what comes from there is replayed.
    pub(crate) awaits: BTreeSet<u16>,
}

/// All subscriptions of one Topic Filter with one rule.
struct Bundle {
    filter: FilterId,
    rule: RuleIx,
    members: BTreeSet<u32>,
}

/// All subscriptions with filters, and what the filters are.
pub(crate) struct Filters {
    /// Topic Filters to bundles.
    index: SubscriptionIndex<()>,
    bundles: Slab<Bundle>,
    /// Where the bundle of a Topic Filter and a rule is.
    found: HashMap<(FilterId, RuleIx), u32, FixedState>,
    subscriptions: Slab<Filtered>,
    pub(crate) rules: Rules,
    pub(crate) table: Arc<FilterTable>,
    hasher: FixedState,
    /// Memory that serves one message after another.
    scratch: Vec<(u32, ())>,
    /// Retained messages that did not pass in this turn; long looks count for several.
    looks: u32,
    merged: Vec<(u32, SubValue)>,
}

impl Filters {
    pub(crate) fn new(seed: u64, table: Arc<FilterTable>) -> Self {
        Self {
            index: SubscriptionIndex::new(seed),
            bundles: Slab::new(),
            found: HashMap::with_hasher(FixedState::with_seed(seed)),
            subscriptions: Slab::new(),
            rules: Rules::new(seed),
            table,
            hasher: FixedState::with_seed(seed),
            scratch: Vec::new(),
            looks: 0,
            merged: Vec::new(),
        }
    }

    /// Counts a look at a retained message.
    fn looked(&mut self, passes: bool, steps: u32) {
        self.looks = self.looks.saturating_add(u32::from(!passes) + steps / STEPS_IN_A_LOOK);
    }

    /// Says when there were so many looks that others have their turn.
    pub(crate) fn has_looked_long(&mut self) -> bool {
        let long = self.looks >= LOOKS_PER_TURN;
        if long {
            self.looks = 0;
        }
        long
    }

    /// Whether no subscription has a filter.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Whether a subscription with a filter may want messages of a topic.
    pub(crate) fn may_want(&mut self, topic: &str) -> bool {
        !self.is_empty() && {
            self.scratch.clear();
            self.index.matches(topic, &mut self.scratch) > 0
        }
    }

    /// Whether a Session (not a group) subscribes to this Topic Filter through a filter.
    pub(crate) fn has_session(&self, filter: &str) -> bool {
        let Some(id) = self.index.find(filter) else { return false };
        let bundles = self.index.subscribers(id);
        bundles.filter_map(|(bundle, ())| self.bundles.get(bundle as usize)).any(|bundle| {
            let mut members = bundle.members.iter().filter_map(|key| self.get(*key));
            members.any(|one| one.target & crate::session::GROUP_BIT == 0)
        })
    }

    /// Adds a subscription; takes over one use of the rule.
    pub(crate) fn insert(&mut self, filter: &str, rule: RuleIx, target: u32, value: SubValue) -> u32 {
        let vacant =
            u32::try_from(self.bundles.vacant_key()).expect("fewer than 2^32 bundles fit into memory");
        let existing = self.index.find(filter).and_then(|id| self.found.get(&(id, rule)).copied());
        let bundle = existing.unwrap_or_else(|| {
            let id = self.index.insert(filter, vacant, ()).id;
            self.found.insert((id, rule), vacant);
            self.bundles.insert(Bundle { filter: id, rule, members: BTreeSet::new() });
            vacant
        });
        let watches = Watches::default();
        let subscription = Filtered { target, value, bundle, watches, awaits: BTreeSet::new() };
        let key = u32::try_from(self.subscriptions.insert(subscription))
            .expect("fewer than 2^32 subscriptions fit into memory");
        self.bundles[bundle as usize].members.insert(key);
        key
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut Filtered> {
        self.subscriptions.get_mut(key as usize)
    }

    pub(crate) fn get(&self, key: u32) -> Option<&Filtered> {
        self.subscriptions.get(key as usize)
    }

    /// The rule of a subscription.
    pub(crate) fn rule_of(&self, key: u32) -> Option<RuleIx> {
        let bundle = self.get(key)?.bundle;
        Some(self.bundles.get(bundle as usize)?.rule)
    }

    /// The Topic Filter of a subscription.
    pub(crate) fn filter_of(&self, key: u32) -> String {
        let bundle = self.get(key).and_then(|subscription| self.bundles.get(subscription.bundle as usize));
        bundle.map_or_else(String::new, |bundle| self.index.filter(bundle.filter))
    }

    /// Takes a subscription out, with what it remembers.
    pub(crate) fn remove(&mut self, key: u32) {
        let Some(subscription) = self.subscriptions.try_remove(key as usize) else { return };
        let Some(bundle) = self.bundles.get_mut(subscription.bundle as usize) else { return };
        bundle.members.remove(&key);
        let rule = bundle.rule;
        if bundle.members.is_empty() {
            self.found.remove(&(bundle.filter, rule));
            self.index.remove(bundle.filter, subscription.bundle);
            self.bundles.remove(subscription.bundle as usize);
        }
        self.rules.release(rule);
    }
}
