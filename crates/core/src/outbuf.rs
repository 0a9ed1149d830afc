//! Bytes that wait for a connection's socket.
//!
//! Frames are encoded straight into the tail. A payload too large to copy for every receiver is a chunk of its own that
//! shares the message. An empty buffer owns no memory: what it used goes back to the shard's [`Pool`].

use std::{collections::VecDeque, io::IoSlice, sync::Arc};

use cork_store::Message;

/// Payloads from this length on are shared, not copied: a copy of less is cheaper than a reference count and one more
/// slice in the write.
pub(crate) const SHARE_FROM_BYTES: usize = 8 << 10;
/// Slices of one vectored write; the kernel takes up to 1,024, more than a few dozen gain nothing.
const SLICES_MAX: usize = 32;
/// Bytes offered in one write. A socket that takes megabytes at once, a hundred times in one turn, would let everybody
/// else wait for the copying.
const WRITE_BYTES_MAX: usize = 128 << 10;
/// Buffers larger than this are freed, not pooled.
const POOLED_BYTES_MAX: usize = 128 << 10;
/// A buffer with so much in it is full, and another one begins: it has no room for every frame that is not shared, and
/// growing beyond what is pooled would cost as much as all that is written into it. A backlog of megabytes lies in pieces,
/// then, so that sending the first of them does not move the others.
const FULL_BYTES: usize = POOLED_BYTES_MAX - 2 * SHARE_FROM_BYTES;
/// Buffers the pool keeps, and the bytes they hold together. What does not fit goes back to the allocator and is
/// grown anew in the next turn, which costs as much as what is written into it.
const POOLED_MAX: usize = 1024;
const POOLED_BYTES_TOTAL_MAX: usize = 4 << 20;

enum Chunk {
    Bytes(Vec<u8>),
    Payload(Arc<Message>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Payload(message) => message.payload(),
        }
    }
}

/// Empty buffers for the next connection that has something to send.
#[derive(Default)]
pub(crate) struct Pool {
    free: Vec<Vec<u8>>,
    bytes: usize,
}

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        let buffer = self.free.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes <= POOLED_BYTES_MAX
            && self.free.len() < POOLED_MAX
            && self.bytes + bytes <= POOLED_BYTES_TOTAL_MAX
        {
            buffer.clear();
            self.bytes += bytes;
            self.free.push(buffer);
        }
    }
}

/// Output of one connection, in order.
#[derive(Default)]
pub(crate) struct OutBuf {
    /// Full chunks before the tail; `None` nearly always.
    #[expect(clippy::box_collection, reason = "every connection pays for this field, few use it")]
    head: Option<Box<VecDeque<Chunk>>>,
    tail: Vec<u8>,
    /// Bytes of the first chunk (or of the tail) that are sent already.
    sent: usize,
    len: usize,
}

impl OutBuf {
    /// Bytes waiting.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets `write` append to the tail; returns how many bytes it added.
    #[inline]
    pub(crate) fn append(&mut self, pool: &mut Pool, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        if self.tail.len() >= FULL_BYTES {
            self.cut_off_tail();
        }
        if self.tail.capacity() == 0 {
            self.tail = pool.take();
        }
        let before = self.tail.len();
        write(&mut self.tail);
        let added = self.tail.len() - before;
        self.len += added;
        added
    }

    /// Makes the tail a chunk before the next one.
    #[cold]
    fn cut_off_tail(&mut self) {
        let chunk = Chunk::Bytes(std::mem::take(&mut self.tail));
        self.head.get_or_insert_default().push_back(chunk);
    }

    /// Appends the payload of `message` without copying it; returns its length.
    pub(crate) fn append_payload(&mut self, message: Arc<Message>) -> usize {
        let added = message.payload().len();
        if !self.tail.is_empty() {
            self.cut_off_tail();
        }
        self.head.get_or_insert_default().push_back(Chunk::Payload(message));
        self.len += added;
        added
    }

    /// Shows what waits, in order, to `write`; it returns how many bytes it took.
    pub(crate) fn transmit<E>(
        &mut self,
        pool: &mut Pool,
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let taken = match &self.head {
            None => write(&[IoSlice::new(front(&self.tail[self.sent..], WRITE_BYTES_MAX))])?,
            Some(head) => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let (mut used, mut room) = (0, WRITE_BYTES_MAX);
                let chunks = head.iter().map(Chunk::bytes).chain([&self.tail[..]]);
                for (slot, bytes) in slices.iter_mut().zip(chunks) {
                    if room == 0 {
                        break;
                    }
                    let skip = if used == 0 { self.sent } else { 0 };
                    let bytes = front(&bytes[skip..], room);
                    room -= bytes.len();
                    *slot = IoSlice::new(bytes);
                    used += 1;
                }
                write(&slices[..used])?
            }
        };
        self.advance(pool, taken);
        Ok(taken)
    }

    fn advance(&mut self, pool: &mut Pool, taken: usize) {
        debug_assert!(taken <= self.len, "more taken than there was");
        self.len -= taken.min(self.len);
        self.sent += taken;
        if let Some(head) = &mut self.head {
            while let Some(first) = head.front() {
                let length = first.bytes().len();
                if self.sent < length {
                    return;
                }
                self.sent -= length;
                if let Some(Chunk::Bytes(buffer)) = head.pop_front() {
                    pool.give(buffer);
                }
            }
            self.head = None;
        }
        if self.sent == self.tail.len() {
            self.sent = 0;
            pool.give(std::mem::take(&mut self.tail));
        }
    }
}

