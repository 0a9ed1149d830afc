//! Stored passwords: reading the forms a password file may hold, writing the one we recommend, comparing.
//!
//! | Form | What it is |
//! | --- | --- |
//! | `$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH` | Argon2id, what `cork passwd` writes |
//! | `$7$ITERATIONS$SALT$HASH` | Mosquitto: PBKDF2-HMAC-SHA512 |
//! | `$6$SALT$HASH` | Mosquitto before 2.0: SHA-512 of password, then salt |
//!
//! SCRAM secrets have their own form, see [`crate::scram`]. All salts and hashes are Base64.

use argon2::{Params, Version};
use subtle::ConstantTimeEq;

use crate::base64;
use crate::effort::{self, Effort, argon2id};

/// One stored password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoredPassword {
    Argon2id { params: Params, version: Version, salt: Vec<u8>, hash: Vec<u8> },
    MosquittoPbkdf2 { iterations: u32, salt: Vec<u8>, hash: [u8; 64] },
    MosquittoSha512 { salt: Vec<u8>, hash: [u8; 64] },
}

/// Memory of one new Argon2id hash in KiB. With the two numbers below it is the smallest setting that is commonly
/// recommended: a small board with 128 MiB can afford a few log-ins at once, and each takes it some 100 ms.
const ARGON2_KIB: u32 = 19_456;
const ARGON2_PASSES: u32 = 2;
const ARGON2_LANES: u32 = 1;
const ARGON2_SALT_BYTES: usize = 16;

/// Bounds for what a file may ask of us per log-in: beyond them a slip of the pen would stop the broker.
const ARGON2_KIB_MAX: u32 = 1 << 20;
const ARGON2_PASSES_MAX: u32 = 64;
const ARGON2_LANES_MAX: u32 = 16;
const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

impl StoredPassword {
    /// Reads what stands after `user:`. The error says what is wrong and what would be accepted.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("$argon2id$") {
            return parse_argon2id(rest).map_err(|reason| {
                format!("{reason}; an Argon2id hash is `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH` with salt and hash in Base64")
            });
        }
        if let Some(rest) = text.strip_prefix("$7$") {
            return parse_pbkdf2(rest).map_err(|reason| {
                format!("{reason}; this form is `$7$ITERATIONS$SALT$HASH` with salt and 64 bytes of hash in Base64")
            });
        }
        if let Some(rest) = text.strip_prefix("$6$") {
            return parse_sha512(rest).map_err(|reason| {
                format!("{reason}; this form is `$6$SALT$HASH` with salt and 64 bytes of hash in Base64")
            });
        }
        Err(unknown_form(text))
    }

    /// Hashes `password` with Argon2id and a salt of its own.
    pub(crate) fn create(password: &[u8]) -> Result<Self, getrandom::Error> {
        let mut salt = vec![0; ARGON2_SALT_BYTES];
        getrandom::fill(&mut salt)?;
        let params = Params::new(ARGON2_KIB, ARGON2_PASSES, ARGON2_LANES, Some(Params::DEFAULT_OUTPUT_LEN))
            .expect("the constants of this file are within Argon2's bounds");
        let mut hash = vec![0; Params::DEFAULT_OUTPUT_LEN];
        argon2id(&params, Version::V0x13, password, &salt, &mut hash)
            .expect("salt and output lengths are within bounds, and no password has 4 GiB");
        Ok(Self::Argon2id { params, version: Version::V0x13, salt, hash })
    }

    /// Whether `password` is the stored one. Takes the same time whether it is or not.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2id { params, version, salt, hash } => {
                let mut computed = vec![0; hash.len()];
                argon2id(params, *version, password, salt, &mut computed).is_ok()
                    && computed.ct_eq(hash).into()
            }
            Self::MosquittoPbkdf2 { iterations, salt, hash } => {
                let computed = effort::pbkdf2_sha512(password, salt, *iterations);
                bool::from(computed.ct_eq(hash)) & !ends_with_nul(password)
            }
            Self::MosquittoSha512 { salt, hash } => {
                let computed = effort::sha512(password, salt);
                computed.ct_eq(hash).into()
            }
        }
    }

    /// What [`verify`](Self::verify) costs.
    pub(crate) fn effort(&self) -> Effort {
        let none = Effort::default();
        match self {
            Self::Argon2id { params, version, .. } => {
                Effort { argon2id: vec![(params.clone(), *version)], ..none }
            }
            Self::MosquittoPbkdf2 { iterations, .. } => Effort { pbkdf2_sha512: *iterations, ..none },
            Self::MosquittoSha512 { .. } => Effort { sha512: true, ..none },
        }
    }

    /// The form that [`parse`](Self::parse) reads.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Argon2id { params, version, salt, hash } => format!(
                "$argon2id$v={}$m={},t={},p={}${}${}",
                u32::from(*version),
                params.m_cost(),
                params.t_cost(),
                params.p_cost(),
                base64::encode_unpadded(salt),
                base64::encode_unpadded(hash)
            ),
            Self::MosquittoPbkdf2 { iterations, salt, hash } => {
                format!("$7${iterations}${}${}", base64::encode(salt), base64::encode(hash))
            }
            Self::MosquittoSha512 { salt, hash } => {
                format!("$6${}${}", base64::encode(salt), base64::encode(hash))
            }
        }
    }
}

