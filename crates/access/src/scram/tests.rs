use pbkdf2::pbkdf2_hmac;
use proptest::prelude::*;

use super::*;
use crate::{Authenticator as _, PasswordFile};

/// User `user`, password `pencil`, as in the example of RFC 7677 section 3.
const USER: &str = "user:$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
const OWN_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const CHALLENGE: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn exchange(file: &str) -> ScramExchange {
    ScramExchange::new(PasswordFile::parse(file, "passwords", false).unwrap().users(), OWN_NONCE.into())
}

fn proceed(exchange: &mut dyn Exchange, message: &str) -> String {
    match exchange.step(Some(message.as_bytes())) {
        ExchangeStep::Continue(data) => String::from_utf8(data).unwrap(),
        other => panic!("{message}: {other:?}"),
    }
}

/// What a client with `password` answers to `challenge`.
fn prove(first: &str, challenge: &str, password: &[u8]) -> String {
    let salt = challenge.split(",s=").nth(1).unwrap().split(',').next().unwrap();
    let iterations = challenge.rsplit(",i=").next().unwrap().parse().unwrap();
    let mut salted = [0; 32];
    pbkdf2_hmac::<Sha256>(password, &base64::decode(salt).unwrap(), iterations, &mut salted);
    let client_key = hmac(&salted, &[b"Client Key"]);
    let stored_key: [u8; 32] = Sha256::digest(client_key).into();
    let bare_at = first.match_indices(',').nth(1).unwrap().0 + 1;
    let (header, bare) = first.split_at(bare_at);
    let nonce = challenge.split(',').next().unwrap();
    let without_proof = format!("c={},{nonce}", base64::encode(header.as_bytes()));
    let signature = hmac(&stored_key, &[format!("{bare},{challenge},{without_proof}").as_bytes()]);
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, byte)| key ^ byte).collect();
    format!("{without_proof},p={}", base64::encode(&proof))
}

#[test]
fn the_example_of_rfc_7677_runs() {
    let secret = ScramSecret::derive(b"pencil", &base64::decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096);
    assert_eq!(format!("user:{}", secret.to_text()), USER);
    let mut exchange = exchange(USER);
    assert_eq!(proceed(&mut exchange, FIRST), CHALLENGE);
    let done = ExchangeStep::Done { data: SIGNATURE.into(), user: "user".into() };
    assert_eq!(exchange.step(Some(FINAL.as_bytes())), done);
    assert_eq!(exchange.step(Some(FINAL.as_bytes())), ExchangeStep::Refuse, "over is over");
    assert_eq!(exchange.step(None), ExchangeStep::Refuse);
}

/// RFC 4013, 3, and an accent that is a character of its own.
#[test]
fn a_password_typed_in_another_way_is_the_same() {
    let cases = [
        ("I\u{ad}X", "IX"),
        ("\u{aa}", "a"),
        ("\u{2168}", "IX"),
        ("u\u{308}", "\u{fc}"),
        ("a\u{a0}b", "a b"),
    ];
    for (typed, prepared) in cases {
        let secret = ScramSecret::create(typed.as_bytes()).unwrap();
        assert!(secret.verify(prepared.as_bytes()) && secret.verify(typed.as_bytes()), "{typed:?}");
        let file = format!("user:{}", secret.to_text());
        let mut exchange = exchange(&file);
        let challenge = proceed(&mut exchange, FIRST);
        let last = prove(FIRST, &challenge, prepared.as_bytes());
        assert!(matches!(exchange.step(Some(last.as_bytes())), ExchangeStep::Done { .. }), "{typed:?}");
    }
    // Upper and lower case stay two; what may not be prepared counts as it is.
    for (typed, other) in [("USER", "user"), ("\u{7}", ""), ("\u{627}1", "1")] {
        let secret = ScramSecret::create(typed.as_bytes()).unwrap();
        assert!(secret.verify(typed.as_bytes()) && !secret.verify(other.as_bytes()), "{typed:?}");
    }
}

