//! Retained messages without their content, packed: there may be millions when a broker starts, each for a moment.

use std::sync::Arc;

use crate::{MessageId, WallTime};

/// Bytes of a chunk: large enough to go back to the system at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Arrival, shard, epoch, cost, whether it expires, when, length of the topic.
const HEAD: usize = 8 + 2 + 4 + 4 + 1 + 8 + 2;

/// A retained message without its content, which comes by [`crate::Fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedStub {
    /// Topic Name; no longer than a UTF-8 Encoded String may be (5.0 1.5.4).
    pub topic: Box<str>,
    /// Which message it is.
    pub id: MessageId,
    /// When it expires.
    pub expires: Option<WallTime>,
    /// Its [`crate::Message::cost_bytes`].
    pub cost_bytes: u32,
}

/// Many of them, in order. A clone shares their memory, which is given back bit by bit as the last one is consumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetainedStubs {
    chunks: Vec<Arc<Vec<u8>>>,
    len: usize,
}

impl RetainedStubs {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds one.
    pub fn push(&mut self, stub: &RetainedStub) {
        let topic = stub.topic.as_bytes();
        let length = HEAD + topic.len();
        let fits = |chunk: &&mut Vec<u8>| chunk.len() + length <= chunk.capacity();
        let chunk = match self.chunks.last_mut().and_then(Arc::get_mut).filter(fits) {
            Some(_) => self.chunks.last_mut(),
            None => {
                self.chunks.push(Arc::new(Vec::with_capacity(CHUNK_BYTES.max(length))));
                self.chunks.last_mut()
            }
        };
        let Some(chunk) = chunk.and_then(Arc::get_mut) else { return };
        chunk.extend_from_slice(&stub.id.arrived.0.to_le_bytes());
        chunk.extend_from_slice(&stub.id.shard.to_le_bytes());
        chunk.extend_from_slice(&stub.id.epoch.to_le_bytes());
        chunk.extend_from_slice(&stub.cost_bytes.to_le_bytes());
        chunk.push(stub.expires.is_some().into());
        chunk.extend_from_slice(&stub.expires.map_or(0, |at| at.0).to_le_bytes());
        chunk.extend_from_slice(&u16::try_from(topic.len()).unwrap_or(u16::MAX).to_le_bytes());
        chunk.extend_from_slice(topic);
        self.len += 1;
    }
}

impl IntoIterator for RetainedStubs {
    type Item = RetainedStub;
    type IntoIter = IntoStubs;

    fn into_iter(self) -> IntoStubs {
        IntoStubs { chunks: self.chunks.into_iter(), chunk: Arc::default(), at: 0 }
    }
}

/// Takes them out one by one.
#[derive(Debug)]
pub struct IntoStubs {
    chunks: std::vec::IntoIter<Arc<Vec<u8>>>,
    chunk: Arc<Vec<u8>>,
    at: usize,
}

impl IntoStubs {
    /// The next bytes; all of them are there, as they were written.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.chunk[self.at..self.at + N]);
        self.at += N;
        bytes
    }
}

impl Iterator for IntoStubs {
    type Item = RetainedStub;

    fn next(&mut self) -> Option<RetainedStub> {
        if self.at == self.chunk.len() {
            (self.chunk, self.at) = (self.chunks.next()?, 0);
        }
        let arrived = WallTime(u64::from_le_bytes(self.take()));
        let shard = u16::from_le_bytes(self.take());
        let epoch = u32::from_le_bytes(self.take());
        let cost_bytes = u32::from_le_bytes(self.take());
        let [expires] = self.take();
        let at = WallTime(u64::from_le_bytes(self.take()));
        let length = usize::from(u16::from_le_bytes(self.take()));
        let topic = &self.chunk[self.at..self.at + length];
        self.at += length;
        Some(RetainedStub {
            topic: std::str::from_utf8(topic).unwrap_or_default().into(), // it was text
            id: MessageId { arrived, shard, epoch },
            expires: (expires != 0).then_some(at),
            cost_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stub(n: u32, topic: &str) -> RetainedStub {
        RetainedStub {
            topic: topic.into(),
            id: MessageId { arrived: WallTime(1_700_000_000_000_000 + u64::from(n)), shard: 3, epoch: n },
            expires: n.is_multiple_of(3).then_some(WallTime(u64::from(n))),
            cost_bytes: n * 7,
        }
    }

    #[test]
    fn what_was_put_in_comes_out_in_order_also_of_a_clone() {
        let longest = "x".repeat(usize::from(u16::MAX));
        let topic = |n: u32| match n % 1000 {
            0 => longest.clone(),
            1 => String::new(),
            _ => format!("größe/{n}"),
        };
        let all: Vec<RetainedStub> = (0..20_000).map(|n| stub(n, &topic(n))).collect();
        let mut stubs = RetainedStubs::new();
        assert!(stubs.is_empty() && stubs.clone().into_iter().next().is_none());
        all.iter().for_each(|stub| stubs.push(stub));
        assert_eq!(stubs.len(), all.len());
        let mut more = stubs.clone();
        more.push(&stub(7, "behind"));
        assert!(stubs.into_iter().eq(all.iter().cloned()));
        assert!(more.into_iter().eq(all.into_iter().chain([stub(7, "behind")])));
    }
}