/// HMAC fills short keys up with zeros, so PBKDF2 can't tell a password from one with U+0000 after it. Nothing that writes
/// these forms takes such passwords; with this they are wrong when given, too.
pub(crate) fn ends_with_nul(password: &[u8]) -> bool {
    password.ends_with(&[0])
}

fn parse_argon2id(rest: &str) -> Result<StoredPassword, String> {
    let parts: Vec<&str> = rest.split('$').collect();
    let [version, params, salt, hash] = parts[..] else {
        return Err("the Argon2id hash does not have its four parts".into());
    };
    let version = match version {
        "v=19" => Version::V0x13,
        "v=16" => Version::V0x10,
        _ => return Err("the Argon2 version is not `v=19` or `v=16`".into()),
    };
    let [mut kib, mut passes, mut lanes] = [None; 3];
    for param in params.split(',') {
        let (place, max) = match param.split_once('=') {
            Some(("m", _)) => (&mut kib, ARGON2_KIB_MAX),
            Some(("t", _)) => (&mut passes, ARGON2_PASSES_MAX),
            Some(("p", _)) => (&mut lanes, ARGON2_LANES_MAX),
            _ => return Err("the Argon2 parameters are not `m=`, `t=` and `p=`".into()),
        };
        *place = Some(
            number(&param[2..], max)
                .map_err(|reason| format!("the Argon2 parameter `{}` {reason}", &param[..1]))?,
        );
    }
    let (Some(kib), Some(passes), Some(lanes)) = (kib, passes, lanes) else {
        return Err("one of the Argon2 parameters `m=`, `t=`, `p=` is missing".into());
    };
    let salt = bytes(salt, "salt", 8, 64)?;
    let hash = bytes(hash, "hash", 16, 64)?;
    let params = Params::new(kib, passes, lanes, Some(hash.len()))
        .map_err(|error| format!("Argon2 refuses the parameters ({error})"))?;
    Ok(StoredPassword::Argon2id { params, version, salt, hash })
}

fn parse_pbkdf2(rest: &str) -> Result<StoredPassword, String> {
    let parts: Vec<&str> = rest.split('$').collect();
    let [iterations, salt, hash] = parts[..] else {
        return Err("the `$7$` hash does not have its three parts".into());
    };
    let iterations = number(iterations, PBKDF2_ITERATIONS_MAX)
        .map_err(|reason| format!("the number of iterations {reason}"))?;
    let salt = bytes(salt, "salt", 1, 128)?;
    Ok(StoredPassword::MosquittoPbkdf2 { iterations, salt, hash: array(hash, "hash")? })
}

