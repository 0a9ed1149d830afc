//! Why a client has no TLS with a server, in words for whoever started the client.
//!
//! The library's errors name its own rules. Here each becomes one line that says what is wrong with the server, this
//! client or the network between them, and where the remedy lies.

use super::certificate::date;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InconsistentKeys, InvalidMessage, PeerIncompatible};
use std::{fmt, io};

/// Why a client has no TLS with a server; its text is one line, to follow on the server's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFailure {
    text: String,
    remedy: Remedy,
}

/// Where the remedy lies. How it is done is for those to say who know the user's flags, or the keys of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The client is told whom to trust: the server's certificate is good, if it is the right one.
    Trust,
    /// The server is called by a name that its certificate is for.
    Name,
    /// The client shows a certificate, or another one.
    Certificate,
    /// Another port: there is no TLS on this one.
    Port,
    /// With the server, or on the way there; or nobody knows.
    Elsewhere,
}

impl TlsFailure {
    /// What it says of an error of a socket inside TLS; none if it is none of TLS.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let (text, remedy) = explain(error);
        Some(Self { text, remedy })
    }

    /// The same of an error in the handshake, which may end without a word of TLS.
    #[must_use]
    pub fn of_handshake(error: &io::Error) -> Self {
        Self::of(error).unwrap_or_else(|| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let text = "the server closed the connection in the middle of the handshake".to_owned();
                Self { text, remedy: Remedy::Port }
            }
            _ => Self { text: error.to_string(), remedy: Remedy::Elsewhere },
        })
    }

    /// Why a client's own certificate and key are of no use together.
    #[must_use]
    pub fn of_own(error: &rustls::Error) -> Self {
        let text = match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                "the key does not belong to the certificate"
            }
            rustls::Error::InvalidCertificate(_) => "the certificate breaks the rules of X.509",
            _ => {
                "the key is of a kind that cannot be used; RSA from 2048 bits, ECDSA P-256, P-384 and Ed25519 can"
            }
        };
        Self { text: text.to_owned(), remedy: Remedy::Certificate }
    }

    /// Where the remedy lies.
    #[must_use]
    pub const fn remedy(&self) -> Remedy {
        self.remedy
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Names of a certificate that are told.
const NAMES_MAX: usize = 5;

fn explain(error: &rustls::Error) -> (String, Remedy) {
    let (text, remedy) = match error {
        rustls::Error::InvalidCertificate(error) => {
            let (what, remedy) = explain_certificate(error);
            return (format!("the server's certificate {what}"), remedy);
        }
        rustls::Error::AlertReceived(alert) => return explain_alert(*alert),
        rustls::Error::NoCertificatesPresented => ("the server shows no certificate", Remedy::Elsewhere),
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => ("the server does not speak TLS there", Remedy::Port),
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => ("the server speaks another version of TLS", Remedy::Elsewhere),
        rustls::Error::DecryptError => {
            ("what the server sent was damaged on the way, or forged", Remedy::Elsewhere)
        }
        rustls::Error::PeerSentOversizedRecord => {
            ("the server sent a record longer than any may be", Remedy::Elsewhere)
        }
        rustls::Error::InappropriateMessage { .. } | rustls::Error::InappropriateHandshakeMessage { .. } => {
            ("the server sent a message out of its turn", Remedy::Elsewhere)
        }
        rustls::Error::PeerIncompatible(why) => {
            let text = format!("server and client have too little in common ({})", words(why));
            return (text, Remedy::Elsewhere);
        }
        rustls::Error::InvalidMessage(what) => {
            let text = format!("the server sent something that is not TLS ({})", words(what));
            return (text, Remedy::Elsewhere);
        }
        rustls::Error::PeerMisbehaved(rule) => {
            return (format!("the server broke a rule of TLS ({})", words(rule)), Remedy::Elsewhere);
        }
        other => return (other.to_string(), Remedy::Elsewhere),
    };
    (text.to_owned(), remedy)
}

/// To follow on "the server's certificate ".
fn explain_certificate(error: &CertificateError) -> (String, Remedy) {
    let day = |time: &UnixTime| date(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    let (text, remedy) = match error {
        CertificateError::UnknownIssuer => ("was issued by nobody who is trusted here", Remedy::Trust),
        CertificateError::BadSignature => (
            "names an authority that is trusted here, but another key signed it: was the authority made anew?",
            Remedy::Trust,
        ),
        CertificateError::ExpiredContext { not_after, .. } => {
            return (format!("expired on {}", day(not_after)), Remedy::Elsewhere);
        }
        CertificateError::Expired => ("has expired", Remedy::Elsewhere),
        CertificateError::NotValidYetContext { not_before, .. } => {
            let text = format!("is not valid before {}; is the clock right?", day(not_before));
            return (text, Remedy::Elsewhere);
        }
        CertificateError::NotValidYet => ("is not valid yet; is the clock right?", Remedy::Elsewhere),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> =
                presented.iter().filter_map(|name| plain_name(name)).take(NAMES_MAX).collect();
            let its = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
            return (format!("is for {its}, not for {}", expected.to_str()), Remedy::Name);
        }
        CertificateError::NotValidForName => ("is for another name", Remedy::Name),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            ("is not made for servers (extended key usage)", Remedy::Elsewhere)
        }
        CertificateError::BadEncoding => ("cannot be read", Remedy::Elsewhere),
        CertificateError::UnhandledCriticalExtension => {
            ("has a critical extension that is not understood here", Remedy::Elsewhere)
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            ("is signed in a way that is not accepted here (SHA-1, say, or a short key)", Remedy::Elsewhere)
        }
        // The verifier has no words of its own for these.
        CertificateError::Other(what) if what.0.to_string().contains("CaUsedAsEndEntity") => (
            "is that of a certificate authority (`CA:TRUE`, as `openssl req -x509` makes it), which is not trusted here",
            Remedy::Trust,
        ),
        CertificateError::Other(what) if what.0.to_string().contains("UnsupportedCertVersion") => {
            ("is of X.509 version 1, which is not accepted", Remedy::Elsewhere)
        }
        _ => ("breaks the rules of X.509", Remedy::Elsewhere),
    };
    (text.to_owned(), remedy)
}

