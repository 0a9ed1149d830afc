//! Who gets a message: subscriptions, shared subscription groups, and which other shards have an interest.

use std::{hash::BuildHasher, sync::Arc, time::Duration};

use cork_packet::QoS;
use cork_proto::Time;
use cork_topic::{FilterId, ShareGroup, SubscriptionIndex};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use slab::Slab;

use crate::{
    conn::SessionIx,
    session::{GROUP_BIT, Session, SubValue},
};

/// Topics whose routes are remembered. A hit saves the walk through the index.
const CACHED_TOPICS_MAX: usize = 16 << 10;
/// Bytes of the topics and routes remembered: topics may be 64 KB long, and have every Session as receiver.
const CACHED_BYTES_MAX: usize = 16 << 20;
/// A full cache that hit in less than half of the look-ups costs more than it saves: it rests for this many.
const CACHE_RESTS_FOR: u32 = 1 << 20;

/// Members of a shared subscription on another shard.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) shard: u16,
    pub(crate) online: u32,
    pub(crate) all: u32,
    /// Some of them outlive their connections.
    pub(crate) kept: bool,
}

/// One shared subscription: share name and filter (5.0 4.8.2).
#[derive(Debug)]
pub(crate) struct Group {
    /// `<share name>/<filter>`.
    pub(crate) name: Arc<str>,
    pub(crate) filter: FilterId,
    pub(crate) members: ShareGroup<SubValue>,
    /// Members here that have a connection.
    pub(crate) online: u32,
    /// Members here whose Sessions outlive their connections.
    pub(crate) kept: u32,
    /// Other shards with members; empty when there is one shard.
    pub(crate) remotes: Vec<Remote>,
    /// Its place among the subscriptions with filters, if it has one; `filter` names nothing then.
    pub(crate) filtered: Option<u32>,
    /// Nobody here was ready when somebody was looked for.
    busy: Option<Busy>,
    /// Counts messages, so that shards get their turns by the number of their members.
    turn: u32,
}

/// What is known of a group in which nobody was ready to take a message at once.
///
/// Looking at a thousand members for each message that finds all of them at work would cost more than all else about it.
#[derive(Copy, Clone, Debug)]
struct Busy {
    qos: QoS,
    /// [`Board::readied`](crate::board::Board) then.
    readied: u64,
    until: Time,
}

/// How long that is taken for granted, whatever happens.
const BUSY: Duration = Duration::from_millis(1);

/// Where a shared subscription's message goes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Here,
    Shard(u16),
}

impl Group {
    /// Whether somebody here may be ready for a message of this QoS: nobody was lately, and nobody has become so since.
    pub(crate) fn may_be_ready(&self, qos: QoS, readied: u64, now: Time) -> bool {
        let busy = |busy: &Busy| busy.qos == qos && busy.readied == readied && now < busy.until;
        self.online > 0 && !self.busy.as_ref().is_some_and(busy)
    }

    /// Nobody was.
    pub(crate) fn found_busy(&mut self, qos: QoS, readied: u64, now: Time) {
        self.busy = Some(Busy { qos, readied, until: now + BUSY });
    }

    /// Adds a member, or changes its options. Returns those it had.
    pub(crate) fn join(&mut self, six: SessionIx, session: &Session, value: SubValue) -> Option<SubValue> {
        self.busy = None;
        let before = self.members.insert(six, value);
        if before.is_none() {
            self.online += u32::from(session.is_online());
            self.kept += u32::from(session.expiry_seconds != 0);
        }
        before
    }

    /// Removes a member.
    pub(crate) fn leave(&mut self, six: SessionIx, session: Option<&Session>) {
        if let (Some(_), Some(session)) = (self.members.remove(six), session) {
            self.online = self.online.saturating_sub(u32::from(session.is_online()));
            self.kept = self.kept.saturating_sub(u32::from(session.expiry_seconds != 0));
        }
    }