fn parse_sha512(rest: &str) -> Result<StoredPassword, String> {
    let parts: Vec<&str> = rest.split('$').collect();
    let [salt, hash] = parts[..] else {
        return Err("the `$6$` hash does not have its two parts".into());
    };
    Ok(StoredPassword::MosquittoSha512 { salt: bytes(salt, "salt", 1, 128)?, hash: array(hash, "hash")? })
}

/// A positive number up to `max`, in plain digits.
pub(crate) fn number(text: &str, max: u32) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && (1..=max).contains(&number) => Ok(number),
        _ => Err(format!("is not a number from 1 to {max}")),
    }
}

/// Base64 of `min..=max` bytes. An empty hash, which would equal another empty one, never gets through.
pub(crate) fn bytes(text: &str, name: &str, min: usize, max: usize) -> Result<Vec<u8>, String> {
    let bytes = base64::decode(text).ok_or_else(|| format!("the {name} is not Base64"))?;
    if (min..=max).contains(&bytes.len()) {
        return Ok(bytes);
    }
    let wanted = if min == max { format!("{min}") } else { format!("{min} to {max}") };
    Err(format!("the {name} has {} bytes instead of {wanted}", bytes.len()))
}

/// Base64 of exactly `N` bytes.
pub(crate) fn array<const N: usize>(text: &str, name: &str) -> Result<[u8; N], String> {
    let bytes = bytes(text, name, N, N)?;
    Ok(bytes.try_into().expect("the length was checked a line above"))
}

