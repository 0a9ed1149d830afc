//! The protocol versions Corkboard speaks.

use std::fmt;

/// A version of MQTT, fixed for a Network Connection by its CONNECT.
///
/// The order is the order of publication, so `version >= ProtocolVersion::V311` reads as it should.
#[derive(Copy, Clone, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// MQTT 3.1: Protocol Name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1: Protocol Name `MQTT`, level 4.
    V311,
    /// MQTT 5.0: Protocol Name `MQTT`, level 5.
    V5,
}

impl ProtocolVersion {
    /// The byte after the Protocol Name in CONNECT: 3, 4 or 5.
    #[inline]
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// Whether this is 5.0, the version with Properties and Reason Codes.
    #[inline]
    #[must_use]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The Protocol Name a CONNECT of this version carries.
    #[must_use]
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}