    /// Whether what is acknowledged to a publisher has to outlive the broker, as some member does.
    pub(crate) fn outlives(&self) -> bool {
        self.kept > 0 || self.remotes.iter().any(|remote| remote.kept)
    }

    /// Whether a member here is as good as any elsewhere: it has a connection, or nobody has one.
    pub(crate) fn is_served_here(&self) -> bool {
        let elsewhere = self.remotes.iter().any(|remote| remote.online > 0);
        self.online > 0 || (!self.members.is_empty() && !elsewhere)
    }

    /// Where a message goes that this shard was chosen for, if not to a member here.
    pub(crate) fn moved_on(&mut self) -> Option<u16> {
        if self.is_served_here() {
            return None;
        }
        match self.next_turn() {
            Turn::Here => None,
            Turn::Shard(shard) => Some(shard),
        }
    }

    /// Whose turn it is: each member with a connection counts the same, wherever it is.
    pub(crate) fn next_turn(&mut self) -> Turn {
        if self.remotes.is_empty() {
            return Turn::Here;
        }
        self.turn = self.turn.wrapping_add(1);
        let anybody_online = self.online + self.remotes.iter().map(|r| r.online).sum::<u32>() > 0;
        let here = if anybody_online { self.online } else { u32::try_from(self.members.len()).unwrap_or(1) };
        let weight = |remote: &Remote| if anybody_online { remote.online } else { remote.all };
        let sum = here + self.remotes.iter().map(weight).sum::<u32>();
        let mut at = if sum == 0 { return Turn::Here } else { self.turn % sum };
        if at < here {
            return Turn::Here;
        }
        at -= here;
        for remote in &self.remotes {
            if at < weight(remote) {
                return Turn::Shard(remote.shard);
            }
            at -= weight(remote);
        }
        Turn::Here
    }
}

/// Filters to subscribers.
pub(crate) struct Router {
    pub(crate) index: SubscriptionIndex<SubValue>,
    pub(crate) groups: Slab<Group>,
    group_names: HashMap<Arc<str>, u32, FixedState>,
    /// Plain filters other shards have subscribers for; key: shard.
    pub(crate) interest: SubscriptionIndex<()>,
    cache: RouteCache,
    scratch: Vec<(u32, SubValue)>,
    scratch_interest: Vec<(u32, ())>,
}

/// Shards of a broker, at most.
pub(crate) const SHARDS_MAX: u16 = 64;

/// Shards, each a bit.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardSet(u64);

impl ShardSet {
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn contains(self, shard: u16) -> bool {
        self.0 >> shard & 1 == 1
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u16> {
        bits(self.0)
    }
}

/// Numbers of the bits that are set, from the lowest.
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let bit = u16::try_from(mask.trailing_zeros()).ok()?;
        mask &= mask.checked_sub(1)?;
        Some(bit)
    })
}