#[test]
fn a_name_typed_in_another_way_is_that_of_the_user() {
    let mut exchange = exchange(USER);
    let first = "n,,n=us\u{ad}er,r=rOprNGfwEbeRWgbNEkqO";
    let challenge = proceed(&mut exchange, first);
    let last = prove(first, &challenge, b"pencil");
    let ExchangeStep::Done { user, .. } = exchange.step(Some(last.as_bytes())) else { panic!("it is user") };
    assert_eq!(user, "user");
}

#[test]
fn a_connect_without_data_is_asked_for_it_once() {
    for nothing in [None, Some(&b""[..])] {
        let mut exchange = exchange(USER);
        assert_eq!(exchange.step(nothing), ExchangeStep::Continue(vec![]));
        assert_eq!(proceed(&mut exchange, FIRST), CHALLENGE);
    }
    let mut exchange = exchange(USER);
    assert_eq!(exchange.step(None), ExchangeStep::Continue(vec![]));
    assert_eq!(exchange.step(None), ExchangeStep::Refuse);
}

#[test]
fn variants_of_the_first_message_that_are_allowed() {
    let cases = [
        ("the client could bind, but knows that we don't", "y,,n=user,r=abc"),
        ("acting for itself", "n,a=user,n=user,r=abc"),
        ("an extension we may ignore", "n,,n=user,r=abc,x=1"),
    ];
    for (story, first) in cases {
        let mut exchange = exchange(USER);
        let challenge = proceed(&mut exchange, first);
        let answer = prove(first, &challenge, b"pencil");
        assert!(
            matches!(exchange.step(Some(answer.as_bytes())), ExchangeStep::Done { user, .. } if user == "user"),
            "{story}"
        );
    }
}

#[test]
fn escaped_names_are_the_names() {
    let file = USER.replace("user:", "a,b=c:");
    let first = "n,,n=a=2Cb=3Dc,r=abc";
    let mut exchange = exchange(&file);
    let challenge = proceed(&mut exchange, first);
    let answer = prove(first, &challenge, b"pencil");
    assert!(
        matches!(exchange.step(Some(answer.as_bytes())), ExchangeStep::Done { user, .. } if user == "a,b=c")
    );
}

#[test]
fn first_messages_that_are_refused() {
    let long = format!("n,,n=user,r={}", "a".repeat(NONCE_BYTES_MAX + 1));
    let cases = [
        ("channel binding", "p=tls-unique,,n=user,r=abc"),
        ("unknown flag", "x,,n=user,r=abc"),
        ("no header", "n=user,r=abc"),
        ("acting for somebody else", "n,a=ann,n=user,r=abc"),
        ("not an authorisation name", "n,user,n=user,r=abc"),
        ("an extension that must be understood", "n,,m=x,n=user,r=abc"),
        ("the same, later", "n,,n=user,r=abc,m=x"),
        ("not an extension", "n,,n=user,r=abc,"),
        ("no name", "n,,n=,r=abc"),
        ("name after nonce", "n,,r=abc,n=user"),
        ("no nonce", "n,,n=user"),
        ("empty nonce", "n,,n=user,r="),
        ("space in the nonce", "n,,n=user,r=a b"),
        ("nonce longer than any client needs", &long),
        ("bad escape", "n,,n=us=2cer,r=abc"),
        ("escape cut off", "n,,n=user=,r=abc"),
        ("junk", "junk"),
    ];
    for (story, first) in cases {
        assert_eq!(exchange(USER).step(Some(first.as_bytes())), ExchangeStep::Refuse, "{story}");
    }
    assert_eq!(exchange(USER).step(Some(b"n,,n=\xff,r=abc")), ExchangeStep::Refuse, "not UTF-8");
}

