//! Reading the files a listener with TLS needs, all of them PEM: what they hold, or what is wrong with them.

use super::certificate::Certificate;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::{CertificateError, RootCertStore};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A certificate, and what stands in it.
pub(super) type Read = (CertificateDer<'static>, Certificate);

/// The certificates of a file, at least one, each of which can be read.
pub(super) fn certificates(file: &[u8]) -> Result<Vec<Read>, String> {
    is_pem(file, "x509")?;
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(file) {
        let der = certificate.map_err(|error| damaged(&error))?;
        let read = Certificate::parse(&der)
            .ok_or_else(|| format!("is damaged: certificate {} in it can't be read", found.len() + 1))?;
        found.push((der, read));
    }
    if found.is_empty() {
        return Err(format!("has no certificate in it{}", what_else(file)));
    }
    Ok(found)
}

/// All of them count today.
fn in_force(certificates: &[Read]) -> Result<(), String> {
    for (index, (_, read)) in certificates.iter().enumerate() {
        if let Some(why) = read.out_of_date(now()) {
            let which =
                if certificates.len() > 1 { format!(", number {},", index + 1) } else { String::new() };
            return Err(format!("holds a certificate{which} that {why}"));
        }
    }
    Ok(())
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    i64::try_from(now).unwrap_or(i64::MAX)
}

pub(super) fn own_chain(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = certificates(file)?;
    let own = &certificates[0].1;
    if !own.is_v3 {
        let message = "holds a certificate of X.509 version 1, which TLS clients refuse; make one \
                       with extensions, the name as subjectAltName for example: it has version 3 then";
        return Err(message.to_owned());
    }
    in_force(&certificates)?;
    Ok(certificates.into_iter().map(|(der, _)| der).collect())
}

pub(super) fn private_key(file: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    is_pem(file, "pkey")?;
    let has = |text: &str| memchr::memmem::find(file, text.as_bytes()).is_some();
    if has("-----BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(
            "is encrypted, and nobody is there to type its passphrase; `openssl pkey -in FILE -out NEW` decrypts it"
                .to_owned(),
        );
    }
    match PrivateKeyDer::from_pem_slice(file) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(format!("has no private key in it{}", what_else(file))),
        Err(error) => Err(damaged(&error)),
    }
}

/// What a client shows of itself, and proves: certificate with what leads to its issuer, and key, both PEM.
///
/// # Errors
/// What is wrong, and with which of the two.
pub fn client_identity(
    certificate: &[u8],
    key: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = certificates(certificate).map_err(|what| format!("the client certificate {what}"))?;
    let key = private_key(key).map_err(|what| format!("the key of the client certificate {what}"))?;
    Ok((chain.into_iter().map(|(der, _)| der).collect(), key))
}

/// Who issues the certificates of clients.
pub(super) fn issuers(file: &[u8]) -> Result<Vec<Read>, String> {
    let found = certificates(file)?;
    in_force(&found)?;
    for (index, (der, read)) in found.iter().enumerate() {
        let fault =
            |what: &str| format!("has a certificate, number {}, that can't be used: {what}", index + 1);
        // Whoever has its key could make certificates for any user.
        if !read.is_authority() {
            let what = "it is no certificate authority (`CA:TRUE`), so it may not issue those of clients; \
                        name the one that issued it";
            return Err(fault(what));
        }
        RootCertStore::empty().add(der.clone()).map_err(|error| fault(explain_issuer(&error)))?;
    }
    Ok(found)
}

pub(super) fn revocation_lists(file: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    is_pem(file, "crl")?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(file).collect();
    let lists = lists.map_err(|error| damaged(&error))?;
    if lists.is_empty() {
        return Err(format!("has no revocation list in it{}", what_else(file)));
    }
    Ok(lists)
}

/// `tool`: the command of openssl that makes PEM of the other form.
fn is_pem(file: &[u8], tool: &str) -> Result<(), String> {
    if file.iter().all(u8::is_ascii_whitespace) {
        return Err("is empty".to_owned());
    }
    if file.starts_with(b"\xef\xbb\xbf") {
        return Err("begins with a byte order mark, which hides its first line; save it without".to_owned());
    }
    if memchr::memmem::find(file, b"-----BEGIN ").is_some() {
        return Ok(());
    }
    if file.starts_with(&[0x30]) {
        return Err(format!(
            "is DER, not PEM; `openssl {tool} -inform der -in FILE -out NEW` makes PEM of it"
        ));
    }
    Err("is not PEM: there is no line `-----BEGIN ...`".to_owned())
}

fn damaged(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("is damaged: the line `{}` is missing", String::from_utf8_lossy(end_marker).trim())
        }
        pem::Error::IllegalSectionStart { .. } => {
            "is damaged: a line `-----BEGIN ...` is not complete".to_owned()
        }
        pem::Error::Base64Decode(_) => {
            "is damaged: between BEGIN and END there is something that is not base64".to_owned()
        }
        _ => "is damaged".to_owned(),
    }
}

fn explain_issuer(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => "it is damaged",
        _ => "it breaks the rules of X.509",
    }
}

/// Names what is in a file where something else was looked for.
fn what_else(file: &[u8]) -> &'static str {
    let has = |text: &str| memchr::memmem::find(file, text.as_bytes()).is_some();
    match () {
        () if has("PRIVATE KEY-----") => ", but a private key; are the files swapped?",
        () if has("CERTIFICATE-----") => ", but a certificate; are the files swapped?",
        () if has("X509 CRL-----") => ", but a revocation list",
        () => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_named() {
        let file = b"\xef\xbb\xbf-----BEGIN CERTIFICATE-----\n";
        assert!(own_chain(file).unwrap_err().contains("byte order mark"));
        assert!(private_key(file).unwrap_err().contains("byte order mark"));
    }
}
