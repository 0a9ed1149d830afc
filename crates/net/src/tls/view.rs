//! What was agreed upon on a connection, in words for an operator.

use super::certificate::{Attribute, COMMON_NAME, Certificate};
use rustls::CipherSuite;

/// What TLS agreed upon on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsView {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The cipher suite by IANA's name.
    pub cipher_suite: &'static str,
    /// The subject of the certificate that the client has proven to be its own, as RFC 4514 writes it; none if it showed
    /// none.
    pub client_subject: Option<String>,
}

/// IANA's name; rustls has its own for those of TLS 1.3.
pub(super) fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// The subject of a certificate as RFC 4514 writes it: the last set first.
pub(super) fn subject(der: &[u8]) -> Option<String> {
    Certificate::parse(der).map(|certificate| written(&certificate.subject))
}

/// A Name as RFC 4514 writes it.
pub(super) fn written(sets: &[Vec<Attribute>]) -> String {
    let set = |set: &Vec<Attribute>| set.iter().map(attribute).collect::<Vec<_>>().join("+");
    sets.iter().rev().map(set).collect::<Vec<_>>().join(",")
}

fn attribute(Attribute { kind, value }: &Attribute) -> String {
    let name = NAMES.iter().find(|(known, _)| known == kind).map(|(_, name)| (*name).to_owned());
    let value = value.as_deref().map_or_else(|| "?".to_owned(), escaped);
    format!("{}={value}", name.unwrap_or_else(|| dotted(kind)))
}

/// RFC 4514, 2.4: what would end a value, or begin one of another kind, has a backslash before it.
fn escaped(value: &str) -> String {
    let mut written = String::with_capacity(value.len());
    for (at, character) in value.char_indices() {
        let at_the_edge = at == 0 || at + 1 == value.len();
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => written.extend(['\\', character]),
            '#' if at == 0 => written.push_str("\\#"),
            ' ' if at_the_edge => written.push_str("\\ "),
            '\0' => written.push_str("\\00"),
            _ => written.push(character),
        }
    }
    written
}

/// An Object Identifier as numbers with dots between them.
fn dotted(encoded: &[u8]) -> String {
    let (mut numbers, mut number) = (Vec::new(), 0_u64);
    for byte in encoded {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                // The first two are one number.
                let first = (number / 40).min(2);
                numbers.push(first);
                number -= first * 40;
            }
            numbers.push(std::mem::take(&mut number));
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// Attributes with a name in RFC 4514, and the two others that are usual in certificates of devices.
const NAMES: [(&[u8], &str); 10] = [
    (COMMON_NAME, "CN"),
    (&[0x55, 0x04, 0x05], "serialNumber"),
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x0a], "O"),
    (&[0x55, 0x04, 0x0b], "OU"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19], "DC"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01], "emailAddress"),
];

#[cfg(test)]
mod tests {
    use super::{dotted, escaped, subject};
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    #[test]
    fn a_subject_is_written_the_last_set_first() {
        let mut params = CertificateParams::new(vec!["one.example".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "AT");
        params.distinguished_name.push(DnType::OrganizationName, "Home, sweet home");
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 12]), "lamp");
        params.distinguished_name.push(DnType::CommonName, "lämp");
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        assert_eq!(subject(&der).unwrap(), r"CN=lämp,2.5.4.12=lamp,O=Home\, sweet home,C=AT");
        assert_eq!(subject(b"no certificate"), None);
    }

    #[test]
    fn values_cannot_be_taken_for_others() {
        let cases = [
            ("a", "a"),
            ("", ""),
            (" ", r"\ "),
            (" a b ", r"\ a b\ "),
            ("#1", r"\#1"),
            ("a#", "a#"),
            ("a+b=\"", "a\\+b=\\\""),
        ];
        for (value, expected) in cases {
            assert_eq!(escaped(value), expected);
        }
    }

    #[test]
    fn numbers_of_attributes_are_written_with_dots() {
        let cases: [(&[u8], &str); 4] = [
            (&[0x55, 0x04, 0x03], "2.5.4.3"),
            (&[0x2a, 0x86, 0x48], "1.2.840"),
            (&[0x88, 0x37, 0x03], "2.999.3"),
            (&[], ""),
        ];
        for (encoded, expected) in cases {
            assert_eq!(dotted(encoded), expected);
        }
        // Longer numbers than there are must not be a panic.
        assert!(!dotted(&[0xff; 40]).contains('-'));
    }
}
