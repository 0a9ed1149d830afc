//! Looks for the few bytes MQTT forbids in strings.
//!
//! Topics are short, so the set-up of a vector search would cost more than the search; long strings go to
//! `memchr`.

/// Above this many bytes `memchr` wins.
const LONG: usize = 64;

/// Whether a string holds U+0000, which no MQTT string may.
#[inline]
pub(crate) fn has_nul(bytes: &[u8]) -> bool {
    if bytes.len() > LONG {
        return long_has_nul(bytes);
    }
    any(bytes, |byte| byte == 0)
}

/// Whether a string holds a byte that no Topic Name may: U+0000, `+` or `#`.
#[inline]
pub(crate) fn has_nul_or_wildcard(bytes: &[u8]) -> bool {
    if bytes.len() > LONG {
        return long_has_nul_or_wildcard(bytes);
    }
    // `#` is 0x23 and `+` is 0x2B: without bit 3 they are one byte value.
    any(bytes, |byte| (byte == 0) | (byte & !0x08 == b'#'))
}

#[inline(never)]
fn long_has_nul(bytes: &[u8]) -> bool {
    memchr::memchr(0, bytes).is_some()
}

#[inline(never)]
fn long_has_nul_or_wildcard(bytes: &[u8]) -> bool {
    memchr::memchr3(0, b'+', b'#', bytes).is_some()
}

/// Whether any byte is a `hit`, in blocks that compile to vector instructions.
///
/// The last block overlaps the one before: looking at bytes twice is cheaper than a loop over the rest.
#[inline]
fn any(bytes: &[u8], hit: impl Fn(u8) -> bool + Copy) -> bool {
    if let Some(last) = bytes.last_chunk::<16>() {
        let (blocks, _) = bytes.as_chunks::<16>();
        return blocks.iter().any(|block| any_of(block, hit)) || any_of(last, hit);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return any_of(first, hit) | any_of(last, hit);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return any_of(first, hit) | any_of(last, hit);
    }
    bytes.iter().any(|byte| hit(*byte))
}

/// Without a branch per byte.
#[inline]
fn any_of<const N: usize>(block: &[u8; N], hit: impl Fn(u8) -> bool) -> bool {
    block.iter().fold(false, |found, byte| found | hit(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_forbidden_byte_at_every_place_of_every_length() {
        for len in 0..100 {
            let clean = vec![b'a'; len];
            assert!(!has_nul(&clean) && !has_nul_or_wildcard(&clean), "clean string of {len}");
            for at in 0..len {
                for byte in 0..=255 {
                    let mut bytes = clean.clone();
                    bytes[at] = byte;
                    assert_eq!(has_nul(&bytes), byte == 0, "{byte:#x} at {at} of {len}");
                    let forbidden = matches!(byte, 0 | b'+' | b'#');
                    assert_eq!(has_nul_or_wildcard(&bytes), forbidden, "{byte:#x} at {at} of {len}");
                }
            }
        }
    }
}
