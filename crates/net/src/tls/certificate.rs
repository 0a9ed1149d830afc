//! What the broker reads in an X.509 certificate itself: validity, names, and whether it may issue others.
//!
//! Whether a certificate may be believed is not decided here, that is the verifier's work; and names count only of
//! certificates that it accepted. Nothing is guessed: what is not exactly as RFC 5280 has it is not there.

use std::fmt;

/// The parts of a certificate that the broker looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// It has version 3; version 1 knows no extensions, so no names either.
    pub(super) is_v3: bool,
    /// Seconds since 1970.
    pub(super) not_before: i64,
    /// Seconds since 1970; good up to and with this one.
    pub(super) not_after: i64,
    /// The serial number, as it is encoded.
    pub(super) serial: Vec<u8>,
    /// The issuer's name, as it is encoded.
    pub(super) issuer_der: Vec<u8>,
    /// The subject: sets of attributes, in order.
    pub(super) subject: Vec<Vec<Attribute>>,
    /// The subject as it is encoded.
    pub(super) subject_der: Vec<u8>,
    /// The public key.
    pub(super) key: PublicKey,
    /// DNS names, mail addresses and URIs among the alternative names, in order.
    pub(super) alternative_names: Vec<String>,
    /// basicConstraints (RFC 5280, 4.2.1.9): whether it says `CA:TRUE`; none if it is not there.
    basic_constraints: Option<bool>,
    /// keyUsage (RFC 5280, 4.2.1.3): whether it has keyCertSign; none if it is not there.
    signs_certificates: Option<bool>,
    /// extKeyUsage (RFC 5280, 4.2.1.12): whether servers are among the purposes; none if it is not there.
    for_servers: Option<bool>,
}

/// A public key as a certificate has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// AlgorithmIdentifier, without its tag and length.
    pub(super) algorithm: Vec<u8>,
    pub(super) bits: Vec<u8>,
}

/// One attribute of a Name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attribute {
    /// Its Object Identifier, encoded.
    pub(super) kind: Vec<u8>,
    /// `None` for one in an encoding that is not read.
    pub(super) value: Option<String>,
}

