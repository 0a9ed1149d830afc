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
        let mut list = Self { signed, algorithm, signature, issuer, this_update, number: None, part: None };
        while let Some((tag, body)) = tbs.next() {
            if tag != context(0) {
                continue; // the next update, the entries
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
