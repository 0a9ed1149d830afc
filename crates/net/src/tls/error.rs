//! Why a TLS connection came to nothing, in words for the log.

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
use std::error::Error;
use std::fmt;

/// Why TLS on a connection failed; its text is one line that says what was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    handshake: bool,
    text: String,
}

impl TlsError {
    pub(super) fn new(handshake: bool, text: impl Into<String>) -> Self {
        Self { handshake, text: text.into() }
    }

    pub(super) fn of(error: &rustls::Error, handshake: bool) -> Self {
        Self::new(handshake, explain(error, handshake))
    }

    /// Whether it failed in the handshake, before a byte of MQTT.
    pub fn is_handshake(&self) -> bool {
        self.handshake
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for TlsError {}

fn explain(error: &rustls::Error, handshake: bool) -> String {
    match error {
        rustls::Error::NoCertificatesPresented => {
            "the client shows no certificate, and needs one here".to_owned()
        }
        rustls::Error::InvalidCertificate(error) => explain_certificate(error),
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) if handshake => "the client does not speak TLS".to_owned(),
        rustls::Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => "the client offers neither TLS 1.2 nor TLS 1.3".to_owned(),
        // Of an authority in `client_ca` it would have been told with the file.
        rustls::Error::InvalidCertRevocationList(_) => {
            "the client's certificate cannot be checked: a list in `crl` names an intermediate certificate as its \
             issuer, and that one did not sign it, or may not (keyUsage without cRLSign)"
                .to_owned()
        }
        rustls::Error::NoApplicationProtocol => {
            "the client asks by ALPN for protocols of which this listener has none".to_owned()
        }
        rustls::Error::AlertReceived(alert) => explain_alert(*alert),
        rustls::Error::PeerIncompatible(why) => {
            format!("client and broker have too little in common ({why:?})")
        }
        rustls::Error::InvalidMessage(what) => {
            format!("the client sent something that is not TLS, or was damaged on the way ({what:?})")
        }
        rustls::Error::InappropriateMessage { .. } | rustls::Error::InappropriateHandshakeMessage { .. } => {
            "the client sent a message out of its turn".to_owned()
        }
        rustls::Error::PeerMisbehaved(rule) => format!("the client broke a rule of TLS ({rule:?})"),
        rustls::Error::DecryptError => "what the client sent was damaged on the way, or forged".to_owned(),
        rustls::Error::PeerSentOversizedRecord => {
            "the client sent a record longer than any may be".to_owned()
        }
        other => format!("it failed ({other})"),
    }
}

fn explain_certificate(error: &CertificateError) -> String {
    let what = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
        CertificateError::Revoked => "is revoked",
        CertificateError::UnknownRevocationStatus => {
            "was issued by a certificate authority of which `crl` has no revocation list"
        }
        CertificateError::UnknownIssuer => "was issued by nobody in `client_ca`",
        CertificateError::BadSignature => "has a wrong signature",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not made for clients (extended key usage)"
        }
        CertificateError::BadEncoding => "cannot be read",
        CertificateError::UnhandledCriticalExtension => {
            "has a critical extension that is not understood here"
        }
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "cannot be checked, the revocation list is out of date"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed in a way that is not accepted here (SHA-1, say, or a short key)"
        }
        CertificateError::Other(what) => {
            // The verifier has no words of its own for this one.
            if what.0.to_string().contains("CaUsedAsEndEntity") {
                "is that of a certificate authority (`CA:TRUE`); give the client one that it issued"
            } else {
                return format!("the client's certificate is refused ({})", what.0);
            }
        }
        _ => "breaks the rules of X.509",
    };
    format!("the client's certificate {what}")
}

fn explain_alert(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::UnknownCA => "it does not know who issued this broker's certificate",
        AlertDescription::CertificateExpired => "to it this broker's certificate has expired",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            "it does not accept this broker's certificate"
        }
        AlertDescription::ProtocolVersion => "it wants another version of TLS",
        other => return format!("the client gave up with the alert {other:?}"),
    };
    format!("the client gave up: {why}")
}