impl Certificate {
    /// Reads a certificate in DER.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let mut outer = Reader(Reader(der).take(SEQUENCE)?);
        let mut tbs = Reader(outer.take(SEQUENCE)?);
        // The version is not there if it is 1; v3 is written as 2.
        let is_v3 = tbs.0.first() == Some(&context(0)) && Reader(tbs.take(context(0))?).take(INTEGER)? == [2];
        let serial = tbs.take(INTEGER)?.to_vec();
        tbs.take(SEQUENCE)?; // signature algorithm
        let issuer_der = tbs.take(SEQUENCE)?.to_vec();
        let mut validity = Reader(tbs.take(SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject_der = tbs.take(SEQUENCE)?.to_vec();
        let mut key = Reader(tbs.take(SEQUENCE)?);
        let key = PublicKey { algorithm: key.take(SEQUENCE)?.to_vec(), bits: key.bits()?.to_vec() };
        let mut certificate = Self {
            is_v3,
            not_before,
            not_after,
            serial,
            issuer_der,
            subject: name(&subject_der)?,
            subject_der,
            key,
            alternative_names: Vec::new(),
            basic_constraints: None,
            signs_certificates: None,
            for_servers: None,
        };
        while let Some((tag, body)) = tbs.next() {
            if tag == context(3) {
                certificate.extend(body)?;
            }
        }
        Some(certificate)
    }

    /// Reads the extensions that count here.
    fn extend(&mut self, body: &[u8]) -> Option<()> {
        for (kind, value) in extensions(body)? {
            match kind {
                SUBJECT_ALT_NAME => self.alternative_names = alternatives(value)?,
                BASIC_CONSTRAINTS => {
                    let mut constraints = Reader(Reader(value).take(SEQUENCE)?);
                    let first = constraints.next();
                    self.basic_constraints = Some(first == Some((BOOLEAN, &[0xff])));
                }
                KEY_USAGE => {
                    let usage = Reader(value).next().filter(|(tag, _)| *tag == BIT_STRING)?.1;
                    let first = usage.get(1).copied().unwrap_or(0);
                    self.signs_certificates = Some(first & KEY_CERT_SIGN != 0);
                }
                EXT_KEY_USAGE => {
                    let (mut purposes, mut found) = (Reader(Reader(value).take(SEQUENCE)?), false);
                    while !purposes.0.is_empty() {
                        found |= purposes.take(OBJECT_IDENTIFIER)? == SERVER_AUTH;
                    }
                    self.for_servers = Some(found);
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Whether it may issue other certificates: it says so, as basicConstraints or, without those, as keyUsage; or it is
    /// of version 1, which cannot say it.
    pub(super) fn is_authority(&self) -> bool {
        match (self.basic_constraints, self.signs_certificates) {
            (Some(authority), usage) => authority && usage != Some(false),
            (None, Some(signs)) => signs,
            (None, None) => !self.is_v3,
        }
    }

    /// Whether a server may show it.
    pub(super) fn is_for_servers(&self) -> bool {
        self.for_servers != Some(false)
    }

    /// Why it does not count at a time in seconds since 1970; none if it does.
    pub(super) fn out_of_date(&self, now: i64) -> Option<OutOfDate> {
        match () {
            () if self.not_after < now => Some(OutOfDate::Expired(self.not_after)),
            () if self.not_before > now => Some(OutOfDate::NotYet(self.not_before)),
            () => None,
        }
    }

    /// Common names of the subject, in order; `None` for one in an encoding that is not read.
    pub(super) fn common_names(&self) -> Vec<Option<&str>> {
        let attributes = self.subject.iter().flatten().filter(|attribute| attribute.kind == COMMON_NAME);
        attributes.map(|attribute| attribute.value.as_deref()).collect()
    }
}

/// Why a certificate does not count now. Seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutOfDate {
    Expired(i64),
    NotYet(i64),
}

impl fmt::Display for OutOfDate {
    /// To follow on "a certificate that ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(at) => write!(f, "expired on {}; renew it", date(*at)),
            Self::NotYet(at) => write!(f, "is not valid before {}; is the clock right?", date(*at)),
        }
    }
}

/// A Name is a sequence of sets of (attribute type, value).
fn name(name: &[u8]) -> Option<Vec<Vec<Attribute>>> {
    let (mut sets, mut found) = (Reader(name), Vec::new());
    while !sets.0.is_empty() {
        let (mut set, mut attributes) = (Reader(sets.take(SET)?), Vec::new());
        while !set.0.is_empty() {
            let mut pair = Reader(set.take(SEQUENCE)?);
            let kind = pair.take(OBJECT_IDENTIFIER)?.to_vec();
            let (tag, value) = pair.next()?;
            attributes.push(Attribute { kind, value: text(tag, value) });
        }
        found.push(attributes);
    }
    Some(found)
}

/// UTF8String, and the kinds that are ASCII.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    let ascii = matches!(tag, 0x13 | 0x14 | 0x16) && value.is_ascii();
    let text = str::from_utf8(value).ok()?;
    (tag == 0x0c || ascii).then(|| text.to_owned())
}

/// Extensions: Object Identifier and value of each.
pub(super) fn extensions(body: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (mut extensions, mut found) = (Reader(Reader(body).take(SEQUENCE)?), Vec::new());
    while !extensions.0.is_empty() {
        let mut extension = Reader(extensions.take(SEQUENCE)?);
        let kind = extension.take(OBJECT_IDENTIFIER)?;
        extension.take_if(BOOLEAN); // critical
        found.push((kind, extension.take(OCTET_STRING)?));
    }
    Some(found)
}

/// Those names of SubjectAltName that are text.
fn alternatives(value: &[u8]) -> Option<Vec<String>> {
    let (mut names, mut found) = (Reader(Reader(value).take(SEQUENCE)?), Vec::new());
    while !names.0.is_empty() {
        // rfc822Name, dNSName and uniformResourceIdentifier are IA5String.
        if let (0x81 | 0x82 | 0x86, name) = names.next()?
            && name.is_ascii()
        {
            found.push(str::from_utf8(name).ok()?.to_owned());
        }
    }
    Some(found)
}

/// DER, element by element.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: tag and content.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else { return None };
        // Tags of more than one byte are in no certificate.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (len, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x84 => {
                let (len, rest) = rest.split_at_checked(usize::from(long & 0x0f))?;
                (len.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The next element with its tag and length.
    pub(super) fn whole(&mut self) -> Option<&'a [u8]> {
        let before = self.0;
        self.next()?;
        before.get(..before.len() - self.0.len())
    }

    /// The content of the next element, a BIT STRING of whole bytes.
    pub(super) fn bits(&mut self) -> Option<&'a [u8]> {
        self.take(BIT_STRING)?.strip_prefix(&[0])
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// Skips the next element if it has this tag.
    pub(super) fn take_if(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }

