//! The PROXY protocol, versions 1 and 2: how a load balancer says whose connection it passes on.
//!
//! The header comes before anything else, TLS included. It is believed where the operator said so and nowhere else;
//! there it is needed, and read strictly: whoever may choose between two readings of a header chooses an address.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its bytes; what follows belongs to the connection.
    pub len: usize,
    /// The address of the client. `None` when the balancer speaks for itself (a health check) or has no address to
    /// tell: then the connection's own address holds.
    pub source: Option<SocketAddr>,
}

/// What is wrong with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// The connection begins with something else.
    Missing,
    /// A line of version 1 is longer than 107 bytes.
    LineTooLong,
    /// A line of version 1 is not as the protocol has it.
    Line,
    /// Version 2 with a command other than LOCAL and PROXY, or another version.
    Command,
    /// Version 2 with an address family or a transport that no stream has.
    Family,
    /// Version 2, shorter than its addresses, longer than 4096 bytes, or with fields that do not fill it.
    Length,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => {
                "the connection does not begin with a PROXY header; this listener has `proxy = true`"
            }
            Self::LineTooLong => "the line of the PROXY header has no end within 107 bytes",
            Self::Line => "the line of the PROXY header is malformed",
            Self::Command => "the PROXY header has an unknown version or command",
            Self::Family => "the PROXY header has an address family or transport that is not a stream's",
            Self::Length => "the PROXY header's length does not fit what is in it",
        })
    }
}

impl Error for ProxyError {}

impl ProxyHeader {
    /// Reads the header that `bytes` begins with; `None` if more bytes are needed.
    ///
    /// # Errors
    /// It is malformed, or there is none; more bytes will not help.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, ProxyError> {
        parse(bytes)
    }
}

fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, wanted)| byte == wanted);
    if begins(SIGNATURE) {
        return if bytes.len() < SIGNATURE.len() { Ok(None) } else { parse_binary(bytes) };
    }
    if begins(WORD) {
        return if bytes.len() < WORD.len() { Ok(None) } else { parse_line(bytes) };
    }
    Err(ProxyError::Missing)
}

fn parse_line(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let line = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memmem::find(line, b"\r\n") else {
        return if line.len() == LINE_BYTES_MAX { Err(ProxyError::LineTooLong) } else { Ok(None) };
    };
    let text = str::from_utf8(&line[WORD.len()..end]).map_err(|_| ProxyError::Line)?;
    let source = if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        None
    } else {
        Some(addresses(text).ok_or(ProxyError::Line)?)
    };
    Ok(Some(ProxyHeader { len: end + 2, source }))
}

/// `TCP4 SOURCE DESTINATION PORT PORT`, one space between.
fn addresses(text: &str) -> Option<SocketAddr> {
    let fields: Vec<&str> = text.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = fields[..] else { return None };
    let source: IpAddr = match family {
        "TCP4" => both::<Ipv4Addr>(source, destination)?.into(),
        "TCP6" => both::<Ipv6Addr>(source, destination)?.into(),
        _ => return None,
    };
    port(destination_port)?;
    Some(SocketAddr::new(source, port(source_port)?))
}

/// The first of two addresses if both are of the family.
fn both<T: FromStr>(first: &str, second: &str) -> Option<T> {
    second.parse::<T>().ok()?;
    first.parse().ok()
}

