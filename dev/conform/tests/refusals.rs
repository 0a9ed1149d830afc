//! A CONNECT that is refused is one event that says who wanted in and why it was refused.
#![forbid(unsafe_code)]

use std::{collections::BTreeSet, sync::Arc};

use cork_access::Acl;
use cork_conform::{
    Lab,
    wire::{self, Connect, V5, V311, Version},
};
use cork_core::{AuthOutcome, Door, Ended, Event, Refused, Users};
use cork_packet::ReasonCode;

fn as_user(version: Version, client_id: &str, user: &str) -> Connect {
    Connect { user: Some(user.into()), password: Some(b"pw".to_vec()), ..Connect::new(version, client_id) }
}

/// Where the password of `mallory` is wrong and everybody else's is right.
fn lab() -> Lab {
    let mut lab = Lab::with(|config| config.door = Door::Checked);
    lab.on_authenticate(|credentials| match credentials.user_name.as_deref() {
        Some("mallory") | None => AuthOutcome::Denied { user: None },
        Some(_) => AuthOutcome::Allowed { user: None, data: None },
    });
    lab
}

/// The one refusal that a CONNECT brings, and what the client is told.
fn refusal(lab: &mut Lab, connect: &Connect) -> (Refused, Vec<u8>) {
    let before = lab.events.len();
    let client = lab.open(V5);
    lab.send(client, &connect.bytes());
    let said = lab.bytes(client);
    assert!(lab.is_closed(client));
    let events = &lab.events[before..];
    let [Event::Disconnected { client_id, cause: Ended::Refused(refused), .. }] = events else {
        panic!("{events:?}");
    };
    assert_eq!(*client_id, refused.client_id);
    ((**refused).clone(), said)
}

fn refused(code: ReasonCode, client_id: &str, user: Option<&str>, why: &str) -> Refused {
    let user_name = user.map(Box::from);
    Refused { code, why: why.into(), client_id: client_id.into(), user_name, will: None }
}

const BAD_PASSWORD: ReasonCode = ReasonCode::BAD_USER_NAME_OR_PASSWORD;
const NOT_VALID: ReasonCode = ReasonCode::CLIENT_IDENTIFIER_NOT_VALID;
const NOT_AUTHORIZED: ReasonCode = ReasonCode::NOT_AUTHORIZED;

#[test]
fn a_refusal_names_client_user_and_reason() {
    for version in [V311, V5] {
        let mut lab = lab();
        lab.connect_with(version, &as_user(version, "owned", "ann"));
        let cases = [
            (
                as_user(version, "lamp", "mallory"),
                refused(BAD_PASSWORD, "lamp", Some("mallory"), "user name or password is wrong"),
            ),
            (
                Connect::new(version, "lamp"),
                refused(BAD_PASSWORD, "lamp", None, "user name or password is wrong"),
            ),
            (
                as_user(version, "owned", "bob"),
                refused(
                    NOT_AUTHORIZED,
                    "owned",
                    Some("bob"),
                    "the Session of this Client Identifier belongs to another user",
                ),
            ),
            (
                as_user(version, "$cork/sink", "bob"),
                refused(
                    NOT_VALID,
                    "$cork/sink",
                    Some("bob"),
                    "Client Identifiers that begin with $cork/ belong to the broker itself",
                ),
            ),
        ];
        for (connect, expected) in cases {
            let (refused, said) = refusal(&mut lab, &connect);
            assert_eq!(refused, expected);
            let told = said.windows(expected.why.len()).any(|part| part == expected.why.as_bytes());
            assert_eq!(told, version == V5, "{expected:?}: {said:?}");
            assert!(!said.windows(3).any(|part| part == b"ann"), "whose it is is nobody's business");
        }
    }
}

#[test]
fn a_user_that_goes_while_its_password_is_checked_is_named() {
    let mut lab = lab();
    let names = Some(Arc::new(BTreeSet::from([Box::from("ann")])));
    lab.set_users(&Users { door: Door::Checked, names });
    let (found, _) = refusal(&mut lab, &as_user(V5, "lamp", "bob"));
    let why = "the users changed while this one was being checked";
    assert_eq!(found, refused(NOT_AUTHORIZED, "lamp", Some("bob"), why));
}

#[test]
fn a_refused_will_is_one_event_with_topic_and_rule() {
    let mut lab = lab();
    let text = "default = 'allow'\n[[rule]]\ndeny = ['write']\ntopic = 'secret/#'";
    lab.set_rights(&Arc::new(Acl::from_toml(text, "acl.toml").expect("the rights are well-formed")));
    let (found, _) = refusal(&mut lab, &as_user(V5, "lamp", "ann").with_will("secret/w", b""));
    let will = Some((Box::from("secret/w"), Some(Box::from("acl.toml:2"))));
    let why = "the Will's topic may not be written to";
    assert_eq!(found, Refused { will, ..refused(NOT_AUTHORIZED, "lamp", Some("ann"), why) });
}

/// A client whose exchange lets in who the data says, and denies `mallory` by that name.
fn exchanging() -> Lab {
    let mut lab = Lab::with(|_| {});
    lab.on_exchange(|_, data| {
        let name = String::from_utf8_lossy(data.unwrap_or_default()).into_owned();
        match &*name {
            "mallory" => AuthOutcome::Denied { user: Some("mallory".into()) },
            _ => AuthOutcome::Allowed { user: Some(name.into()), data: None },
        }
    });
    lab
}

fn by_exchange(client_id: &str, user: &str) -> Connect {
    let properties = [&[0x15][..], &wire::string("M"), &[0x16], &wire::string(user.as_bytes())].concat();
    Connect { properties, ..Connect::new(V5, client_id) }
}

#[test]
fn a_refusal_names_whom_an_exchange_was_about() {
    let (found, _) = refusal(&mut exchanging(), &by_exchange("lamp", "mallory"));
    assert_eq!((found.code, found.user_name.as_deref()), (NOT_AUTHORIZED, Some("mallory")));
}

#[test]
fn nobody_becomes_another_user_by_authenticating_again() {
    let mut lab = exchanging();
    let client = lab.connect_with(V5, &by_exchange("lamp", "ann"));
    lab.send(client, &wire::auth(0x19, "M", b"ann"));
    assert_eq!(lab.bytes(client)[..1], [0xF0], "AUTH: the same user may");
    assert!(!lab.is_closed(client));
    lab.send(client, &wire::auth(0x19, "M", b"bob"));
    let said = lab.bytes(client);
    assert_eq!((said[0], said[2]), (0xE0, 0x87), "DISCONNECT: {said:?}");
    assert!(lab.is_closed(client));
    let Some(Event::Disconnected { cause: Ended::Refused(found), .. }) = lab.events.last() else {
        panic!("{:?}", lab.events.last());
    };
    assert_eq!(**found, refused(NOT_AUTHORIZED, "lamp", Some("ann"), "re-authenticated as another user"));
}
