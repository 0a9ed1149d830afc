//! Packet Identifiers (3.1.1 section 2.3.1, 5.0 section 2.2.1).

use std::fmt;
use std::num::NonZeroU16;

/// The number that ties an acknowledgement to the packet it answers: 1 to 65535.
///
/// Zero cannot be expressed: 3.1.1 [MQTT-2.3.1-1], 5.0 [MQTT-2.2.1-3] and [MQTT-2.2.1-4].
#[derive(Copy, Clone, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The smallest identifier, 1.
    pub const FIRST: Self = Self(NonZeroU16::MIN);

    /// The identifier with this number; `None` for zero.
    #[inline]
    #[must_use]
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number, never zero.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The identifier that follows; 65535 is followed by 1.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(id) => Self(id),
            None => Self::FIRST,
        }
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_identifier() {
        assert_eq!(PacketId::new(0), None);
        assert_eq!(PacketId::new(7).map(PacketId::get), Some(7));
    }

    #[test]
    fn next_wraps_past_zero() {
        assert_eq!(PacketId::FIRST.next().get(), 2);
        assert_eq!(PacketId::new(u16::MAX).unwrap().next(), PacketId::FIRST);
    }
}
