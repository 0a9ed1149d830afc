//! Revocation lists: which of a file's lists count.
//!
//! The verifier takes the first list of an issuer that it finds, and refuses everybody if that list's signature is
//! wrong. So a file is judged when it is read: of several lists of one issuer only the newest stays, and one that the
//! authority of that name has not signed is refused.

use super::certificate::{Certificate, INTEGER, Reader, SEQUENCE, context, extensions};
use super::files::Read;
use super::view::written;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use std::cmp::Ordering;

/// The parts of a revocation list (RFC 5280, 5.1) that the broker looks at.
struct List<'a> {
    /// What is signed.
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    /// Seconds since 1970.
    this_update: i64,
    /// revokedCertificates.
    entries: &'a [u8],
    /// cRLNumber, without leading zeros.
    number: Option<&'a [u8]>,
    /// issuingDistributionPoint: an issuer may spread what it revoked over several lists.
    part: Option<&'a [u8]>,
}

impl<'a> List<'a> {
    fn parse(der: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(Reader(der).take(SEQUENCE)?);
        let signed = outer.whole()?;
        let (algorithm, signature) = (outer.take(SEQUENCE)?, outer.bits()?);
        let mut tbs = Reader(Reader(signed).take(SEQUENCE)?);
        tbs.take_if(INTEGER); // version
        tbs.take(SEQUENCE)?; // signature algorithm
        let issuer = tbs.take(SEQUENCE)?;
        let this_update = tbs.time()?;
        let (entries, number, part) = (&[][..], None, None);
        let mut list = Self { signed, algorithm, signature, issuer, this_update, entries, number, part };
        while let Some((tag, body)) = tbs.next() {
            if tag == SEQUENCE {
                list.entries = body;
            }
            if tag != context(0) {
                continue; // the next update
            }
            for (kind, value) in extensions(body)? {
                match kind {
                    CRL_NUMBER => {
                        let number = Reader(value).take(INTEGER)?;
                        let zeros = number.iter().take_while(|byte| **byte == 0).count();
                        list.number = Some(&number[zeros..]);
                    }
                    ISSUING_DISTRIBUTION_POINT => list.part = Some(value),
                    _ => {}
                }
            }
        }
        Some(list)
    }

    fn revokes(&self, serial: &[u8]) -> bool {
        let mut entries = Reader(self.entries);
        std::iter::from_fn(|| entries.take(SEQUENCE)).any(|entry| Reader(entry).take(INTEGER) == Some(serial))
    }

    /// Whether it is about the same certificates as another.
    fn is_of_same(&self, other: &List<'_>) -> bool {
        self.issuer == other.issuer && self.part == other.part
    }

    /// By number, which goes up with each list of an issuer; then by time.
    fn age(&self, other: &List<'_>) -> Ordering {
        let numbers = match (self.number, other.number) {
            (Some(own), Some(others)) => (own.len(), own).cmp(&(others.len(), others)),
            _ => Ordering::Equal,
        };
        numbers.then(self.this_update.cmp(&other.this_update))
    }

    fn is_signed_by(&self, authority: &Certificate, provider: &CryptoProvider) -> bool {
        let algorithms = provider.signature_verification_algorithms.all.iter();
        algorithms
            .filter(|known| {
                known.signature_alg_id().as_ref() == self.algorithm
                    && known.public_key_alg_id().as_ref() == authority.key.algorithm
            })
            .any(|known| known.verify_signature(&authority.key.bits, self.signed, self.signature).is_ok())
    }
}

/// The newest list of each issuer. Whether those of an issuer that is not among the authorities (of an intermediate
/// certificate) are signed by it can only be told when a client shows its certificate.
pub(super) fn newest(
    lists: &[CertificateRevocationListDer<'static>],
    authorities: &[Read],
    provider: &CryptoProvider,
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let mut stay: Vec<(List<'_>, &CertificateRevocationListDer<'static>)> = Vec::new();
    for (index, der) in lists.iter().enumerate() {
        let fault = |what: &str| format!("has a revocation list, number {}, that {what}", index + 1);
        let list = List::parse(der).ok_or_else(|| fault("can't be used: it is damaged"))?;
        let known = authorities.iter().map(|(_, authority)| authority);
        let mut of_name = known.filter(|one| one.subject_der == list.issuer).peekable();
        if let Some(authority) = of_name.peek() {
            let name = written(&authority.subject);
            if !of_name.any(|authority| list.is_signed_by(authority, provider)) {
                return Err(fault(&format!(
                    "names `{name}` as its issuer, but the certificate of that name in `client_ca` has not \
                     signed it; get the list from where that certificate comes from"
                )));
            }
        }
        match stay.iter_mut().find(|(other, _)| other.is_of_same(&list)) {
            Some(other) if list.age(&other.0) == Ordering::Greater => *other = (list, der),
            Some(_) => {}
            None => stay.push((list, der)),
        }
    }
    Ok(stay.into_iter().map(|(_, der)| der.clone()).collect())
}

/// For each authority whether it counts for nothing: `lists`, as [`newest`] chose them, have it from another one of them
/// that it is revoked, or all that could have issued it count for nothing. The verifier asks no list about an authority
/// that it was given itself.
pub(super) fn revoked(lists: &[CertificateRevocationListDer<'static>], authorities: &[Read]) -> Vec<bool> {
    let lists: Vec<_> = lists.iter().filter_map(|der| List::parse(der)).collect();
    let mut revoked = vec![false; authorities.len()];
    loop {
        let falls = |at: usize| {
            let own = &authorities[at].1;
            let issued_it = |other: usize| other != at && authorities[other].1.subject_der == own.issuer_der;
            let mut issuers = (0..authorities.len()).filter(|other| issued_it(*other)).peekable();
            if own.subject_der == own.issuer_der || issuers.peek().is_none() {
                return false; // nobody here has a word on it
            }
            let mut of_issuer = lists.iter().filter(|list| list.issuer == own.issuer_der);
            of_issuer.any(|list| list.revokes(&own.serial)) || issuers.all(|issuer| revoked[issuer])
        };
        let Some(at) = (0..authorities.len()).find(|at| !revoked[*at] && falls(*at)) else { return revoked };
        revoked[at] = true;
    }
}

/// 2.5.29.20
const CRL_NUMBER: &[u8] = &[0x55, 0x1d, 0x14];
/// 2.5.29.28
const ISSUING_DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 0x1c];

#[cfg(test)]
mod tests {
    use super::List;
    use proptest::prelude::{any, proptest};

    proptest! {
        #[test]
        fn any_bytes_are_a_list_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = List::parse(&bytes);
        }
    }
}