#[test]
fn final_messages_that_are_refused() {
    let proof_at = FINAL.find(",p=").unwrap();
    let cases = [
        ("wrong password", prove(FIRST, CHALLENGE, b"pencils")),
        ("another header", FINAL.replace("biws", "eSws")),
        ("header of a binding", FINAL.replace("biws", "cD10bHMtdW5pcXVlLCw=")),
        ("another nonce", FINAL.replace("hNlF", "hNlG")),
        ("only its own nonce", FINAL.replace(OWN_NONCE, "")),
        ("no proof", FINAL[..proof_at].into()),
        ("empty proof", format!("{},p=", &FINAL[..proof_at])),
        ("proof too short", format!("{},p=AAAA", &FINAL[..proof_at])),
        ("something signed that was not sent", FINAL.replace(",p=", ",x=1,p=")),
        ("first message again", FIRST.into()),
        ("nothing", String::new()),
    ];
    for (story, message) in cases {
        let mut exchange = exchange(USER);
        proceed(&mut exchange, FIRST);
        assert_eq!(exchange.step(Some(message.as_bytes())), ExchangeStep::Refuse, "{story}");
        assert_eq!(exchange.step(Some(FINAL.as_bytes())), ExchangeStep::Refuse, "{story}: no second try");
    }
}

#[test]
fn an_unknown_user_meets_a_challenge_like_everybody_and_fails_at_the_end() {
    let challenge = |first: &str| proceed(&mut exchange(USER), first);
    let eve = challenge("n,,n=eve,r=abc");
    assert_eq!(eve, challenge("n,,n=eve,r=abc"), "asking twice tells nothing");
    let salt = |challenge: &str| challenge.split(",s=").nth(1).unwrap().to_owned();
    assert_ne!(salt(&eve), salt(&challenge("n,,n=bob,r=abc")), "each name has its own salt");
    assert_ne!(salt(&eve), salt(CHALLENGE));
    assert_eq!(salt(&eve).len(), salt(CHALLENGE).len());
    assert!(eve.ends_with(",i=4096"));
    let mut exchange = exchange(USER);
    let first = "n,,n=eve,r=abc";
    let challenge = proceed(&mut exchange, first);
    let answer = prove(first, &challenge, b"pencil");
    assert_eq!(exchange.step(Some(answer.as_bytes())), ExchangeStep::Refuse);
}

#[test]
fn a_user_with_only_a_password_line_looks_unknown() {
    let file = format!(
        "{USER}\nann:$6$QnAWpl28+YOywoIO$a4KE/b5kAp1FbWbdE8Mvsne4IgJ+1MAYQru7XLaRgrfEeYRmFZ93bkk6gy5K0+OTAcswQNSoUAW5vQIy28zCQg=="
    );
    let mut exchange = exchange(&file);
    let first = "n,,n=ann,r=abc";
    let challenge = proceed(&mut exchange, first);
    let answer = prove(first, &challenge, b"");
    assert_eq!(exchange.step(Some(answer.as_bytes())), ExchangeStep::Refuse);
}

#[test]
fn every_exchange_has_its_own_nonce() {
    let file = PasswordFile::parse(USER, "passwords", false).unwrap();
    let challenge = || proceed(file.begin_exchange(SCRAM_SHA_256, "lamp").unwrap().as_mut(), FIRST);
    let (one, two) = (challenge(), challenge());
    assert_ne!(one, two);
    assert!(one.starts_with("r=rOprNGfwEbeRWgbNEkqO") && one.len() > FIRST.len() + 24);
}

proptest! {
    #[test]
    fn any_messages_end_in_refusal_without_panic(first in "[ny]?,?(a=)?,?n=user,r=[a-z,=]{0,9}|.*", last in "c=biws,r=.*,p=.*|.*") {
        let mut exchange = exchange(USER);
        let opening = exchange.step(Some(first.as_bytes()));
        let done = |step: &ExchangeStep| matches!(step, ExchangeStep::Done { .. });
        prop_assert!(!done(&opening));
        let end = exchange.step(Some(last.as_bytes()));
        prop_assert!(!done(&end));
    }
}
