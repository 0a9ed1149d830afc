//! What stands in every payload, so that a message can be recognised and judged wherever it arrives.
//!
//! ```text
//!  0  run        u16  tells this run's messages from those of an earlier one
//!  2  publisher  u24
//!  5  sequence   u32  counts the messages of the publisher, from 0
//!  9  time       u32  when the message was due, in units of 256 ns, modulo 2^32 (18 minutes)
//! 13  checksum   u24  over everything else
//! 16  filler          a fixed pattern up to the payload's length
//! ```
//!
//! All numbers are big-endian.

use crate::units::Nanos;

/// The shortest payload: the stamp alone.
pub(crate) const STAMP_LEN: usize = 16;
/// The most publishers a run can tell apart.
pub(crate) const PUBLISHERS_MAX: usize = 1 << 24;

/// The head of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) run: u16,
    pub(crate) publisher: u32,
    pub(crate) sequence: u32,
    /// See [`tick`].
    pub(crate) time: u32,
}

/// The time as it stands in a stamp.
pub(crate) const fn tick(time: Nanos) -> u32 {
    // The low half is what is meant.
    (time >> 8 & 0xFFFF_FFFF) as u32
}

/// Nanoseconds from a stamp's time until now; right for anything younger than 18 minutes.
pub(crate) const fn since(time: u32, now: Nanos) -> Nanos {
    (tick(now).wrapping_sub(time) as u64) << 8
}

/// Fillers by length, with what they add to the checksum.
#[derive(Clone, Debug)]
pub(crate) struct Filler {
    pattern: Vec<u8>,
}

impl Filler {
    /// For payloads up to `payload_max` bytes.
    pub(crate) fn new(payload_max: usize) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15;
        let pattern = (STAMP_LEN..payload_max.max(STAMP_LEN)).map(|_| {
            state = fold(state, 1);
            state.to_be_bytes()[0]
        });
        Self { pattern: pattern.collect() }
    }

    /// The filler of a payload of `payload_len` bytes.
    pub(crate) fn bytes(&self, payload_len: usize) -> &[u8] {
        &self.pattern[..payload_len.saturating_sub(STAMP_LEN).min(self.pattern.len())]
    }
}

/// What the filler adds to the checksum; the same for all payloads of one length.
pub(crate) fn filler_sum(filler: &[u8]) -> u64 {
    let (words, rest) = filler.as_chunks::<8>();
    let sum = words.iter().fold(filler.len() as u64, |sum, word| fold(sum, u64::from_be_bytes(*word)));
    rest.iter().fold(sum, |sum, &byte| fold(sum, u64::from(byte)))
}

impl Stamp {
    /// The bytes for a payload whose filler has the sum `filler`.
    #[inline]
    pub(crate) fn encode(self, filler: u64) -> [u8; STAMP_LEN] {
        let mut bytes = [0; STAMP_LEN];
        bytes[..2].copy_from_slice(&self.run.to_be_bytes());
        bytes[2..5].copy_from_slice(&self.publisher.to_be_bytes()[1..]);
        bytes[5..9].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[9..13].copy_from_slice(&self.time.to_be_bytes());
        let sum = checksum(&bytes, filler);
        bytes[13..].copy_from_slice(&sum);
        bytes
    }

    /// The stamp of a payload; `None` when the payload is none of ours. With `verify` the checksum must be right too.
    #[inline]
    pub(crate) fn decode(payload: &[u8], verify: bool) -> Option<Self> {
        let (head, filler) = payload.split_first_chunk::<STAMP_LEN>()?;
        if verify && checksum(head, filler_sum(filler)) != head[13..] {
            return None;
        }
        let [r0, r1, p0, p1, p2, s0, s1, s2, s3, t0, t1, t2, t3, ..] = *head;
        Some(Self {
            run: u16::from_be_bytes([r0, r1]),
            publisher: u32::from_be_bytes([0, p0, p1, p2]),
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            time: u32::from_be_bytes([t0, t1, t2, t3]),
        })
    }
}

#[inline]
fn checksum(head: &[u8; STAMP_LEN], filler: u64) -> [u8; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, ..] = *head;
    let sum = fold(filler, u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    let sum = fold(sum, u64::from_be_bytes([0, 0, 0, i, j, k, l, m]));
    let [x, y, z, ..] = sum.to_be_bytes();
    [x, y, z]
}

/// One step of the checksum: each changed bit of either number changes the result.
#[inline]
pub(crate) const fn fold(sum: u64, word: u64) -> u64 {
    let mixed = (sum.rotate_left(23) ^ word).wrapping_mul(0x9FB2_1C65_1E98_DF25);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(len: usize) -> Vec<u8> {
        let filler = Filler::new(300);
        let stamp = Stamp { run: 7, publisher: 0x01_0203, sequence: 0xA0B0_C0D0, time: 99 };
        let mut payload = stamp.encode(filler_sum(filler.bytes(len))).to_vec();
        payload.extend_from_slice(filler.bytes(len));
        payload
    }

    #[test]
    fn comes_back_as_it_went() {
        for len in [16, 17, 24, 31, 64, 256, 300] {
            let bytes = payload(len);
            assert_eq!(bytes.len(), len);
            let stamp = Stamp::decode(&bytes, true).expect("intact");
            assert_eq!(
                (stamp.run, stamp.publisher, stamp.sequence, stamp.time),
                (7, 0x01_0203, 0xA0B0_C0D0, 99)
            );
        }
    }

    #[test]
    fn each_flipped_bit_and_each_cut_is_seen() {
        for len in [16, 64, 77] {
            let bytes = payload(len);
            for bit in 0..len * 8 {
                let mut broken = bytes.clone();
                broken[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Stamp::decode(&broken, true), None, "bit {bit} of {len} bytes");
            }
            for shorter in 0..len {
                assert_eq!(Stamp::decode(&bytes[..shorter], true), None, "{shorter} of {len} bytes");
            }
        }
    }

    #[test]
    fn times_wrap_and_still_subtract() {
        let before = (1 << 40) - 1000;
        assert_eq!(since(tick(before), before + 512_000), 512_000);
        assert_eq!(since(tick(1_000_000), 1_000_000), 0);
    }
}
