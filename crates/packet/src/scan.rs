//! Looks for the few bytes MQTT forbids in strings, eight at a time.
//!
//! Topics are short, so the set-up of a vector search would cost more than the search; long strings go to `memchr`.

/// Above this many bytes `memchr` wins.
const LONG: usize = 64;

/// Whether a string holds U+0000, which no MQTT string may.
#[inline]
pub(crate) fn has_nul(bytes: &[u8]) -> bool {
    if bytes.len() > LONG {
        return memchr::memchr(0, bytes).is_some();
    }
    any_word(bytes, zeros)
}

/// Whether a string holds a byte that no Topic Name may: U+0000, `+` or `#`.
#[inline]
pub(crate) fn has_nul_or_wildcard(bytes: &[u8]) -> bool {
    if bytes.len() > LONG {
        return memchr::memchr3(0, b'+', b'#', bytes).is_some();
    }
    // `#` is 0x23 and `+` is 0x2B: without bit 3 they are one byte value.
    any_word(bytes, |word| zeros(word) | zeros((word & repeat(0xF7)) ^ repeat(b'#')))
}

/// Whether `hit` is non-zero for any eight bytes of the string; short ends are filled with bytes of the string.
#[inline]
fn any_word(bytes: &[u8], hit: impl Fn(u64) -> u64) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return hit(short_word(bytes)) != 0;
    };
    // The last word may overlap the one before: looking twice is cheaper than a loop over the rest.
    let (words, _) = bytes.as_chunks::<8>();
    let found = words.iter().fold(0, |found, word| found | hit(u64::from_le_bytes(*word)));
    found | hit(u64::from_le_bytes(*last)) != 0
}

/// Up to seven bytes as a word; the bytes that are missing are `/`.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
    }
    bytes.iter().fold(repeat(b'/'), |word, byte| word << 8 | u64::from(*byte))
}

/// Non-zero exactly if one of the eight bytes is zero.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(repeat(0x01)) & !word & repeat(0x80)
}

/// The word whose eight bytes are all `byte`.
#[inline]
const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
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
