//! The port through which a broker asks who somebody is: once for a user name with a password, step by step for
//! Enhanced Authentication.

use std::fmt;

/// What a client says about itself in CONNECT, borrowed.
///
/// `Debug` leaves the password out.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The User Name of CONNECT, if it has one. Compared byte for byte: no case folding, no normalisation.
    pub user_name: Option<&'a str>,
    /// The Password of CONNECT, if it has one: any bytes, U+0000 too. Never cut.
    pub password: Option<&'a [u8]>,
    /// The Client Identifier, as sent or as assigned.
    pub client_id: &'a str,
    /// Where the connection comes from, for logs and for address rules: `192.0.2.7:50123`.
    pub peer: &'a str,
}

impl Credentials<'_> {
    /// An owned copy, to be sent to a worker thread.
    pub fn to_buf(&self) -> CredentialsBuf {
        CredentialsBuf {
            user_name: self.user_name.map(str::to_owned),
            password: self.password.map(<[u8]>::to_vec),
            client_id: self.client_id.to_owned(),
            peer: self.peer.to_owned(),
        }
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user_name", &self.user_name)
            .field("password", &self.password.map(|_| "***"))
            .field("client_id", &self.client_id)
            .field("peer", &self.peer)
            .finish()
    }
}

/// [`Credentials`] that own their text, for the way to a worker thread.
///
/// `Debug` leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialsBuf {
    /// See [`Credentials::user_name`].
    pub user_name: Option<String>,
    /// See [`Credentials::password`].
    pub password: Option<Vec<u8>>,
    /// See [`Credentials::client_id`].
    pub client_id: String,
    /// See [`Credentials::peer`].
    pub peer: String,
}

impl CredentialsBuf {
    /// The borrowed form that [`Authenticator::authenticate`] takes.
    pub fn as_credentials(&self) -> Credentials<'_> {
        Credentials {
            user_name: self.user_name.as_deref(),
            password: self.password.as_deref(),
            client_id: &self.client_id,
            peer: &self.peer,
        }
    }
}

impl fmt::Debug for CredentialsBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_credentials().fmt(f)
    }
}

/// The answer to a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client may in.
    Allow,
    /// The client may not, and why.
    Deny(DenyReason),
}

/// Why a client may not in, as far as the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// The user is unknown, or the password is missing or wrong: one answer for all three, so that names can't be
    /// guessed. 5.0: Reason Code 0x86; 3.1.1: return code 0x04.
    BadUserNameOrPassword,
    /// No user name was given where one is needed. 5.0: Reason Code 0x87; 3.1.1: return code 0x05.
    NotAuthorized,
}

/// Decides who somebody is.
///
/// All methods may block: they run on a worker thread.
pub trait Authenticator: Send + Sync {
    /// Judges a User Name and Password.
    ///
    /// A refusal should cost the same time whether the user is known or not.
    fn authenticate(&self, credentials: &Credentials<'_>) -> Verdict;

    /// Whether a user name that passed [`authenticate`](Self::authenticate) is proven. When it isn't, rights must not
    /// be granted by user name: give [`Subject::user`](crate::Subject::user) as `None`.
    fn proves_user_names(&self) -> bool {
        true
    }

    /// A number that is another one once a user proves itself with something else; `None`: nothing is known of this
    /// user. It tells nothing of a password.
    fn mark(&self, user: &str) -> Option<u64> {
        let _ = user;
        None
    }

    /// Begins Enhanced Authentication (5.0 section 4.12) with the Authentication Method of CONNECT, compared byte for
    /// byte. `None`: the method isn't supported, the answer is Reason Code 0x8C.
    fn begin_exchange(&self, method: &str, client_id: &str) -> Option<Box<dyn Exchange>> {
        let _ = (method, client_id);
        None
    }
}

/// One running Enhanced Authentication: of one CONNECT, or of one re-authentication.
pub trait Exchange: Send {
    /// Takes the Authentication Data of CONNECT or AUTH (`None`: the packet has none) and says how to go on. After
    /// `Done` or `Refuse` every further step refuses.
    fn step(&mut self, data: Option<&[u8]>) -> ExchangeStep;

    /// Whom the client says to be, once it has; for the log of a refusal.
    fn user_name(&self) -> Option<&str> {
        None
    }
}

/// What follows on one step of an [`Exchange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExchangeStep {
    /// Send AUTH with Reason Code 0x18 (Continue authentication) and this Authentication Data.
    Continue(Vec<u8>),
    /// The client proved to be `user`.
    Done {
        /// The Authentication Data for CONNACK, or for the AUTH that ends a re-authentication.
        data: Vec<u8>,
        /// The proven user name.
        user: String,
    },
    /// The client failed: Reason Code 0x87, close.
    Refuse,
}

/// Lets everybody in, whatever they call themselves.
///
/// Devices that insist on sending a user name work, but the name proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAnonymous;

impl Authenticator for AllowAnonymous {
    fn authenticate(&self, _credentials: &Credentials<'_>) -> Verdict {
        Verdict::Allow
    }

    fn proves_user_names(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Credentials<'static> = Credentials {
        user_name: Some("ann"),
        password: Some(b"wonder\0land"),
        client_id: "lamp",
        peer: "192.0.2.7:50123",
    };

    #[test]
    fn passwords_stay_out_of_debug_output() {
        for shown in [format!("{ANN:?}"), format!("{:?}", ANN.to_buf())] {
            assert!(shown.contains("ann") && shown.contains("***"), "{shown}");
            assert!(!shown.contains("wonder"), "{shown}");
        }
    }

    #[test]
    fn the_owned_form_is_the_same_credentials() {
        let buf = ANN.to_buf();
        assert_eq!(buf.as_credentials().to_buf(), buf);
        assert_eq!(buf.password.as_deref(), Some(&b"wonder\0land"[..]));
    }

    #[test]
    fn without_a_password_file_names_are_accepted_but_prove_nothing() {
        assert_eq!(AllowAnonymous.authenticate(&ANN), Verdict::Allow);
        assert!(!AllowAnonymous.proves_user_names());
        assert!(AllowAnonymous.begin_exchange("SCRAM-SHA-256", "lamp").is_none());
    }
}
