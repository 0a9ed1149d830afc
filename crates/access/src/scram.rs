//! SCRAM-SHA-256, the server's side: RFC 5802 with the hash of RFC 7677, over MQTT 5.0 Enhanced Authentication.
//!
//! ```text
//! client                                   server
//! CONNECT  n,,n=user,r=NONCE          ->
//!                                     <-   AUTH     r=NONCE+OURS,s=SALT,i=ITERATIONS
//! AUTH     c=biws,r=NONCE+OURS,p=PROOF ->
//!                                     <-   CONNACK  v=SIGNATURE
//! ```
//!
//! The password never travels, and the client learns that the server knows it, too. There is no channel binding: the
//! headers `n` and `y` are taken, `p` is refused. Passwords are prepared by SASLprep (RFC 4013), so that one that is typed in
//! another way, with a combining accent say, is the same. So is a name of no user as it stands: it may be that of one then.
//!
//! An unknown user gets a salt made from the name and a key that nobody outside knows, so the exchange looks and costs
//! the same and fails at its end.

use std::borrow::Cow;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::authenticator::{Exchange, ExchangeStep};
use crate::effort::{self, Effort};
use crate::password_file::Users;
use crate::{base64, hash};

/// The Authentication Method of this mechanism.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// What a password file line holds after `user:`, in this text form.
pub(crate) const PREFIX: &str = "$scram-sha-256$";

/// RFC 7677 asks for at least this many, and clients refuse fewer.
const ITERATIONS_MIN: u32 = 4096;
/// A client, maybe a small board, does this work too: more would lock it out.
const ITERATIONS_MAX: u32 = 10_000_000;
/// What new secrets get: some 10 ms on a desktop, some 500 ms on a microcontroller.
const ITERATIONS_NEW: u32 = 16_384;
const SALT_BYTES_MAX: usize = 64;
/// The longest client nonce taken; the answer repeats it and has to fit into 65 535 bytes.
const NONCE_BYTES_MAX: usize = 1024;
/// Bytes of our part of the nonce, before Base64.
const OWN_NONCE_BYTES: usize = 18;

/// What the server keeps of a password: enough to check a proof, not enough to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScramSecret {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl ScramSecret {
    /// Reads what stands after [`PREFIX`]: `ITERATIONS$SALT$STOREDKEY$SERVERKEY`.
    pub(crate) fn parse(rest: &str) -> Result<Self, String> {
        Self::parse_parts(rest).map_err(|reason| {
            format!("{reason}; this form is `{PREFIX}ITERATIONS$SALT$STOREDKEY$SERVERKEY` with the last three in Base64")
        })
    }

    fn parse_parts(rest: &str) -> Result<Self, String> {
        let parts: Vec<&str> = rest.split('$').collect();
        let [iterations, salt, stored_key, server_key] = parts[..] else {
            return Err("the SCRAM secret does not have its four parts".into());
        };
        let iterations = hash::number(iterations, ITERATIONS_MAX)
            .ok()
            .filter(|iterations| *iterations >= ITERATIONS_MIN)
            .ok_or_else(|| {
                format!("the number of iterations is not from {ITERATIONS_MIN} to {ITERATIONS_MAX}")
            })?;
        Ok(Self {
            iterations,
            salt: hash::bytes(salt, "salt", 8, SALT_BYTES_MAX)?,
            stored_key: hash::array(stored_key, "stored key")?,
            server_key: hash::array(server_key, "server key")?,
        })
    }

    /// Makes the secret of a new password.
    pub(crate) fn create(password: &[u8]) -> Result<Self, getrandom::Error> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)?;
        Ok(Self::derive(&prepared(password), &salt, ITERATIONS_NEW))
    }

    /// `password`: prepared.
    fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted_password = effort::pbkdf2_sha256(password, salt, iterations);
        let client_key = hmac(&salted_password, &[b"Client Key"]);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(&salted_password, &[b"Server Key"]),
        }
    }

    /// A secret of this kind, that no password opens.
    fn mock((iterations, salt_bytes): (u32, usize), key: &[u8; 32], user: &str) -> Self {
        let part = |label: &[u8]| hmac(key, &[label, user.as_bytes()]);
        let mut salt = [part(b"salt 1 "), part(b"salt 2 ")].concat();
        salt.truncate(salt_bytes);
        Self { iterations, salt, stored_key: part(b"stored key "), server_key: part(b"server key ") }
    }

    /// Whether `password`, sent in the clear, is the one behind this secret. Same time either way.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        let given = Self::derive(&prepared(password), &self.salt, self.iterations);
        bool::from(given.stored_key.ct_eq(&self.stored_key)) & !hash::ends_with_nul(password)
    }

    /// What [`verify`](Self::verify) costs.
    pub(crate) fn effort(&self) -> Effort {
        Effort { pbkdf2_sha256: self.iterations, ..Effort::default() }
    }

    /// What everybody may see of how a secret was made: iterations and length of the salt.
    pub(crate) fn kind(&self) -> (u32, usize) {
        (self.iterations, self.salt.len())
    }

    /// Mixed into the key for mocked secrets.
    pub(crate) fn server_key(&self) -> &[u8; 32] {
        &self.server_key
    }

    /// The line's part after `user:`.
    pub(crate) fn to_text(&self) -> String {
        format!(
            "{PREFIX}{}${}${}${}",
            self.iterations,
            base64::encode(&self.salt),
            base64::encode(&self.stored_key),
            base64::encode(&self.server_key)
        )
    }
}