    /// UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ`.
    pub(super) fn time(&mut self) -> Option<i64> {
        let (tag, text) = self.next()?;
        let digits = text.strip_suffix(b"Z").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        let (year, rest) = match (tag, digits.len()) {
            (0x17, 12) => {
                let year = number(&digits[..2]);
                // RFC 5280, 4.1.2.5.1: two digits mean 1950 to 2049.
                (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
            }
            (0x18, 14) => (number(&digits[..4]), &digits[4..]),
            _ => return None,
        };
        let parts: Vec<i64> = rest.chunks(2).map(number).collect();
        let [month @ 1..=12, day @ 1..=31, hour @ 0..=23, minute @ 0..=59, second @ 0..=60] = parts[..]
        else {
            return None;
        };
        Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
    }
}

fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, years counted from March so that leap days come last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// A date as people write it, of seconds since 1970.
pub(super) fn date(seconds: i64) -> String {
    let days_since = seconds.div_euclid(86_400);
    // The year is off by one at most; then the months are few enough to try.
    let guess = 1970 + days_since.div_euclid(366);
    let year = (guess..).take_while(|year| days(*year, 1, 1) <= days_since).last().unwrap_or(guess);
    let month = (1..=12).take_while(|month| days(year, *month, 1) <= days_since).last().unwrap_or(1);
    format!("{year:04}-{month:02}-{:02}", days_since - days(year, month, 1) + 1)
}

pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// 2.5.4.3
pub(super) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.29.19
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// 2.5.29.15
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// The bit of keyUsage that is keyCertSign, number 5.
const KEY_CERT_SIGN: u8 = 0x80 >> 5;
/// 2.5.29.37
const EXT_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// 1.3.6.1.5.5.7.3.1
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

#[cfg(test)]
mod tests {
    use super::{Certificate, Reader, date, days, text};
    use proptest::prelude::{any, proptest};
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["one.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "home");
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn names_and_dates_are_found() {
        let der = made(|params| {
            params.not_before = date_time_ymd(2024, 2, 29);
            params.not_after = date_time_ymd(2051, 1, 1);
            params.distinguished_name.push(DnType::CommonName, "lämp");
            params.subject_alt_names.push(SanType::Rfc822Name("ann@example".try_into().unwrap()));
            params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
            params.subject_alt_names.push(SanType::URI("urn:x".try_into().unwrap()));
        });
        let certificate = Certificate::parse(&der).unwrap();
        assert_eq!(date(certificate.not_before), "2024-02-29");
        assert_eq!(date(certificate.not_after), "2051-01-01");
        assert_eq!(certificate.common_names(), [Some("lämp")]);
        assert_eq!(certificate.alternative_names, ["one.example", "ann@example", "urn:x"]);
    }

    #[test]
    fn a_certificate_need_not_have_a_name() {
        let certificate = Certificate::parse(&made(|params| params.subject_alt_names.clear())).unwrap();
        assert_eq!(certificate.common_names(), []);
        assert_eq!(certificate.alternative_names, Vec::<String>::new());
    }

    #[test]
    fn every_truncation_is_refused() {
        let der = made(|_| {});
        for end in 0..der.len() {
            assert_eq!(Certificate::parse(&der[..end]), None, "{end}");
        }
    }

    #[test]
    fn only_plain_text_is_a_name() {
        let cases: [(u8, &[u8], Option<&str>); 6] = [
            (0x0c, "ä".as_bytes(), Some("ä")),
            (0x13, b"a", Some("a")),
            (0x16, b"a", Some("a")),
            (0x13, "ä".as_bytes(), None),
            (0x0c, b"\xff", None),
            (0x1e, b"\0a", None), // BMPString
        ];
        for (tag, value, expected) in cases {
            assert_eq!(text(tag, value).as_deref(), expected, "{tag:#x} {value:?}");
        }
    }

    #[test]
    fn times() {
        let cases: [(u8, &str, Option<&str>); 8] = [
            (0x17, "700101000000Z", Some("1970-01-01")),
            (0x17, "491231235959Z", Some("2049-12-31")),
            (0x17, "500101000000Z", Some("1950-01-01")),
            (0x18, "20000229000000Z", Some("2000-02-29")),
            (0x18, "99991231235959Z", Some("9999-12-31")),
            (0x17, "701301000000Z", None),
            (0x17, "7001010000Z", None),
            (0x18, "20000229000000", None),
        ];
        for (tag, value, expected) in cases {
            let len = u8::try_from(value.len()).unwrap();
            let der = [&[tag, len], value.as_bytes()].concat();
            assert_eq!(Reader(&der).time().map(date).as_deref(), expected, "{value}");
        }
        assert_eq!((days(1970, 1, 1), days(2000, 3, 1)), (0, 11_017));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_certificate_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Certificate::parse(&bytes);
        }

        #[test]
        fn a_damaged_certificate_harms_nobody(at in any::<proptest::sample::Index>(), to in any::<u8>()) {
            let mut der = made(|_| {});
            let at = at.index(der.len());
            der[at] = to;
            let _ = Certificate::parse(&der);
        }
    }
}