/// At most `most` bytes of the front.
fn front(bytes: &[u8], most: usize) -> &[u8] {
    &bytes[..bytes.len().min(most)]
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use cork_store::{MessageId, Publisher};

    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_whatever_the_socket_takes() {
        let large = Arc::new(Message::new(
            MessageId::default(),
            "t",
            b"prop",
            &[b'L'; 300],
            Arc::new(Publisher::default()),
        ));
        for step in [1, 2, 7, 100, 1000, usize::MAX] {
            let (mut pool, mut out, mut expected) = (Pool::default(), OutBuf::default(), Vec::new());
            for n in 0..20u8 {
                out.append(&mut pool, |tail| tail.extend_from_slice(&[n; 10]));
                expected.extend_from_slice(&[n; 10]);
                if n % 7 == 0 {
                    out.append_payload(Arc::clone(&large));
                    expected.extend_from_slice(large.payload());
                }
            }
            assert_eq!(out.len(), expected.len());
            let mut got = Vec::new();
            while !out.is_empty() {
                out.transmit::<Infallible>(&mut pool, |slices| {
                    let all: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
                    let taken = all.len().min(step);
                    got.extend_from_slice(&all[..taken]);
                    Ok(taken)
                })
                .unwrap();
            }
            assert_eq!(got, expected);
            assert!(out.head.is_none() && out.tail.capacity() == 0);
        }
    }

    #[test]
    fn a_backlog_of_megabytes_lies_in_pieces_that_go_back_to_the_pool() {
        let (mut pool, mut out, mut expected) = (Pool::default(), OutBuf::default(), Vec::new());
        for n in 0..300_000_u32 {
            out.append(&mut pool, |tail| tail.extend_from_slice(&n.to_be_bytes()));
            expected.extend_from_slice(&n.to_be_bytes());
            assert!(out.tail.capacity() <= POOLED_BYTES_MAX, "after {n}");
        }
        let (mut got, mut step) = (Vec::new(), 1);
        while !out.is_empty() {
            out.transmit::<Infallible>(&mut pool, |slices| {
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                let taken = all.len().min(step);
                got.extend_from_slice(&all[..taken]);
                Ok(taken)
            })
            .unwrap();
            step = step % 200_000 * 3 + 1;
        }
        assert!(got == expected);
        assert_eq!(pool.free.len(), expected.len().div_ceil(FULL_BYTES), "pieces");
    }

    #[test]
    fn the_pool_keeps_a_limited_number_of_buffers_and_bytes() {
        for (size, kept) in [(1, POOLED_MAX), (64 << 10, 64), (POOLED_BYTES_MAX + 1, 0)] {
            let mut pool = Pool::default();
            (0..2 * POOLED_MAX).for_each(|_| pool.give(Vec::with_capacity(size)));
            assert_eq!(pool.free.len(), kept, "of {size} bytes");
            let buffers: Vec<Vec<u8>> = (0..=kept).map(|_| pool.take()).collect();
            assert_eq!((pool.bytes, buffers[kept].capacity()), (0, 0));
        }
    }

    #[test]
    fn one_write_is_offered_a_limited_number_of_bytes() {
        let payload: Vec<u8> = (0..=250).cycle().take(WRITE_BYTES_MAX * 3).collect();
        let message =
            Arc::new(Message::new(MessageId::default(), "t", b"", &payload, Arc::new(Publisher::default())));
        let (mut pool, mut out, mut expected) = (Pool::default(), OutBuf::default(), Vec::new());
        for _ in 0..2 {
            out.append(&mut pool, |tail| tail.extend_from_slice(b"head"));
            out.append_payload(Arc::clone(&message));
            expected.extend([&b"head"[..], &payload].concat());
        }
        out.append(&mut pool, |tail| tail.extend_from_slice(&payload));
        expected.extend_from_slice(&payload);
        let (mut got, mut writes) = (Vec::new(), 0);
        while !out.is_empty() {
            out.transmit::<Infallible>(&mut pool, |slices| {
                let before = got.len();
                slices.iter().for_each(|slice| got.extend_from_slice(slice));
                assert!(got.len() - before <= WRITE_BYTES_MAX);
                writes += 1;
                Ok(got.len() - before)
            })
            .unwrap();
        }
        assert!(got == expected, "{} bytes of {}", got.len(), expected.len());
        assert_eq!(writes, expected.len().div_ceil(WRITE_BYTES_MAX));
    }
}