fn unknown_form(text: &str) -> String {
    let what = if text.is_empty() {
        "the password hash is missing"
    } else if text.starts_with('$') {
        "this kind of password hash is not supported"
    } else {
        "what follows the colon is not a password hash (passwords in plain text are not accepted)"
    };
    format!(
        "{what}; accepted are `$argon2id$`, `$scram-sha-256$`, and Mosquitto's `$7$` and `$6$`; `cork passwd` writes such a line"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Written by `mosquitto_passwd` 2.0.11 as Debian 12 has it; the Argon2id line is a test vector of the reference code.
    const KNOWN: &[(&str, &str, &str)] = &[
        (
            "Mosquitto, PBKDF2",
            "wonderland",
            "$7$101$mTKfi/Pk9b47BWM5$sHAoy7fY8F45eAdESFx34BtylTzAnbKlFb85yG9ZalViAp8EhC1koyH6TVEhs9hKQr/LxT0693LiS3IQB0JTmQ==",
        ),
        (
            "Mosquitto, PBKDF2, not ASCII",
            "Grüße, mit Leerzeichen",
            "$7$101$LXLwYuZzZPmSmGCa$XkkcofvxOHDRjwwioB0zb8F1/o/F9fZfN+7ZWersF0Thb4OGMcu2hDpJDnVANgkEegxAuHOrrbINoM549ezsSQ==",
        ),
        (
            "Mosquitto, SHA-512",
            "secret6",
            "$6$nisAzOV9ljDXCwG/$CpJBQaeRNZAqoyhjQ0CPJr0ry/zw52gGFlpQMkI63VgfaIUAO5AK+ON1OPHFI2faKlDymyls2Pc7+eI/s536xw==",
        ),
        (
            "Mosquitto, SHA-512, empty password",
            "",
            "$6$QnAWpl28+YOywoIO$a4KE/b5kAp1FbWbdE8Mvsne4IgJ+1MAYQru7XLaRgrfEeYRmFZ93bkk6gy5K0+OTAcswQNSoUAW5vQIy28zCQg==",
        ),
        ("Argon2id", "password", ARGON2ID),
    ];
    const ARGON2ID: &str =
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    #[test]
    fn hashes_written_by_other_programs_verify() {
        for (story, password, text) in KNOWN {
            let stored = StoredPassword::parse(text).unwrap();
            assert!(stored.verify(password.as_bytes()), "{story}");
            assert_eq!(stored.to_text(), *text, "{story}");
            for wrong in [format!("{password}x"), format!("{password}\0"), format!(" {password}")] {
                assert!(!stored.verify(wrong.as_bytes()), "{story}: {wrong:?}");
            }
        }
    }

    #[test]
    fn a_new_hash_verifies_reads_back_and_differs_from_the_next() {
        let password = b"any bytes \0\xff";
        let one = StoredPassword::create(password).unwrap();
        assert!(one.verify(password) && !one.verify(b"any bytes \0") && !one.verify(b""));
        assert_eq!(StoredPassword::parse(&one.to_text()).unwrap(), one);
        assert!(one.to_text().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(StoredPassword::create(password).unwrap(), one, "each hash has its own salt");
    }

    #[test]
    fn passwords_are_never_cut() {
        let long = vec![b'a'; 70_000];
        let stored = StoredPassword::create(&long).unwrap();
        assert!(stored.verify(&long) && !stored.verify(&long[..69_999]) && !stored.verify(&long[..72]));
    }

    #[test]
    fn forms_that_are_not_accepted_say_why_and_what_is() {
        let hash64 = "A".repeat(86);
        let cases = [
            ("plain text", "wonderland".to_owned(), "plain text"),
            ("nothing", String::new(), "missing"),
            ("bcrypt", "$2b$12$abcdefghijklmnopqrstuv".into(), "not supported"),
            ("argon2i", ARGON2ID.replace("2id", "2i"), "not supported"),
            ("Argon2 without version", ARGON2ID.replace("v=19$", ""), "four parts"),
            ("unknown Argon2 version", ARGON2ID.replace("v=19", "v=20"), "version"),
            ("Argon2 without memory", ARGON2ID.replace("m=256,", ""), "missing"),
            ("unknown Argon2 parameter", ARGON2ID.replace("p=1", "x=1"), "`m=`, `t=` and `p=`"),
            ("empty Argon2 parameter", ARGON2ID.replace("p=1", "p="), "`p` is not a number"),
            ("signed Argon2 parameter", ARGON2ID.replace("p=1", "p=+1"), "`p` is not a number"),
            (
                "Argon2 memory of a terabyte",
                ARGON2ID.replace("256", "1073741824"),
                "`m` is not a number from 1 to",
            ),
            ("too little Argon2 memory", ARGON2ID.replace("m=256", "m=1"), "refuses"),
            ("short Argon2 salt", ARGON2ID.replace("c29tZXNhbHQ", "c29t"), "salt has 3 bytes"),
            ("empty Argon2 hash", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$".into(), "hash has 0 bytes"),
            ("`$7$` with a part missing", "$7$101$c2FsdA==".into(), "three parts"),
            ("`$7$` with no iterations", format!("$7$0$c2FsdA==${hash64}"), "iterations"),
            ("`$7$` with endless iterations", format!("$7$4000000000$c2FsdA==${hash64}"), "iterations"),
            ("`$7$` without salt", format!("$7$101$${hash64}"), "salt has 0 bytes"),
            ("`$7$` cut short", format!("$7$101$c2FsdA==${}", &hash64[..40]), "hash has 30 bytes"),
            ("`$6$` with a part too many", format!("$6$c2FsdA==${hash64}$"), "two parts"),
            ("`$6$` with an empty hash", "$6$c2FsdA==$".into(), "hash has 0 bytes"),
            ("`$6$` not Base64", format!("$6$s!lt${hash64}"), "salt is not Base64"),
        ];
        for (story, text, reason) in cases {
            let error = StoredPassword::parse(&text).unwrap_err();
            assert!(error.contains(reason), "{story}: {error}");
            assert!(
                error.contains("$6$") || error.contains("$7$") || error.contains("$argon2id$"),
                "{story}: {error}"
            );
            assert!(
                !error.contains("wonderland") && !error.contains("c29t"),
                "{story}: shows the secret: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in r"(\$(6|7|argon2id)\$)?[$=,mtpv0-9a-zA-Z+/]{0,60}|.*") {
            if let Ok(stored) = StoredPassword::parse(&text) {
                prop_assert_eq!(StoredPassword::parse(&stored.to_text()), Ok(stored));
            }
        }
    }
}
