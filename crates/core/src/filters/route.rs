//! A message at the subscriptions with filters.

use std::sync::Arc;

use cork_filter::{Message as Looked, Outcome, Scratch};
use cork_packet::{Properties, PropertyPlace};
use cork_proto::Time;
use cork_store::Message;

use super::{
    Filters, RuleIx,
    watch::{Decision, Released},
};
use crate::{
    board::{Board, Timer},
    conn::{NO_SESSION, SessionIx},
    deliver::{How, Publication},
    publish::{deliver_overlapping, hand_out},
    router::Turn,
    session::{GROUP_BIT, NO_GROUP, SubValue},
    shard::Shard,
};

/// A publication's properties, decoded when an expression asks for one.
struct Lazy<'a> {
    raw: &'a [u8],
    decoded: std::cell::OnceCell<Properties<'a>>,
}

impl<'a> Lazy<'a> {
    fn get(&self) -> &Properties<'a> {
        // They were checked when the packet was read.
        self.decoded
            .get_or_init(|| Properties::decode(self.raw, PropertyPlace::PublishToServer).unwrap_or_default())
    }
}

impl cork_filter::Properties for Lazy<'_> {
    fn content_type(&self) -> Option<&str> {
        if self.raw.is_empty() { None } else { self.get().content_type() }
    }

    fn user(&self, name: &str) -> Option<&str> {
        if self.raw.is_empty() {
            return None;
        }
        self.get().user_properties().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    fn bytes(&self) -> usize {
        self.raw.len()
    }
}

fn looked_at<'a>(publication: &Publication<'a>, properties: &'a Lazy<'a>) -> Looked<'a> {
    Looked {
        topic: publication.topic,
        payload: publication.payload,
        qos: publication.qos as u8,
        retain: publication.retain,
        client_id: &publication.publisher.client_id,
        user: publication.publisher.user_name.as_deref().unwrap_or_default(),
        properties,
    }
}

impl Shard {
    /// As [`Shard::route`], where some subscription has a filter: those it passes join the others.
    #[cold]
    pub(crate) fn route_filtered(
        &mut self,
        publication: &mut Publication<'_>,
        from: SessionIx,
        shares: bool,
    ) -> bool {
        let mut merged = std::mem::take(&mut self.board.filters.merged);
        merged.clear();
        merged.extend_from_slice(self.router.matching(publication.topic).0);
        let plain = merged.len();
        let held = self.board.filter(publication, from, shares, &mut merged);
        if merged.len() > plain {
            merged.sort_by_key(|(target, _)| *target);
        }
        let groups = &mut self.router.groups;
        let anybody = hand_out(&mut self.board, &mut self.peers, &merged, groups, publication, from, shares);
        self.board.filters.merged = merged;
        anybody || held
    }

    /// The time of a topic is over: what waits for it goes out.
    pub(crate) fn on_held_timer(&mut self, key: u32, topic: &str) {
        let now = self.board.now;
        let filters = &mut self.board.filters;
        let Some(rule) = filters.rule_of(key).and_then(|rule| filters.rules.deciding(rule, topic)) else {
            return;
        };
        let Some(settings) = filters.rules.rule(rule).cloned() else { return };
        let Some(subscription) = filters.get_mut(key) else { return };
        let (target, value) = (subscription.target, subscription.value);
        let Some(released) = subscription.watches.release(&settings, topic, now) else { return };
        let Released { message, twin } = released;
        let twins = if twin { self.release_twins(target, key, &message) } else { Vec::new() };
        self.board.count_filter(rule, 1, 0, 0);
        self.send_held((target, value), &twins, &message);
    }

    /// Other subscriptions of a Session that keep the same message: it goes out for all of them, once.
    fn release_twins(&mut self, six: SessionIx, key: u32, message: &Message) -> Vec<(u32, SubValue)> {
        let now = self.board.now;
        let Some(session) = self.board.sessions.get(six as usize) else { return Vec::new() };
        let others: Vec<u32> = session.filtered.values().filter_map(|own| own.key).collect();
        let mut twins = Vec::new();
        for other in others.into_iter().filter(|other| *other != key) {
            let filters = &mut self.board.filters;
            let rule = filters.rule_of(other).and_then(|rule| filters.rules.deciding(rule, message.topic()));
            let Some(rule) = rule else { continue };
            let Some(settings) = filters.rules.rule(rule).cloned() else { continue };
            let Some(subscription) = filters.get_mut(other) else { continue };
            if subscription.watches.release_twin(&settings, message, now) {
                twins.push((subscription.target, subscription.value));
                self.board.count_filter(rule, 1, 0, 0);
            }
        }
        twins
    }

