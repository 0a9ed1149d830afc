//! What went wrong, in words, and the exit code for it.

use std::{io::ErrorKind, process::ExitCode};

use cork_client::{ConnectError, Disconnected, ReasonCode, Refusal, Remedy, TlsFailure};
use cork_tools::line::Fault;

/// The end of a tool that did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    code: u8,
    /// Whether the flags are to blame.
    usage: bool,
}

/// Wrong flags, no connection, a file that cannot be read, and everything without a code of its own.
const FAILED: u8 = 1;
/// The connection was lost.
const LOST: u8 = 7;
/// TLS failed.
const NO_TLS: u8 = 8;
/// -W is over.
const TIMED_OUT: u8 = 27;
/// Nobody reads standard output any more: what a shell says of a process that ended by SIGPIPE.
const NOBODY_READS: u8 = 141;

impl Failure {
    pub(crate) const fn new(text: String) -> Self {
        Self { text, code: FAILED, usage: false }
    }

    pub(crate) const fn usage(text: String) -> Self {
        Self { text, code: FAILED, usage: true }
    }

    pub(crate) fn timed_out() -> Self {
        Self { text: "timed out (-W)".to_owned(), code: TIMED_OUT, usage: false }
    }

    pub(crate) fn with_code(text: String, code: u8) -> Self {
        Self { text, code, usage: false }
    }

    /// Says it, unless it is to be quiet, and gives the code.
    pub(crate) fn report(self, tool: &str, quiet: bool) -> ExitCode {
        if (!quiet || self.usage) && !self.text.is_empty() {
            eprintln!("cork {tool}: {}", self.text);
        }
        if self.usage {
            eprintln!("Try `cork {tool} --help`.");
        }
        ExitCode::from(self.code)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Connect(ConnectError::Refused(refusal)) => refused(&refusal),
            Fault::Connect(error) => {
                let code = match &error {
                    ConnectError::Tls { .. } => NO_TLS,
                    ConnectError::Disconnected(Disconnected::Eof | Disconnected::Io(_)) => LOST,
                    _ => FAILED,
                };
                Self::with_code(format!("{error}{}", advice(&error)), code)
            }
            Fault::Lost(why) => {
                let code = match &why {
                    Disconnected::ByServer { reason, .. } if reason.is_error() => reason.0,
                    _ => LOST,
                };
                Self::with_code(format!("{LOST_SAYS}: {why}"), code)
            }
            Fault::Publish(error) => Self::new(format!("cannot publish: {error}")),
            Fault::Subscribe(error) => Self::new(format!("cannot subscribe: {error}")),
            Fault::Io(error) if error.kind() == ErrorKind::BrokenPipe => {
                Self::with_code(String::new(), NOBODY_READS)
            }
            Fault::Io(error) => Self::new(format!("cannot write what came: {error}")),
            Fault::Other(text) => Self::new(text),
        }
    }
}

/// What is said of a connection that is lost, before the reason.
pub(crate) const LOST_SAYS: &str = "the connection was lost";

/// The code of CONNACK is the exit code, that of 3.1.1 where 3.1.1 is spoken.
fn refused(refusal: &Refusal) -> Failure {
    let code = match refusal.version.is_v5() {
        true => refusal.reason.0,
        false => refusal.reason.to_connect_return_code().0,
    };
    let advice = match refusal.reason {
        ReasonCode::NOT_AUTHORIZED | ReasonCode::BAD_USER_NAME_OR_PASSWORD => {
            "; check user name and password (-u, -P)"
        }
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => "; try another version (-V 5, 311 or 31)",
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => "; try another client identifier (-i)",
        _ => "",
    };
    Failure::with_code(format!("{refusal}{advice}"), code)
}

fn advice(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Io { error, .. } if error.kind() == ErrorKind::ConnectionRefused => {
            "; is a broker running there? (-h, -p)"
        }
        ConnectError::Dns { .. } => "; check the name (-h)",
        ConnectError::Tls { cause, .. } => remedy(cause),
        ConnectError::Timeout { .. } => "; check address and port (-h, -p), and whether TLS is wanted there",
        ConnectError::Disconnected(Disconnected::Io(error)) if let Some(cause) = TlsFailure::of(error) => {
            remedy(&cause)
        }
        // A listener with TLS answers a CONNECT with an alert, which is no packet.
        ConnectError::Disconnected(
            Disconnected::Eof | Disconnected::Io(_) | Disconnected::ProtocolError(_),
        ) => "; is it the right port, and is TLS wanted there? (-p, --cafile)",
        _ => "",
    }
}

/// What the user can do for TLS.
const fn remedy(cause: &TlsFailure) -> &'static str {
    match cause.remedy() {
        Remedy::Trust => {
            "; if it is the right server, name its certificate, or that of its issuer, with --cafile"
        }
        Remedy::Name => "; call it by such a name (-h), or take its certificate for any name (--insecure)",
        Remedy::Certificate => "; name certificate and key that the server accepts (--cert, --key)",
        Remedy::Port => "; is it the right port, and does it speak TLS? (-p)",
        Remedy::Elsewhere => "",
    }
}

/// Arguments that could not even be read.
pub(crate) fn refuse(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(FAILED)
}

/// What the parser says. mosquitto's clients say 1 where it says 2.
pub(crate) fn report(error: &clap::Error, tool: Option<&str>) -> ExitCode {
    // Nobody may be reading it.
    let _ = error.print();
    match (error.exit_code(), tool) {
        (0, _) => ExitCode::SUCCESS,
        (_, Some(_)) => ExitCode::from(FAILED),
        (code, None) => ExitCode::from(u8::try_from(code).unwrap_or(FAILED)),
    }
}
