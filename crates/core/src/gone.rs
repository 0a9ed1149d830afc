//! Retained messages that are gone, remembered for a while.
//!
//! Every shard keeps all retained messages, and between shards the later message wins. When a message is removed and
//! an earlier one is still on its way from another shard, nothing would be left to tell that the late comer is old: it
//! would stay on this shard and on no other. With one shard nothing of this is used.

use std::collections::{BTreeMap, VecDeque};

use cork_store::{MessageId, WallTime};

/// How long a removal is remembered: far longer than a batch is on its way between shards.
const KEPT_MICROS: u64 = 60_000_000;
/// Memory for removals; beyond it the oldest are forgotten.
const BYTES_MAX: usize = 4 << 20;
/// What an entry costs beside its topic, which is held twice.
const ENTRY_BYTES: usize = 128;

/// Topics whose retained message was removed, and by what.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    by_topic: BTreeMap<Box<str>, MessageId>,
    /// In the order they were remembered.
    order: VecDeque<(WallTime, MessageId, Box<str>)>,
    bytes: usize,
}

impl Gone {
    /// Remembers at `now` that `by` (an empty message, or one that has expired) left `topic` without a message.
    pub(crate) fn remember(&mut self, now: WallTime, topic: &str, by: MessageId) {
        self.order.push_back((now, by, topic.into()));
        self.by_topic.insert(topic.into(), by);
        self.bytes += cost(topic);
        while let Some((when, by, topic)) = self.order.front() {
            if when.0 + KEPT_MICROS > now.0 && self.bytes <= BYTES_MAX {
                break;
            }
            self.bytes -= cost(topic);
            if self.by_topic.get(topic) == Some(by) {
                self.by_topic.remove(topic);
            }
            self.order.pop_front();
        }
    }

    /// Whether a message of `topic` came before its removal.
    pub(crate) fn outdates(&self, topic: &str, message: MessageId) -> bool {
        self.by_topic.get(topic).is_some_and(|by| *by > message)
    }
}

fn cost(topic: &str) -> usize {
    2 * topic.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(arrived: u64) -> MessageId {
        MessageId { arrived: WallTime(arrived), ..MessageId::default() }
    }

    #[test]
    fn a_removal_outdates_what_came_before_it_until_it_is_forgotten() {
        let mut gone = Gone::default();
        gone.remember(WallTime(10), "t", id(10));
        assert!(gone.outdates("t", id(9)) && !gone.outdates("t", id(11)) && !gone.outdates("u", id(9)));
        gone.remember(WallTime(20), "t", id(20));
        gone.remember(WallTime(15 + KEPT_MICROS), "u", id(15 + KEPT_MICROS));
        assert!(gone.outdates("t", id(15)), "the second removal is younger");
        gone.remember(WallTime(20 + KEPT_MICROS), "u", id(20 + KEPT_MICROS));
        assert!(!gone.outdates("t", id(15)));
    }

    #[test]
    fn memory_has_a_limit() {
        let (mut gone, topic) = (Gone::default(), "x".repeat(60_000));
        for n in 0..200 {
            gone.remember(WallTime(n), &format!("{n}{topic}"), id(n));
        }
        assert!(gone.bytes <= BYTES_MAX && gone.by_topic.len() == gone.order.len());
        assert!(gone.outdates(&format!("199{topic}"), id(0)) && !gone.outdates(&format!("0{topic}"), id(0)));
    }
}