    /// Sends what waited: for one subscription, and for others of the same Session.
    pub(super) fn send_held(
        &mut self,
        (target, value): (u32, SubValue),
        twins: &[(u32, SubValue)],
        message: &Arc<Message>,
    ) {
        if message.is_expired(self.board.wall()) {
            self.board.stats.dropped_expired += 1;
            return;
        }
        let mut publication = Publication::of(message);
        if !twins.is_empty() {
            let all = [&[(target, value)], twins].concat();
            return deliver_overlapping(&mut self.board, &all, &mut publication, NO_SESSION);
        }
        if target & GROUP_BIT == 0 {
            let id = [value.sub_id];
            let how = How {
                qos: publication.qos.min(value.qos()),
                retain: publication.retain && value.retain_as_published(),
                group: NO_GROUP,
                share: None,
                sub_ids: if value.sub_id == 0 { &[] } else { &id },
            };
            return self.board.deliver(target, &mut publication, how);
        }
        let group_ix = target & !GROUP_BIT;
        let Some(group) = self.router.groups.get_mut(group_ix as usize) else { return };
        match group.next_turn() {
            Turn::Here => self.deliver_to_group(group_ix, &mut publication),
            Turn::Shard(shard) => {
                let groups = vec![Arc::clone(&group.name)];
                self.tell_share(shard, Arc::clone(message), groups, Vec::new(), None);
            }
        }
    }
}

impl Board {
    /// Appends to `passed` the subscriptions whose filters a publication passes. Returns whether one keeps it for later.
    fn filter(
        &mut self,
        publication: &mut Publication<'_>,
        from: SessionIx,
        shares: bool,
        passed: &mut Vec<(u32, SubValue)>,
    ) -> bool {
        let mut bundles = std::mem::take(&mut self.filters.scratch);
        bundles.clear();
        self.filters.index.matches(publication.topic, &mut bundles);
        let mut holds = Vec::new();
        if !bundles.is_empty() {
            self.filters.rules.next_message();
            let lazy = Lazy { raw: publication.properties, decoded: std::cell::OnceCell::new() };
            let mut scratch = std::mem::take(&mut self.looking);
            let seen = scratch.look(looked_at(publication, &lazy));
            for (bundle, ()) in &bundles {
                let origin = publication.handed_by.unwrap_or(self.config.shard);
                let to = (from, shares, origin);
                self.filter_bundle(*bundle, &seen, publication.topic, to, passed, &mut holds);
            }
            scratch.take_back(seen);
            self.looking = scratch;
        }
        self.filters.scratch = bundles;
        if !holds.is_empty() {
            self.hold_for_later(&holds, publication, from, passed);
        }
        !holds.is_empty()
    }

    fn filter_bundle(
        &mut self,
        bundle: u32,
        seen: &cork_filter::Seen<'_>,
        topic: &str,
        (from, shares, origin): (SessionIx, bool, u16),
        passed: &mut Vec<(u32, SubValue)>,
        holds: &mut Vec<Hold>,
    ) {
        let Filters { bundles, rules, subscriptions, hasher, .. } = &mut self.filters;
        let Some(bundle) = bundles.get(bundle as usize) else { return };
        let many = bundle.members.len() as u64;
        let Some(rule) = rules.deciding(bundle.rule, topic) else {
            // Nothing is attached to this topic.
            let all = bundle.members.iter().filter_map(|key| subscriptions.get(*key as usize));
            return passed.extend(all.map(|one| (one.target, one.value)));
        };
        match rules.outcome(rule, seen) {
            Outcome::Passes => {}
            Outcome::Fails => return self.count_filter(rule, 0, many, 0),
            Outcome::NotUnderstood => return self.count_filter(rule, 0, 0, many),
        }
        let Some(settings) = rules.rule(rule).cloned() else { return };
        let remembers = settings.compares() || settings.every.is_some();
        let reading = if settings.compares() { rules.reading(rule, seen, hasher) } else { None };
        if settings.compares() && reading.is_none() {
            return self.count_filter(rule, 0, 0, many);
        }
        let members: Vec<u32> = bundle.members.iter().copied().collect();
        let (mut went, mut stayed) = (0, 0);
        for key in members {
            let Some(one) = self.filters.get(key) else { continue };
            let (target, value) = (one.target, one.value);
            let is_group = target & GROUP_BIT != 0;
            if (is_group && !shares) || (target == from && value.no_local()) || one.awaits.contains(&origin) {
                continue;
            }
            // What somebody may not read must leave no trace in what counts as passed on.
            if remembers && !is_group && !self.could_read(target, topic) {
                continue;
            }
            let now = self.now;
            let Some(one) = self.filters.get_mut(key) else { continue };
            let decision =
                if remembers { one.watches.decide(&settings, topic, reading, now) } else { Decision::Pass };
            match decision {
                Decision::Pass => {
                    went += 1;
                    passed.push((target, value));
                }
                Decision::Drop => stayed += 1,
                Decision::Hold { until, timer } => {
                    stayed += u64::from(!timer); // the one that waited does so no longer
                    holds.push(Hold { key, target, value, rule, until, timer, reading });
                }
            }
        }
        self.count_filter(rule, went, stayed, 0);
    }

