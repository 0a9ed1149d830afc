//! Where a JSON string ends, eight bytes at a time.

/// Bytes looked at together.
const CHUNK: usize = 8;
/// One in each byte, and the highest bit of each.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Whether there is a backslash or a control character anywhere. Without them the next quote ends a string.
#[inline(never)]
pub(crate) fn has_special(bytes: &[u8]) -> bool {
    // The least of all bytes, without an end before the end: the compiler does many at a time.
    let least = bytes.iter().fold(u8::MAX, |least, byte| least.min(*byte));
    least < 0x20 || memchr::memchr(b'\\', bytes).is_some()
}

/// The place of the first quote from `from` on; the end when there is none.
#[inline(always)]
pub(crate) fn quote(bytes: &[u8], from: usize) -> usize {
    search(bytes, from, |word| {
        let word = word ^ (ONES * 0x22);
        word.wrapping_sub(ONES) & !word & HIGH
    })
}

/// The place of the first quote, backslash or control character from `from` on; the end when there is none.
#[inline(always)]
pub(crate) fn text_end(bytes: &[u8], from: usize) -> usize {
    search(bytes, from, marks)
}

/// The place of the first byte that `marks` marks. Of what it marks in a word only the lowest bit need be right.
#[inline(always)]
fn search(bytes: &[u8], from: usize, marks: impl Fn(u64) -> u64) -> usize {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let marks = marks(u64::from_le_bytes(*chunk));
        if marks != 0 {
            return at + first_byte(marks);
        }
        at += CHUNK;
    }
    // Less than a chunk is left: it is the end of the last one. What stands before it is pushed out, and quotes come in
    // behind it.
    match bytes.last_chunk() {
        Some(chunk) if at < bytes.len() => {
            let known = 8 * (at + CHUNK - bytes.len());
            let word = u64::from_le_bytes(*chunk) >> known | (ONES * 0x22) << (64 - known);
            at + first_byte(marks(word))
        }
        _ => short_end(bytes, at, marks),
    }
}

/// The same in a payload that is shorter than a chunk.
#[inline(never)]
fn short_end(bytes: &[u8], at: usize, marks: impl Fn(u64) -> u64) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| marks(u64::from(*byte) | ONES << 8) & 0x80 != 0).unwrap_or(rest.len())
}

/// The highest bit of each byte that is a quote, a backslash or a control character. Only the lowest bit set is sure:
/// those above it may be borrowed from it.
#[inline(always)]
fn marks(word: u64) -> u64 {
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero_in(word ^ (ONES * 0x22));
    let backslash = zero_in(word ^ (ONES * 0x5C));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGH
}

/// The number of the byte whose bit is the lowest one.
#[inline(always)]
const fn first_byte(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_is_not_plain_is_found_wherever_it_is() {
        for len in 0..40 {
            for from in 0..=len {
                let plain: Vec<u8> = (0..len).map(|n| b"a\x7F\xFF #!~\x80\xA2\xDC]["[n % 12]).collect();
                assert_eq!((text_end(&plain, from), quote(&plain, from)), (len, len));
                assert!(!has_special(&plain));
                for special in from..len {
                    for byte in *b"\"\\\0\x1F\n" {
                        let mut bytes = plain.clone();
                        bytes[..from].fill(byte);
                        bytes[special..].fill(b'"');
                        bytes[special] = byte;
                        assert_eq!(text_end(&bytes, from), special, "{len} {from} {byte}");
                        let first = bytes[from..].iter().position(|byte| *byte == b'"');
                        assert_eq!(
                            quote(&bytes, from),
                            first.map_or(len, |at| from + at),
                            "{len} {from} {byte}"
                        );
                        assert!(has_special(&bytes) || byte == b'"');
                    }
                }
            }
        }
    }
}
