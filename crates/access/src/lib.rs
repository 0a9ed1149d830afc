//! Who may in, and what they may do.
//!
//! Two questions, answered apart:
//!
//! - *Who is this?* An [`Authenticator`] looks at the credentials of a CONNECT. It may take milliseconds and
//!   megabytes (that is what makes a stolen password file worthless), so it runs on a worker thread, never on a shard.
//!   [`PasswordFile`] is the one that ships; it also speaks SCRAM-SHA-256 to clients that use Enhanced Authentication.
//! - *May they?* An [`Acl`] is a compiled, immutable value, read from `acl.toml` or from a file in Mosquitto's format. A shard asks it for every SUBSCRIBE, every PUBLISH and
//!   every delivery, without a lock and without leaving its thread.
//!
//! [`passwd`] edits the password file. Nothing here opens a socket, reads a clock or writes a log line; a file that
//! can't be understood is an error that names file and line, never a broker that lets everybody in.
//!
//! ```
//! use cork_access::{Acl, Action, Authenticator, Credentials, DenyReason, PasswordFile, Subject, Verdict};
//!
//! let line = "ann:$7$101$mTKfi/Pk9b47BWM5$sHAoy7fY8F45eAdESFx34BtylTzAnbKlFb85yG9ZalViAp8EhC1koyH6TVEhs9hKQr/LxT0693LiS3IQB0JTmQ==";
//! let users = PasswordFile::parse(line, "passwords", false)?;
//! let ann = Credentials { user_name: Some("ann"), password: Some(b"wonderland"), client_id: "lamp", peer: "[::1]:4711" };
//! assert_eq!(users.authenticate(&ann), Verdict::Allow);
//! let wrong = Credentials { password: Some(b"Wonderland"), ..ann };
//! assert_eq!(users.authenticate(&wrong), Verdict::Deny(DenyReason::BadUserNameOrPassword));
//!
//! let acl = Acl::permissive();
//! let who = Subject { user: Some("ann"), client_id: "lamp" };
//! assert!(acl.allows(who, Action::Write, "home/lamp"));
//! assert!(!acl.allows(who, Action::Write, "$SYS/broker/uptime"));
//! # Ok::<(), cork_access::FileErrors>(())
//! ```
#![forbid(unsafe_code)]

mod acl;
mod acl_file;
mod authenticator;
mod base64;
mod decoy;
mod effort;
mod error;
mod hash;
pub mod passwd;
mod password_file;
mod scram;

pub use acl::{Acl, Action, Actions, Decision, Rule, RuleError, Subject, Who};
pub use authenticator::{
    AllowAnonymous, Authenticator, Credentials, CredentialsBuf, DenyReason, Exchange, ExchangeStep, Verdict,
};
pub use decoy::keep_decoys_in;
pub use error::{FileError, FileErrors};
pub use password_file::PasswordFile;
pub use scram::{SCRAM_SHA_256, ScramExchange};