    /// Keeps a message for subscriptions whose time is not over; where another subscription of the Session brings it at
    /// once, it goes out for both.
    fn hold_for_later(
        &mut self,
        holds: &[Hold],
        publication: &mut Publication<'_>,
        from: SessionIx,
        passed: &mut Vec<(u32, SubValue)>,
    ) {
        passed.sort_by_key(|(target, _)| *target);
        let at_once = passed.len();
        let mut targets: Vec<u32> = holds.iter().map(|hold| hold.target).collect();
        targets.sort_unstable();
        for hold in holds {
            let is_session = hold.target & GROUP_BIT == 0;
            let begin = passed[..at_once].partition_point(|(target, _)| *target < hold.target);
            let mut own = passed[begin..at_once].iter().take_while(|(target, _)| *target == hold.target);
            if is_session && own.any(|(target, value)| *target != from || !value.no_local()) {
                if let Some(one) = self.filters.get_mut(hold.key) {
                    one.watches.go_along(publication.topic, hold.reading);
                }
                passed.push((hold.target, hold.value));
                self.count_filter(hold.rule, 1, 0, 0);
                continue;
            }
            let message = self.message(publication);
            let first = targets.partition_point(|target| *target < hold.target);
            let twin = is_session && targets.get(first + 1) == Some(&hold.target);
            if let Some(one) = self.filters.get_mut(hold.key) {
                one.watches.hold(publication.topic, message, hold.reading, twin);
            }
            if hold.timer {
                self.at(hold.until, Timer::Held(hold.key, publication.topic.into()));
            }
        }
    }

    /// Whether a retained message passes the filter of a new subscription.
    pub(crate) fn passes_retained(&mut self, key: u32, message: &Arc<Message>) -> bool {
        let Some(rule) = self.filters.rule_of(key) else { return false };
        let Some(rule) = self.filters.rules.deciding(rule, message.topic()) else { return true };
        self.filters.rules.next_message();
        let publication = Publication::of(message);
        let lazy = Lazy { raw: publication.properties, decoded: std::cell::OnceCell::new() };
        let mut scratch = Scratch::default();
        let seen = scratch.look(looked_at(&publication, &lazy));
        let outcome = self.filters.rules.outcome(rule, &seen);
        let settings = self.filters.rules.rule(rule).cloned();
        let compares = settings.as_ref().is_some_and(|rule| rule.compares());
        let reading =
            if compares { self.filters.rules.reading(rule, &seen, &self.filters.hasher) } else { None };
        let understood = outcome != Outcome::NotUnderstood && !(compares && reading.is_none());
        let passes = outcome == Outcome::Passes && understood;
        self.filters.looked(passes, seen.spent());
        self.count_filter(rule, u64::from(passes), u64::from(understood && !passes), u64::from(!understood));
        if let (true, Some(settings)) = (passes, settings) {
            let now = self.now;
            if let Some(one) = self.filters.get_mut(key) {
                one.watches.begin(&settings, message, reading, now);
            }
        }
        passes
    }

    fn count_filter(&mut self, rule: RuleIx, passed: u64, suppressed: u64, not_understood: u64) {
        let counts = super::FilterCounts { passed, suppressed, not_understood, subscriptions: 0 };
        self.filters.rules.counts(rule).add(&counts);
        self.stats.filter_passed += passed;
        self.stats.filter_suppressed += suppressed;
        self.stats.filter_not_understood += not_understood;
    }
}

/// A message that one subscription keeps.
struct Hold {
    key: u32,
    target: u32,
    value: SubValue,
    rule: RuleIx,
    until: Time,
    timer: bool,
    reading: Option<cork_filter::Reading>,
}
