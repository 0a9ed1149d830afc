//! Appends the parts of packets to a buffer.

use crate::fixed_header::MAX_REMAINING_LENGTH;
use crate::{EncodeError, Field, Properties, ProtocolVersion};

/// Appends one packet: `first`, the length of what `body` appends, and that.
///
/// After an error `out` is as it was.
pub(crate) fn packet(
    out: &mut Vec<u8>,
    first: u8,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[first, 0]);
    let written = body(out).and_then(|()| set_remaining_length(out, start + 1));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Fills in the length byte left open at `at`; makes room when the length needs more than one.
fn set_remaining_length(out: &mut Vec<u8>, at: usize) -> Result<(), EncodeError> {
    let remaining = u32::try_from(out.len() - at - 1).map_err(|_| EncodeError::PacketTooLarge)?;
    if remaining > MAX_REMAINING_LENGTH {
        return Err(EncodeError::PacketTooLarge);
    }
    let (bytes, len) = var_int_bytes(remaining);
    out[at] = bytes[0];
    if len > 1 {
        out.splice(at + 1..at + 1, bytes[1..len].iter().copied());
    }
    Ok(())
}

#[inline]
pub(crate) fn string(out: &mut Vec<u8>, string: &str, field: Field) -> Result<(), EncodeError> {
    binary(out, string.as_bytes(), field)
}

#[inline]
pub(crate) fn binary(out: &mut Vec<u8>, bytes: &[u8], field: Field) -> Result<(), EncodeError> {
    let len = u16::try_from(bytes.len()).map_err(|_| EncodeError::TooLong(field))?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Property Length and Properties in 5.0; nothing in 3.x.
#[inline]
pub(crate) fn properties(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    properties: Properties<'_>,
) -> Result<(), EncodeError> {
    if !version.is_v5() {
        return Ok(());
    }
    let raw = properties.encodable()?;
    let len = u32::try_from(raw.len()).map_err(|_| EncodeError::PacketTooLarge)?;
    var_int(out, len);
    out.extend_from_slice(raw);
    Ok(())
}

/// Appends a Variable Byte Integer; `value` is at most 268 435 455.
#[inline]
pub(crate) fn var_int(out: &mut Vec<u8>, value: u32) {
    let (bytes, len) = var_int_bytes(value);
    out.extend_from_slice(&bytes[..len]);
}

/// How many bytes `value` takes as a Variable Byte Integer, 1 to 4.
#[inline]
pub(crate) const fn var_int_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x001F_FFFF => 3,
        _ => 4,
    }
}

/// The shortest encoding of `value` ([MQTT-1.5.5-1]) and its length.
#[inline]
const fn var_int_bytes(value: u32) -> ([u8; 4], usize) {
    let len = var_int_len(value);
    let mut bytes = [0; 4];
    let mut at = 0;
    while at < len {
        let more = if at + 1 < len { 0x80 } else { 0 };
        bytes[at] = (value >> (7 * at)).to_le_bytes()[0] & 0x7F | more;
        at += 1;
    }
    (bytes, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt5_1_5_5_1_variable_byte_integers_are_minimal() {
        let cases: [(u32, &[u8]); 8] = [
            (0, &[0x00]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (MAX_REMAINING_LENGTH, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ];
        for (value, expected) in cases {
            let mut out = Vec::new();
            var_int(&mut out, value);
            assert_eq!((out.as_slice(), var_int_len(value)), (expected, expected.len()), "{value}");
        }
    }

    #[test]
    fn a_failed_packet_leaves_the_buffer_alone() {
        let mut out = vec![1, 2, 3];
        let failed = packet(&mut out, 0x30, |out| {
            out.push(9);
            Err(EncodeError::Properties)
        });
        assert_eq!(failed, Err(EncodeError::Properties));
        assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn a_long_body_moves_over_for_its_length() {
        let mut out = vec![7];
        packet(&mut out, 0x30, |out| {
            out.extend((0..200).map(|byte: u8| byte));
            Ok(())
        })
        .unwrap();
        assert_eq!(out[..5], [7, 0x30, 0xC8, 0x01, 0]);
        assert_eq!(out.len(), 1 + 3 + 200);
        assert_eq!(out.last(), Some(&199));
    }
}