/// Decimal digits without signs and leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn parse_binary(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let Some(&[command, family, high, low]) = bytes.get(SIGNATURE.len()..HEAD) else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if command != LOCAL && command != PROXY {
        return Err(ProxyError::Command);
    }
    if len > BODY_BYTES_MAX {
        return Err(ProxyError::Length);
    }
    let Some(body) = bytes.get(HEAD..HEAD + len) else { return Ok(None) };
    // AF_UNSPEC, then INET, INET6 and UNIX with STREAM: bytes that two addresses take, and ports.
    let taken = match family {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        // Of a LOCAL header nothing is used (section 2.2), so nothing there can be wrong.
        _ if command == LOCAL => 0,
        _ => return Err(ProxyError::Family),
    };
    let header = |source| Ok(Some(ProxyHeader { len: HEAD + len, source }));
    if command == LOCAL {
        return header(None);
    }
    let (addresses, fields) = body.split_at_checked(taken).ok_or(ProxyError::Length)?;
    if family != 0x00 {
        check_fields(fields)?;
    }
    header(match *addresses {
        [a, b, c, d, _, _, _, _, high, low, _, _] => {
            Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
        }
        [.., high, low, _, _] if family == 0x21 => {
            let mut ip = [0; 16];
            ip.copy_from_slice(&addresses[..16]);
            Some(SocketAddr::new(Ipv6Addr::from(ip).into(), u16::from_be_bytes([high, low])))
        }
        _ => None,
    })
}

/// Type, length, value, until the end. None is used.
fn check_fields(mut fields: &[u8]) -> Result<(), ProxyError> {
    while !fields.is_empty() {
        let [_, high, low, rest @ ..] = fields else { return Err(ProxyError::Length) };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        fields = rest.get(len..).ok_or(ProxyError::Length)?;
    }
    Ok(())
}

