//! Cutting a byte stream into packets.
//!
//! Whole packets are handed out where they lie in the caller's read buffer ([`split_packet`]); only a packet that
//! the end of the buffer cuts in two is copied ([`Inbound`]). An idle connection owns no memory here.

use cork_packet::FixedHeader;

use crate::PeerError;

/// Takes the first whole packet, fixed header included, off the front of `input`.
///
/// `None` when `input` ends before the packet does; nothing is taken then.
///
/// # Errors
/// A length that is no Variable Byte Integer, or above `maximum` bytes in all ([`PeerError::PacketTooLarge`]).
#[inline]
pub fn split_packet<'a>(input: &mut &'a [u8], maximum: usize) -> Result<Option<&'a [u8]>, PeerError> {
    let Some(length) = packet_length(input, maximum)? else { return Ok(None) };
    let Some((packet, rest)) = input.split_at_checked(length) else { return Ok(None) };
    *input = rest;
    Ok(Some(packet))
}

#[inline]
fn packet_length(input: &[u8], maximum: usize) -> Result<Option<usize>, PeerError> {
    let Some(header) = FixedHeader::decode(input)? else { return Ok(None) };
    let length = header.packet_len();
    if length > maximum {
        return Err(PeerError::PacketTooLarge { length, maximum });
    }
    Ok(Some(length))
}

/// Bytes that arrived and were not yet taken as packets: the beginning of one, or, while a connection is held back,
/// everything since.
#[derive(Debug, Default)]
pub struct Inbound {
    kept: Vec<u8>,
}

impl Inbound {
    /// True when nothing is kept.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Bytes kept.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.kept.len()
    }

    /// Bytes of memory kept for them.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.kept.capacity()
    }

    /// The first byte kept: type and flags of the unfinished packet.
    #[must_use]
    pub fn first(&self) -> Option<u8> {
        self.kept.first().copied()
    }

    /// The first bytes, `count` at most, of what is kept and of `input` behind it.
    #[must_use]
    pub fn head(&self, input: &[u8], count: usize) -> Vec<u8> {
        self.kept.iter().chain(input).take(count).copied().collect()
    }

    /// Puts `rest` behind what is kept.
    pub fn keep(&mut self, rest: &[u8]) {
        if self.kept.is_empty() && rest.len() < 64 {
            self.kept.reserve_exact(64); // the usual case: a small packet cut in two
        }
        self.kept.extend_from_slice(rest);
    }

    /// Takes everything out.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }

    /// Finishes the packet that is kept with bytes from the front of `input`, and takes it out.
    ///
    /// `None` when `input` is not enough; all of it is kept then. Memory grows as bytes arrive, never by what a header
    /// promises.
    ///
    /// # Errors
    /// As [`split_packet`].
    pub fn complete(&mut self, input: &mut &[u8], maximum: usize) -> Result<Option<Vec<u8>>, PeerError> {
        loop {
            let length = packet_length(&self.kept, maximum)?;
            // Without a length yet, one more byte of the fixed header is wanted.
            let missing = length.map_or(1, |length| length - self.kept.len());
            if length.is_some() && missing == 0 {
                return Ok(Some(self.take()));
            }
            let Some((head, rest)) = input.split_at_checked(missing) else {
                self.grow(input.len(), length);
                self.kept.extend_from_slice(input);
                *input = &[];
                return Ok(None);
            };
            self.grow(missing, length);
            self.kept.extend_from_slice(head);
            *input = rest;
        }
    }

    /// Makes room for `more` bytes: by doubling, but never beyond the packet that is kept.
    fn grow(&mut self, more: usize, packet: Option<usize>) {
        let needed = self.kept.len() + more;
        if needed > self.kept.capacity() {
            let doubled = needed.max(2 * self.kept.capacity());
            let wanted = packet.map_or(doubled, |packet| doubled.min(packet).max(needed));
            self.kept.reserve_exact(wanted - self.kept.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = &[0xC0, 0, 0x30, 4, 0, 1, b'a', b'x', 0xE0, 0];

    /// Feeds `STREAM` in pieces cut at `cuts` and returns the packets.
    fn feed(cuts: &[usize]) -> Vec<Vec<u8>> {
        let (mut inbound, mut packets, mut from) = (Inbound::default(), Vec::new(), 0);
        for &to in cuts.iter().chain([&STREAM.len()]) {
            let mut input = &STREAM[from..to];
            from = to;
            if !inbound.is_empty() {
                match inbound.complete(&mut input, 100).unwrap() {
                    Some(packet) => packets.push(packet),
                    None => continue,
                }
            }
            while let Some(packet) = split_packet(&mut input, 100).unwrap() {
                packets.push(packet.to_vec());
            }
            if !input.is_empty() {
                inbound.keep(input);
            }
        }
        assert!(inbound.is_empty());
        packets
    }

    #[test]
    fn every_split_of_the_stream_gives_the_same_packets() {
        let whole = feed(&[]);
        assert_eq!(whole.len(), 3);
        for a in 0..=STREAM.len() {
            for b in a..=STREAM.len() {
                assert_eq!(feed(&[a, b]), whole, "cut at {a} and {b}");
            }
        }
    }

    #[test]
    fn a_packet_above_the_maximum_is_refused_by_its_header_alone() {
        let mut input: &[u8] = &[0x30, 0xFF, 0x7F];
        assert_eq!(
            split_packet(&mut input, 100),
            Err(PeerError::PacketTooLarge { length: 16386, maximum: 100 })
        );
        let mut inbound = Inbound::default();
        inbound.keep(&[0x30]);
        let mut rest: &[u8] = &[0xFF, 0x7F];
        assert!(inbound.complete(&mut rest, 100).is_err());
    }
}
