//! Whole messages, a page at a time, in the order of their identities.

use std::sync::{Arc, Mutex, PoisonError};

use cork_packet::matches;
use cork_store::{Message, MessageId, Replay, ReplayFrom, Replayed, Row, WallTime};

use crate::{
    block::Block,
    shelf::{Place, Snapshot},
    vault::{Vault, just_before},
    wire::Malformed,
};

/// Blocks that stay read for the next page.
const BLOCKS_CACHED: usize = 4;
/// Blocks looked into for one page, at most: others get their turn then.
const BLOCKS_PER_PAGE: usize = 256;
/// Bytes of a page's messages, at most (one message more).
const PAGE_BYTES_MAX: usize = 512 << 10;

/// A block that was read.
type Cached = (Place, Arc<Vec<Arc<Message>>>);

/// Blocks that were read lately, for who reads page after page.
#[derive(Debug, Default)]
pub struct Cache(Mutex<Vec<Cached>>);

impl Cache {
    fn get(&self, vault: &Vault, place: &Place, replay: &Replay) -> Arc<Vec<Arc<Message>>> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |other: &Place| Arc::ptr_eq(&other.file, &place.file) && other.head.at == place.head.at;
        if let Some(at) = cached.iter().position(|(other, _)| same(other)) {
            let found = cached.remove(at);
            let messages = Arc::clone(&found.1);
            cached.push(found);
            return messages;
        }
        let Some(body) = vault.body(place) else { return Arc::default() };
        let messages = Block::open(&body).and_then(|block| {
            if !block.groups.iter().any(|group| is_for(replay, &group.topic)) {
                return Ok(None); // nothing for this one; another may find something
            }
            block.messages().map(Some)
        });
        match messages {
            Ok(None) => Arc::default(),
            Ok(Some(messages)) => {
                let messages = Arc::new(messages);
                cached.push((place.clone(), Arc::clone(&messages)));
                if cached.len() > BLOCKS_CACHED {
                    cached.remove(0);
                }
                messages
            }
            Err(Malformed) => {
                vault.note_damaged(place);
                Arc::default()
            }
        }
    }
}

impl Vault {
    /// A page of messages.
    #[must_use]
    pub fn page(&self, replay: &Replay, now: WallTime, cache: &Cache) -> Replayed {
        self.catch_up();
        self.page_of_written(replay, now, cache)
    }

    /// The same of what was taken in already.
    pub(crate) fn page_of_written(&self, replay: &Replay, now: WallTime, cache: &Cache) -> Replayed {
        let since = match replay.from {
            ReplayFrom::Since(at) => at.0,
            ReplayFrom::After(id) => id.arrived.0,
            ReplayFrom::Last(_) => 0,
        };
        let snapshots = self.snapshots(since, u64::MAX, now);
        let after = match replay.from {
            ReplayFrom::After(id) => id,
            ReplayFrom::Since(at) => just_before(MessageId { arrived: at, shard: 0, epoch: 0 }),
            ReplayFrom::Last(0) => return Replayed { token: replay.token, ..Replayed::default() },
            ReplayFrom::Last(count) => match nth_from_the_end(self, &snapshots, replay, count as usize) {
                Some(first) => just_before(first),
                None => return Replayed { token: replay.token, ..Replayed::default() },
            },
        };
        page_after(self, &snapshots, replay, after, cache)
    }
}

/// The first of the last so many messages that are wanted, or of all if there are fewer.
fn nth_from_the_end(
    vault: &Vault,
    snapshots: &[Snapshot],
    replay: &Replay,
    count: usize,
) -> Option<MessageId> {
    let mut ids: Vec<MessageId> = Vec::new();
    let keep = |ids: &mut Vec<MessageId>| {
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.dedup();
        ids.truncate(count);
    };
    let mut places = Vec::new();
    for snapshot in snapshots {
        let rows = snapshot.rows().filter(|row| wanted(snapshot, replay, row.id, row.topic));
        ids.extend(rows.map(|row| row.id));
        places.extend(snapshot.places.iter().map(|place| (place, snapshot.cutoff)));
    }
    places.sort_by_key(|(place, _)| std::cmp::Reverse(place.head.last));
    keep(&mut ids);
    for (place, cutoff) in places {
        if ids.len() >= count && ids.last().is_some_and(|last| place.head.last < *last) {
            break;
        }
        let Some(body) = vault.body(place) else { continue };
        let opened = Block::open(&body).and_then(|block| Ok((block.ids()?, block)));
        let Ok((all, block)) = opened else {
            vault.note_damaged(place);
            continue;
        };
        for group in block.groups.iter().filter(|group| is_for(replay, &group.topic)) {
            let own = all.get(group.first..group.first + group.rows).unwrap_or_default();
            ids.extend(own.iter().filter(|id| replay.counts(**id) && id.arrived.0 >= cutoff));
        }
        keep(&mut ids);
    }
    ids.last().copied()
}

fn wanted(snapshot: &Snapshot, replay: &Replay, id: MessageId, topic: &str) -> bool {
    id.arrived.0 >= snapshot.cutoff && replay.counts(id) && is_for(replay, topic)
}

fn is_for(replay: &Replay, topic: &str) -> bool {
    matches(&replay.filter, topic) && replay.may_read.allows(topic)
}

fn page_after(
    vault: &Vault,
    snapshots: &[Snapshot],
    replay: &Replay,
    after: MessageId,
    cache: &Cache,
) -> Replayed {
    let most = replay.messages_max.max(1) as usize;
    let mut found: Vec<Arc<Message>> = Vec::new();
    let (mut places, mut rows) = (Vec::new(), Vec::<Row<'_>>::new());
    for snapshot in snapshots {
        let behind = snapshot.rows().filter(|row| row.id > after);
        rows.extend(behind.filter(|row| wanted(snapshot, replay, row.id, row.topic)));
        let these = snapshot.places.iter().filter(|place| place.head.last > after);
        places.extend(these.map(|place| (place, snapshot)));
    }
    rows.sort_by_key(|row| row.id);
    rows.dedup_by_key(|row| row.id);
    let mut like = Arc::default();
    found.extend(rows.iter().take(most + 1).filter_map(|row| row.message(&mut like)).map(Arc::new));
    places.sort_by_key(|(place, _)| place.head.first);
    let mut end = None;
    for (looked, (place, snapshot)) in places.into_iter().enumerate() {
        if found.len() > most {
            found.sort_by_key(|message| message.id());
            found.truncate(most + 1);
            if place.head.first > found[most].id() {
                break;
            }
        }
        if looked >= BLOCKS_PER_PAGE {
            end = Some(just_before(place.head.first).max(after));
            break;
        }
        let messages = cache.get(vault, place, replay);
        let from = messages.partition_point(|message| message.id() <= after);
        let rest = messages[from..].iter();
        let rest = rest.filter(|message| wanted(snapshot, replay, message.id(), message.topic()));
        found.extend(rest.take(most + 1).cloned());
    }
    found.sort_by_key(|message| message.id());
    found.dedup_by_key(|message| message.id());
    if let Some(end) = end {
        found.retain(|message| message.id() <= end);
    }
    let mut bytes = 0;
    let fit = found.iter().take(most).take_while(|message| {
        let before = bytes;
        bytes += message.cost_bytes();
        before < PAGE_BYTES_MAX
    });
    let fit = fit.count();
    let more = found.len() > fit;
    found.truncate(fit);
    let next = if more { found.last().map(|message| message.id()) } else { end };
    Replayed { token: replay.token, messages: found, next }
}