/// One running SCRAM-SHA-256 exchange, made by [`PasswordFile`](crate::PasswordFile).
pub struct ScramExchange {
    users: Arc<Users>,
    own_nonce: String,
    /// As the client said it, known or not.
    user_name: Option<String>,
    stage: Stage,
}

enum Stage {
    /// `asked`: the empty challenge went out, so the next message must be the first one.
    AwaitingFirst {
        asked: bool,
    },
    AwaitingFinal(Box<Promised>),
    Over,
}

/// What the server said it expects of the client's last message.
struct Promised {
    user: String,
    known: bool,
    secret: ScramSecret,
    /// The header of the first message, to be repeated in Base64.
    gs2_header: String,
    /// Both nonces.
    nonce: String,
    /// `client-first-message-bare,server-first-message,`: the part of what is signed that stands.
    signed: String,
}

impl ScramExchange {
    /// `own_nonce` must never repeat; it has no comma and is printable.
    pub(crate) fn new(users: Arc<Users>, own_nonce: String) -> Self {
        Self { users, own_nonce, user_name: None, stage: Stage::AwaitingFirst { asked: false } }
    }

    /// With a nonce from the system's random source; `None` if that fails.
    pub(crate) fn with_random_nonce(users: Arc<Users>) -> Option<Self> {
        let mut nonce = [0; OWN_NONCE_BYTES];
        getrandom::fill(&mut nonce).ok()?;
        Some(Self::new(users, base64::encode(&nonce)))
    }

    fn first(&mut self, message: &str) -> Option<(String, Promised)> {
        let mut first = ClientFirst::parse(message)?;
        if self.users.scram_secret(&first.user).is_none()
            && let Ok(name) = stringprep::saslprep(&first.user)
            && self.users.scram_secret(&name).is_some()
        {
            first.user = name.into_owned();
        }
        self.user_name = Some(first.user.clone());
        let (secret, known) = match self.users.scram_secret(&first.user) {
            Some(secret) => (secret.clone(), true),
            None => {
                let kind = self.users.some_scram_kind(&first.user)?;
                (ScramSecret::mock(kind, self.users.mock_key(), &first.user), false)
            }
        };
        let nonce = format!("{}{}", first.nonce, self.own_nonce);
        let reply = format!("r={nonce},s={},i={}", base64::encode(&secret.salt), secret.iterations);
        let signed = format!("{},{reply},", first.bare);
        let gs2_header = first.gs2_header.to_owned();
        Some((reply, Promised { user: first.user, known, secret, gs2_header, nonce, signed }))
    }
}