const WORD: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family, length.
const HEAD: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// With its end of line.
const LINE_BYTES_MAX: usize = 107;
/// Addresses and fields of version 2: what balancers send is a few hundred bytes.
const BODY_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::{BODY_BYTES_MAX, ProxyError, ProxyHeader, SIGNATURE, parse};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn binary(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &len, body].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xc3, 0x50, 0x07, 0x5b];

    fn v6() -> Vec<u8> {
        let mut body = vec![0; 32];
        (body[0], body[1], body[15]) = (0x20, 0x01, 7);
        body.extend([0xc3, 0x50, 0x07, 0x5b]);
        body
    }

    fn good() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
        let line = |text: &str| format!("{text}\r\n").into_bytes();
        let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535";
        vec![
            ("v1 TCP4", line("PROXY TCP4 192.0.2.7 198.51.100.1 50000 1883"), Some("192.0.2.7:50000")),
            ("v1 TCP6", line("PROXY TCP6 2001::7 ::1 50000 1883"), Some("[2001::7]:50000")),
            ("v1 port 0", line("PROXY TCP4 192.0.2.7 198.51.100.1 0 0"), Some("192.0.2.7:0")),
            ("v1 unknown", line("PROXY UNKNOWN"), None),
            ("v1 unknown with addresses, which do not count", line(longest), None),
            ("v2 TCP4", binary(0x21, 0x11, &V4), Some("192.0.2.7:50000")),
            ("v2 TCP6", binary(0x21, 0x21, &v6()), Some("[2001::7]:50000")),
            (
                "v2 with fields",
                binary(0x21, 0x11, &[&V4[..], &[0x04, 0, 2, 9, 9, 0x05, 0, 0]].concat()),
                Some("192.0.2.7:50000"),
            ),
            ("v2 Unix", binary(0x21, 0x31, &[7; 216]), None),
            ("v2 unspecified", binary(0x21, 0x00, &[]), None),
            ("v2 local, a health check", binary(0x20, 0x00, &[]), None),
            ("v2 local with addresses, which do not count", binary(0x20, 0x11, &V4), None),
        ]
    }

    #[test]
    fn headers_are_read_whatever_follows() {
        for (name, bytes, source) in good() {
            let source = source.map(|source| source.parse().unwrap());
            let expected = ProxyHeader { len: bytes.len(), source };
            assert_eq!(parse(&bytes), Ok(Some(expected)), "{name}");
            assert_eq!(parse(&[&bytes[..], b"\x10\r\n"].concat()), Ok(Some(expected)), "{name}");
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Ok(None), "{name} cut at {end}");
            }
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let lines = [
            "PROXY TCP4 192.0.2.7 198.51.100.1 50000",
            "PROXY TCP4 192.0.2.7 198.51.100.1 50000 1883 1",
            "PROXY TCP4  192.0.2.7 198.51.100.1 50000 1883",
            "PROXY  TCP4 192.0.2.7 198.51.100.1 50000 1883",
            "PROXY TCP4 192.0.2.7 198.51.100.1 50000 1883 ",
            "PROXY TCP4\t192.0.2.7 198.51.100.1 50000 1883",
            "PROXY TCP4 192.0.2.07 198.51.100.1 50000 1883",
            "PROXY TCP4 192.0.2.256 198.51.100.1 50000 1883",
            "PROXY TCP4 192.0.2.7 ::1 50000 1883",
            "PROXY TCP4 ::1 192.0.2.7 50000 1883",
            "PROXY TCP6 192.0.2.7 ::1 50000 1883",
            "PROXY TCP6 ::1%1 ::1 50000 1883",
            "PROXY TCP4 192.0.2.7 198.51.100.1 050 1883",
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 1883",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +5 1883",
            "PROXY TCP4 192.0.2.7 198.51.100.1 50000 -1",
            "PROXY UDP4 192.0.2.7 198.51.100.1 50000 1883",
            "PROXY tcp4 192.0.2.7 198.51.100.1 50000 1883",
            "PROXY UNKNOWNS",
            "PROXY ",
        ];
        for line in lines {
            assert_eq!(parse(format!("{line}\r\n").as_bytes()), Err(ProxyError::Line), "{line}");
        }
        let cases: Vec<(&str, Vec<u8>, ProxyError)> = vec![
            ("CONNECT", b"\x10\x0c\0\x04MQTT".to_vec(), ProxyError::Missing),
            ("a TLS ClientHello", b"\x16\x03\x01".to_vec(), ProxyError::Missing),
            ("small letters", b"proxy TCP4".to_vec(), ProxyError::Missing),
            ("no end of line", [b"PROXY ".to_vec(), vec![b'x'; 120]].concat(), ProxyError::LineTooLong),
            (
                "an end of line too late",
                [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 92], b"\r\n".to_vec()].concat(),
                ProxyError::LineTooLong,
            ),
            ("not UTF-8", b"PROXY TCP4 \xff\r\n".to_vec(), ProxyError::Line),
            ("version 1 in binary", binary(0x11, 0x11, &V4), ProxyError::Command),
            ("command 2", binary(0x22, 0x11, &V4), ProxyError::Command),
            ("UDP", binary(0x21, 0x12, &V4), ProxyError::Family),
            ("family 4", binary(0x21, 0x41, &V4), ProxyError::Family),
            ("TCP4 too short", binary(0x21, 0x11, &V4[..11]), ProxyError::Length),
            ("TCP6 too short", binary(0x21, 0x21, &V4), ProxyError::Length),
            ("half a field", binary(0x21, 0x11, &[&V4[..], &[1, 0]].concat()), ProxyError::Length),
            ("a field beyond", binary(0x21, 0x11, &[&V4[..], &[1, 0, 2, 0]].concat()), ProxyError::Length),
            ("too long", binary(0x21, 0x11, &vec![0; BODY_BYTES_MAX + 1]), ProxyError::Length),
        ];
        for (name, bytes, error) in cases {
            assert_eq!(parse(&bytes), Err(error), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_not(
            start in 0_usize..4,
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let start: &[u8] = [&b""[..], b"PROXY ", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"][start];
            let bytes = [start, &bytes].concat();
            let whole = parse(&bytes);
            // More bytes never change what was decided on fewer.
            for end in 0..bytes.len() {
                match parse(&bytes[..end]) {
                    Ok(None) => {}
                    decided => prop_assert_eq!(decided, whole),
                }
            }
            if let Ok(Some(header)) = whole {
                prop_assert!(header.len <= bytes.len());
            }
        }
    }
}