impl Router {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            index: SubscriptionIndex::new(seed),
            groups: Slab::new(),
            group_names: HashMap::with_hasher(FixedState::with_seed(seed)),
            interest: SubscriptionIndex::new(seed),
            cache: RouteCache::new(seed),
            scratch: Vec::new(),
            scratch_interest: Vec::new(),
        }
    }

    /// Subscriptions that match `topic`, sorted by subscriber: Sessions first, then groups.
    ///
    /// Hands out the groups too, as choosing a member changes them; and the shards that [`Router::interested_shards`]
    /// would name, if the look-up found them on its way.
    pub(crate) fn matching(
        &mut self,
        topic: &str,
    ) -> (&[(u32, SubValue)], &mut Slab<Group>, Option<ShardSet>) {
        if self.index.is_empty() {
            return (&[], &mut self.groups, None);
        }
        if let Some(at) = self.cached(topic) {
            return (self.cache.routes(at), &mut self.groups, Some(self.cache.shards(at)));
        }
        match_sorted(&self.index, topic, &mut self.scratch);
        let shards = self.cache.takes_more().then(|| {
            let shards = find_interested(&self.interest, topic, &mut self.scratch_interest);
            self.cache.insert(topic, &self.scratch, shards);
            shards
        });
        (&self.scratch, &mut self.groups, shards)
    }

    /// Other shards with plain subscribers of `topic`.
    #[inline]
    pub(crate) fn interested_shards(&mut self, topic: &str) -> ShardSet {
        if self.interest.is_empty() {
            return ShardSet::default();
        }
        if let Some(at) = self.cached(topic) {
            return self.cache.shards(at);
        }
        let shards = find_interested(&self.interest, topic, &mut self.scratch_interest);
        if self.cache.takes_more() {
            match_sorted(&self.index, topic, &mut self.scratch);
            self.cache.insert(topic, &self.scratch, shards);
        }
        shards
    }

    /// Where the topic's routes are remembered, if they are.
    #[inline]
    fn cached(&mut self, topic: &str) -> Option<usize> {
        self.cache.follow((self.index.generation(), self.interest.generation()));
        self.cache.find(topic)
    }

    /// The group of a shared subscription, if it exists.
    pub(crate) fn group(&self, name: &str) -> Option<u32> {
        self.group_names.get(name).copied()
    }

    /// Whether a shared subscription has somebody besides this Session.
    pub(crate) fn has_others(&self, group: u32, six: SessionIx) -> bool {
        self.groups.get(group as usize).is_some_and(|group| {
            group.online > 0
                || group.members.members().any(|(member, _)| member != six)
                || !group.remotes.is_empty()
        })
    }

    /// The group of a shared subscription, made when it does not exist.
    pub(crate) fn group_or_new(&mut self, name: &str, filter: &str) -> u32 {
        if let Some(group) = self.group(name) {
            return group;
        }
        let group = u32::try_from(self.groups.vacant_key()).expect("fewer than 2^31 groups fit into memory");
        let inserted = self.index.insert(filter, group | GROUP_BIT, SubValue { options: 0, sub_id: 0 });
        self.new_group(name, inserted.id)
    }

    /// Makes a group of a filter.
    pub(crate) fn new_group(&mut self, name: &str, filter: FilterId) -> u32 {
        let entry = self.groups.vacant_entry();
        let group = u32::try_from(entry.key()).expect("fewer than 2^31 groups fit into memory");
        let name: Arc<str> = name.into();
        entry.insert(Group {
            name: Arc::clone(&name),
            filter,
            filtered: None,
            members: ShareGroup::default(),
            online: 0,
            kept: 0,
            remotes: Vec::new(),
            busy: None,
            turn: 0,
        });
        self.group_names.insert(name, group);
        group
    }

    /// Removes a group that has no member anywhere. Returns its place among the subscriptions with filters, which is to
    /// be removed, too.
    pub(crate) fn drop_group_if_empty(&mut self, group: u32) -> Option<u32> {
        let entry = self.groups.get(group as usize)?;
        if !(entry.members.is_empty() && entry.remotes.is_empty()) {
            return None;
        }
        let entry = self.groups.remove(group as usize);
        if entry.filtered.is_none() {
            self.index.remove(entry.filter, group | GROUP_BIT);
        }
        self.group_names.remove(&entry.name);
        entry.filtered
    }

    /// Adds to the number of a group's members that have a connection.
    pub(crate) fn member_online(&mut self, group: u32, member: SessionIx, online: bool) {
        let Some(group) = self.groups.get_mut(group as usize) else { return };
        group.busy = None;
        if group.members.get(member).is_some() {
            group.online = if online { group.online + 1 } else { group.online.saturating_sub(1) };
        }
    }

    /// Adds to the number of a group's members that outlive their connections.
    pub(crate) fn member_kept(&mut self, group: u32, member: SessionIx, kept: bool) {
        let Some(group) = self.groups.get_mut(group as usize) else { return };
        if group.members.get(member).is_some() {
            group.kept = if kept { group.kept + 1 } else { group.kept.saturating_sub(1) };
        }
    }
}

