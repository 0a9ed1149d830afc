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
        rustls::Error::NoApplicationProtocol => {
            "the client asks by ALPN for protocols of which this listener has none".to_owned()
        }
        rustls::Error::AlertReceived(alert) => explain_alert(*alert),
        other => other.to_string(),
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
        other => return format!("the client's certificate is refused: {other}"),
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
