//! Packets of the benches, written by hand: nothing is measured but the core.

/// A UTF-8 Encoded String.
pub(crate) fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// A packet of less than 128 bytes behind its fixed header.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).ok().filter(|length| *length < 128).expect("short");
    [&[first, length][..], body].concat()
}