fn explain_alert(alert: AlertDescription) -> (String, Remedy) {
    let (text, remedy) = match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            ("the server wants a certificate of this client", Remedy::Certificate)
        }
        AlertDescription::UnknownCA => {
            ("the server does not know who issued this client's certificate", Remedy::Certificate)
        }
        AlertDescription::CertificateExpired => {
            ("to the server this client's certificate has expired", Remedy::Certificate)
        }
        AlertDescription::CertificateRevoked => {
            ("to the server this client's certificate is revoked", Remedy::Certificate)
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => {
            ("the server does not accept this client's certificate", Remedy::Certificate)
        }
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => (
            "server and client have no way of encryption in common, or the server wants a certificate of this client",
            Remedy::Certificate,
        ),
        AlertDescription::ProtocolVersion => ("the server wants another version of TLS", Remedy::Elsewhere),
        AlertDescription::UnrecognisedName => ("the server knows no such name", Remedy::Name),
        AlertDescription::NoApplicationProtocol => {
            ("the server has none of the protocols that were offered to it (ALPN)", Remedy::Elsewhere)
        }
        other => return (format!("the server gave up ({})", words(&other)), Remedy::Elsewhere),
    };
    (text.to_owned(), remedy)
}

/// A name as the verifier gives it, `DnsName("a")` or `IpAddress(127.0.0.1)`, as people write it; none if a server cannot
/// be called by it.
fn plain_name(given: &str) -> Option<String> {
    let (kind, rest) = given.split_once('(')?;
    let name = rest.strip_suffix(')')?.trim_matches('"');
    matches!(kind, "DnsName" | "IpAddress").then(|| name.escape_debug().to_string())
}

/// A name of the library, `InternalError`, as words.
fn words(name: &impl fmt::Debug) -> String {
    let (mut text, mut small) = (String::new(), false);
    for letter in format!("{name:?}").chars() {
        if letter.is_uppercase() && small {
            text.push(' ');
        }
        small = letter.is_lowercase() || letter.is_ascii_digit();
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_verifier_calls_names_is_told_as_people_write_it() {
        for (given, plain) in [
            ("DnsName(\"a.example\")", Some("a.example")),
            ("IpAddress(127.0.0.1)", Some("127.0.0.1")),
            ("DnsName(\"a\u{1b}[2J\")", Some("a\\u{1b}[2J")),
            ("Unsupported(0x01)", None),
            ("DirectoryName", None),
        ] {
            assert_eq!(plain_name(given).as_deref(), plain);
        }
    }

    #[test]
    fn no_alert_and_no_rule_is_told_in_the_library_s_words() {
        let alerts = (0..=255).map(|code| rustls::Error::AlertReceived(AlertDescription::from(code)));
        let others = [
            rustls::Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType),
            rustls::Error::InvalidMessage(InvalidMessage::MessageTooLarge),
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
            rustls::Error::InvalidCertificate(CertificateError::BadSignature),
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure),
        ];
        for error in alerts.chain(others) {
            let text = TlsFailure::of(&io::Error::other(error.clone())).unwrap().to_string();
            let camel = text
                .as_bytes()
                .windows(2)
                .any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
            assert!(!camel && text.contains("server"), "{error:?}: {text}");
        }
        assert_eq!(words(&InvalidMessage::MessageTooLarge), "message too large");
        assert_eq!(TlsFailure::of(&io::ErrorKind::BrokenPipe.into()), None);
    }
}
