//! SCRAM-SHA-256, the client's side: RFC 5802 with the hash of RFC 7677, as Authentication Method of MQTT 5.0.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256};
use stringprep::saslprep;

use crate::auth::{Authentication, Exchange};

/// Proves a password without sending it, and has the server prove that it knows it, too.
///
/// No channel binding. Name and password are prepared by SASLprep (RFC 4013) where it allows what they are; a password
/// that it does not allow is used as it is.
///
/// ```
/// use cork_client::{Options, Scram};
///
/// let options = Options::new("mqtt://127.0.0.1")?.authentication(Scram::new("ann", "secret"));
/// # let _ = options;
/// # Ok::<(), cork_client::ConnectError>(())
/// ```
#[derive(Clone)]
pub struct Scram {
    user: String,
    password: Vec<u8>,
}

/// The work a server may ask for; more would be an attack on this end.
const ITERATIONS_MAX: u32 = 10_000_000;
/// RFC 7677 asks for at least this many; fewer would give the password away.
const ITERATIONS_MIN: u32 = 4096;

impl Scram {
    /// As this user with this password.
    pub fn new(user: impl Into<String>, password: impl Into<Vec<u8>>) -> Self {
        Self { user: user.into(), password: password.into() }
    }
}

impl fmt::Debug for Scram {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Authentication for Scram {
    fn method(&self) -> &'static str {
        "SCRAM-SHA-256"
    }

    fn begin(&self) -> Box<dyn Exchange> {
        let mut random = [0; 18];
        let nonce = getrandom::fill(&mut random).ok().map(|()| STANDARD.encode(random));
        let user = saslprep(&self.user).map_or_else(|_| self.user.clone(), Cow::into_owned);
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={}", nonce.as_deref().unwrap_or_default());
        let text = str::from_utf8(&self.password).ok().and_then(|text| saslprep(text).ok());
        let password = match text {
            Some(text) if !text.is_empty() => text.into_owned().into_bytes(),
            _ => self.password.clone(),
        };
        Box::new(Running { password, nonce, bare, signature: None })
    }
}

/// One exchange.
struct Running {
    password: Vec<u8>,
    /// `None`: the system has no randomness, so there is no exchange.
    nonce: Option<String>,
    bare: String,
    /// What the server has to say at the end.
    signature: Option<[u8; 32]>,
}

impl Exchange for Running {
    fn first(&mut self) -> Option<Vec<u8>> {
        Some(format!("n,,{}", self.bare).into_bytes())
    }

    fn answer(&mut self, data: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let nonce = self.nonce.take().ok_or("one challenge too many, or no random numbers")?;
        let challenge = str::from_utf8(data).map_err(|_| "the challenge is not UTF-8")?;
        let mut fields = challenge.split(',');
        let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name));
        let (Some(both), Some(salt), Some(iterations)) = (field("r="), field("s="), field("i=")) else {
            return Err("the challenge is not `r=...,s=...,i=...`".into());
        };
        if !both.starts_with(&nonce) || both.len() == nonce.len() {
            return Err("the challenge does not continue our nonce".into());
        }
        let salt = STANDARD.decode(salt).map_err(|_| "the salt is not Base64")?;
        let iterations: u32 = iterations.parse().map_err(|_| "the iterations are no number")?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(format!(
                "{iterations} iterations; {ITERATIONS_MIN} to {ITERATIONS_MAX} are accepted"
            ));
        }
        let mut salted = [0; 32];
        pbkdf2_hmac::<Sha256>(&self.password, &salt, iterations, &mut salted);
        let client_key = hmac(&salted, b"Client Key");
        let stored_key = Sha256::digest(client_key);
        let without_proof = format!("c=biws,r={both}");
        let signed = format!("{},{challenge},{without_proof}", self.bare);
        let mut proof = hmac(&stored_key, signed.as_bytes());
        proof.iter_mut().zip(client_key).for_each(|(byte, key)| *byte ^= key);
        self.signature = Some(hmac(&hmac(&salted, b"Server Key"), signed.as_bytes()));
        Ok(Some(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes()))
    }

    fn finish(&mut self, data: Option<&[u8]>) -> Result<(), String> {
        let wanted = self.signature.ok_or("the server agreed before it asked")?;
        let given = data.and_then(|data| STANDARD.decode(data.strip_prefix(b"v=")?).ok());
        if given.is_some_and(|given| given == wanted) {
            Ok(())
        } else {
            Err("the server does not know the password".into())
        }
    }
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7677() {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        let bare = format!("n=user,r={nonce}");
        let mut running = Running { password: b"pencil".to_vec(), nonce: Some(nonce), bare, signature: None };
        let challenge =
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let answer = running.answer(challenge).unwrap().unwrap();
        assert_eq!(
            str::from_utf8(&answer).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(running.finish(Some(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")), Ok(()));
        assert!(running.finish(Some(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")).is_err());
        assert!(running.finish(None).is_err());
    }

    #[test]
    fn servers_that_want_to_learn_the_password() {
        for challenge in ["r=nx,s=AAAA,i=1", "r=n,s=AAAA,i=4096", "r=other,s=AAAA,i=4096", "", "i=1"] {
            let nonce = Some("n".to_owned());
            let mut running =
                Running { password: b"p".to_vec(), nonce, bare: "n=u,r=n".into(), signature: None };
            assert!(running.answer(challenge.as_bytes()).is_err(), "{challenge}");
            assert!(running.finish(None).is_err());
        }
    }
}
