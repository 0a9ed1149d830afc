//! Why there is no measurement.

use std::fmt;

/// What stopped a run, in words that say what, where and what to do; and whose affair it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Usage,
    Run,
}

impl Failure {
    /// The command line asks for something that cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, message: message.into() }
    }

    /// The broker, or this machine, did not do what the measurement needs.
    pub(crate) fn run(message: impl Into<String>) -> Self {
        Self { kind: Kind::Run, message: message.into() }
    }

    /// A call of the system failed. `doing` is what for: "cannot start a timer".
    pub(crate) fn system(doing: &str, error: &std::io::Error) -> Self {
        Self::run(format!("{doing}: {error}"))
    }

    /// The exit code for it.
    pub const fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => crate::EXIT_USAGE,
            Kind::Run => crate::EXIT_FAILED,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