/// A topic and who gets its messages: subscribers here, sorted, and other shards.
struct Route {
    topic: Box<str>,
    to: Box<[(u32, SubValue)]>,
    shards: ShardSet,
}

/// Topics and who gets their messages, as long as no subscription changes, here or on other shards.
struct RouteCache {
    /// Places in `routes`.
    topics: HashTable<u32>,
    hasher: FixedState,
    routes: Vec<Route>,
    /// Where the last one was found: often the next message has the same topic.
    last: usize,
    /// Of the topics' names and the routes.
    bytes: usize,
    /// Of the subscriptions here, and of those elsewhere.
    generation: (u64, u64),
    lookups: u32,
    hits: u32,
    /// Look-ups during which nothing is kept.
    rest: u32,
}

impl RouteCache {
    fn new(seed: u64) -> Self {
        Self {
            topics: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            routes: Vec::new(),
            last: 0,
            bytes: 0,
            generation: (0, 0),
            lookups: 0,
            hits: 0,
            rest: 0,
        }
    }

    /// Forgets everything when an index has changed.
    #[inline]
    fn follow(&mut self, generation: (u64, u64)) {
        if generation != self.generation {
            self.generation = generation;
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.topics.clear();
        self.routes.clear();
        self.bytes = 0;
        (self.lookups, self.hits) = (0, 0);
    }

    #[inline]
    fn find(&mut self, topic: &str) -> Option<usize> {
        if self.routes.get(self.last).is_none_or(|route| *route.topic != *topic) {
            return self.search(topic);
        }
        self.lookups = self.lookups.saturating_add(1);
        self.hits = self.hits.saturating_add(1);
        Some(self.last)
    }

    fn search(&mut self, topic: &str) -> Option<usize> {
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        self.lookups = self.lookups.saturating_add(1);
        let is_it = |at: &u32| self.routes.get(*at as usize).is_some_and(|route| *route.topic == *topic);
        let at = *self.topics.find(self.hasher.hash_one(topic), is_it)?;
        self.hits = self.hits.saturating_add(1);
        self.last = at as usize;
        Some(self.last)
    }

    #[inline]
    fn routes(&self, at: usize) -> &[(u32, SubValue)] {
        self.routes.get(at).map_or(&[], |route| &route.to)
    }

    #[inline]
    fn shards(&self, at: usize) -> ShardSet {
        self.routes.get(at).map_or(ShardSet(0), |route| route.shards)
    }

    /// Whether it is worth filling.
    const fn takes_more(&self) -> bool {
        self.rest == 0
    }

    /// Remembers a topic that was not found.
    fn insert(&mut self, topic: &str, to: &[(u32, SubValue)], shards: ShardSet) {
        let bytes = topic.len() + size_of_val(to);
        if bytes > CACHED_BYTES_MAX {
            return;
        }
        if self.routes.len() >= CACHED_TOPICS_MAX || self.bytes + bytes > CACHED_BYTES_MAX {
            let rests = self.hits < self.lookups / 2;
            self.clear();
            if rests {
                self.rest = CACHE_RESTS_FOR;
                // Over a million look-ups it costs nothing to grow again.
                (self.topics, self.routes) = (HashTable::new(), Vec::new());
            }
        }
        self.last = self.routes.len();
        let at = u32::try_from(self.last).expect("no more topics than CACHED_TOPICS_MAX");
        let (hasher, routes) = (&self.hasher, &mut self.routes);
        routes.push(Route { topic: topic.into(), to: to.into(), shards });
        self.topics.insert_unique(hasher.hash_one(topic), at, |at| {
            hasher.hash_one(routes.get(*at as usize).map_or("", |route| &*route.topic))
        });
        self.bytes += bytes;
    }
}

/// Shards with an interest in a topic.
fn find_interested(index: &SubscriptionIndex<()>, topic: &str, scratch: &mut Vec<(u32, ())>) -> ShardSet {
    scratch.clear();
    if !index.is_empty() {
        index.matches(topic, scratch);
    }
    ShardSet(scratch.iter().fold(0, |set, (shard, ())| set | 1 << (shard % u64::BITS)))
}

/// Subscriber keys ascend within a filter; several filters are merged by sorting.
fn match_sorted(index: &SubscriptionIndex<SubValue>, topic: &str, into: &mut Vec<(u32, SubValue)>) {
    into.clear();
    if index.matches(topic, into) > 1 {
        into.sort_unstable_by_key(|(key, _)| *key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: SubValue = SubValue { options: 0, sub_id: 0 };

    #[test]
    fn the_longest_topics_do_not_fill_the_memory() {
        let mut router = Router::new(1);
        router.index.insert("#", 7, ANY);
        for n in 0..3 * CACHED_BYTES_MAX / 65_000 {
            let topic = format!("{n:065000}");
            assert_eq!(router.matching(&topic).0, [(7, ANY)]);
            assert!(router.cache.bytes <= CACHED_BYTES_MAX);
            let kept: usize = router.cache.routes.iter().map(|route| route.topic.len()).sum();
            assert!(kept <= router.cache.bytes);
        }
    }

    #[test]
    fn many_receivers_of_many_topics_do_not_fill_the_memory() {
        let mut router = Router::new(1);
        let receivers = 10_000;
        for key in 0..receivers {
            router.index.insert("#", key, ANY);
        }
        for n in 0..1000 {
            assert_eq!(router.matching(&format!("t/{n}")).0.len(), receivers as usize);
            assert!(router.cache.bytes <= CACHED_BYTES_MAX);
        }
        assert_eq!(router.cache.topics.len(), router.cache.routes.len());
    }

    #[test]
    fn what_is_remembered_follows_subscriptions_here_and_elsewhere() {
        let mut router = Router::new(1);
        let shards = |router: &mut Router, topic: &str| {
            let (before, here) = (router.interested_shards(topic), router.matching(topic).0.len());
            assert_eq!(before, router.interested_shards(topic), "{topic}, in either order");
            assert_eq!(router.matching(topic).2.unwrap_or(before), before, "{topic}, on the way");
            let shards: Vec<u16> = before.iter().collect();
            assert_eq!(shards, (0..64).filter(|shard| before.contains(*shard)).collect::<Vec<u16>>());
            (here, shards)
        };
        assert_eq!(shards(&mut router, "a/b"), (0, vec![]));
        router.interest.insert("a/+", 63, ());
        assert_eq!(shards(&mut router, "a/b"), (0, vec![63]), "nobody here");
        router.interest.insert("a/b", 63, ());
        router.interest.insert("#", 2, ());
        router.index.insert("a/b", 7, ANY);
        assert_eq!(shards(&mut router, "a/b"), (1, vec![2, 63]));
        assert_eq!(shards(&mut router, "b"), (0, vec![2]));
        assert_eq!(shards(&mut router, "a/b"), (1, vec![2, 63]));
        let all = router.interest.find("#").expect("it is there");
        router.interest.remove(all, 2);
        assert_eq!(shards(&mut router, "b"), (0, vec![]));
        assert_eq!(shards(&mut router, "a/b"), (1, vec![63]));
    }

    #[test]
    fn a_cache_that_rests_routes_as_before() {
        let mut router = Router::new(1);
        router.index.insert("#", 7, ANY);
        router.interest.insert("+", 1, ());
        for n in 0..CACHED_TOPICS_MAX + 1000 {
            let topic = n.to_string();
            assert!(router.interested_shards(&topic).contains(1));
            assert_eq!(router.matching(&topic).0, [(7, ANY)]);
        }
        assert_eq!(router.cache.takes_more(), router.cache.rest == 0);
    }
}
