//! Any bytes as a PROXY header: no panic, a bounded wait, and what arrives in pieces is read as what arrives at once.
#![no_main]

use cork_net::ProxyHeader;
use libfuzzer_sys::fuzz_target;

/// Version 2: 16 bytes, and what its length can say within the limit.
const LONGEST: usize = 16 + 4096;

fuzz_target!(|input: (u8, &[u8])| {
    // Random bytes seldom begin as a header does.
    let (kind, bytes) = input;
    let begin: &[u8] = match kind % 4 {
        0 => b"",
        1 => b"PROXY ",
        2 => b"PROXY TCP4 ",
        _ => b"\r\n\r\n\0\r\nQUIT\n",
    };
    let bytes = [begin, bytes].concat();
    let whole = ProxyHeader::parse(&bytes);
    if let Ok(Some(header)) = &whole {
        assert!(header.len <= bytes.len() && header.len <= LONGEST);
        assert_eq!(
            ProxyHeader::parse(&bytes[..header.len]).as_ref(),
            Ok(&Some(*header)),
            "what follows is no part of it"
        );
        for end in 0..header.len {
            assert_eq!(ProxyHeader::parse(&bytes[..end]), Ok(None), "half a header is waited for");
        }
    }
    assert!(whole != Ok(None) || bytes.len() <= LONGEST, "nobody is waited for without end");
});