impl Exchange for ScramExchange {
    fn step(&mut self, data: Option<&[u8]>) -> ExchangeStep {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let Ok(message) = str::from_utf8(data.unwrap_or_default()) else {
            return ExchangeStep::Refuse;
        };
        match stage {
            // A client may leave the first message out of its CONNECT: an empty challenge asks for it.
            Stage::AwaitingFirst { asked: false } if message.is_empty() => {
                self.stage = Stage::AwaitingFirst { asked: true };
                ExchangeStep::Continue(Vec::new())
            }
            Stage::AwaitingFirst { .. } => match self.first(message) {
                Some((reply, promised)) => {
                    self.stage = Stage::AwaitingFinal(Box::new(promised));
                    ExchangeStep::Continue(reply.into_bytes())
                }
                None => ExchangeStep::Refuse,
            },
            Stage::AwaitingFinal(promised) => match promised.check(message) {
                Some(reply) => ExchangeStep::Done { data: reply.into_bytes(), user: promised.user },
                None => ExchangeStep::Refuse,
            },
            Stage::Over => ExchangeStep::Refuse,
        }
    }

    fn user_name(&self) -> Option<&str> {
        self.user_name.as_deref()
    }
}

impl Promised {
    /// Checks `c=HEADER,r=NONCE[,extensions],p=PROOF`; the reply proves that we know the password as well.
    fn check(&self, message: &str) -> Option<String> {
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let header = attributes.next()?.strip_prefix("c=")?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        if header != base64::encode(self.gs2_header.as_bytes())
            || nonce != self.nonce
            || !attributes.all(is_extension)
        {
            return None;
        }
        let proof: [u8; 32] = base64::decode(proof)?.try_into().ok()?;
        let signature = hmac(&self.secret.stored_key, &[self.signed.as_bytes(), without_proof.as_bytes()]);
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(key, byte)| *key ^= byte);
        let proven: bool = Sha256::digest(client_key).as_slice().ct_eq(&self.secret.stored_key).into();
        let own_signature =
            hmac(&self.secret.server_key, &[self.signed.as_bytes(), without_proof.as_bytes()]);
        (proven & self.known).then(|| format!("v={}", base64::encode(&own_signature)))
    }
}

/// `n,,n=user,r=nonce` taken apart.
struct ClientFirst<'a> {
    gs2_header: &'a str,
    bare: &'a str,
    user: String,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    fn parse(message: &'a str) -> Option<Self> {
        let (binding, rest) = message.split_once(',')?;
        let (authorize_as, bare) = rest.split_once(',')?;
        if binding != "n" && binding != "y" {
            return None;
        }
        let mut attributes = bare.split(',');
        // An `m=` here would be an extension that must be understood; there is none.
        let user = unescape(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let nonce_is_fine =
            (1..=NONCE_BYTES_MAX).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_graphic());
        if user.is_empty() || !nonce_is_fine || !attributes.all(is_extension) {
            return None;
        }
        // Acting for somebody else is not a thing in MQTT: the name may be repeated, nothing more.
        let acts_for_itself = match authorize_as.strip_prefix("a=") {
            Some(name) => unescape(name)? == user,
            None => authorize_as.is_empty(),
        };
        let gs2_header = &message[..message.len() - bare.len()];
        acts_for_itself.then_some(Self { gs2_header, bare, user, nonce })
    }
}

/// An optional `letter=value` that we don't know and may ignore.
fn is_extension(attribute: &str) -> bool {
    let mut bytes = attribute.bytes();
    bytes.next().is_some_and(|letter| letter.is_ascii_alphabetic() && letter != b'm')
        && bytes.next() == Some(b'=')
}

/// A name as SASL writes it: `=2C` is a comma, `=3D` an equals sign, and no other `=` may stand there.
fn unescape(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (character, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return None,
        };
        plain.push(character);
        plain.push_str(rest);
    }
    Some(plain)
}

/// A password as SCRAM takes it: by SASLprep (RFC 5802, 2.2). Bytes that are no UTF-8, and text that SASLprep prohibits,
/// stay as they are: such a password is better than none, and most clients send it so.
fn prepared(password: &[u8]) -> Cow<'_, [u8]> {
    match str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok()) {
        Some(text) if !text.is_empty() => Cow::Owned(text.into_owned().into_bytes()),
        _ => Cow::Borrowed(password),
    }
}

/// HMAC-SHA-256 over the parts, one after the other.
pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
