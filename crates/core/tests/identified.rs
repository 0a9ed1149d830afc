//! A client whose name a layer below MQTT has proven.
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

use cork_core::{ConnId, Door, Event, Input, Output, Shard, ShardConfig};
use cork_proto::Time;

const CONN: ConnId = ConnId { index: 0, generation: 1 };

/// CONNECT of 3.1.1 by `one`, who calls itself `mallory` with the password `x`.
const CONNECT: &[u8] = b"\x10\x1b\0\x04MQTT\x04\xc2\0\0\0\x03one\0\x07mallory\0\x01x";

fn shard(door: Door) -> Shard {
    let mut shard = Shard::new(ShardConfig { door, ..ShardConfig::default() });
    shard.handle(Time::ZERO, Input::Opened { conn: CONN, peer: "10.0.0.1:5".into() });
    shard
}

fn outputs(shard: &mut Shard) -> Vec<Output> {
    std::iter::from_fn(|| shard.poll_output()).collect()
}

fn identify(shard: &mut Shard, user: Option<&str>) {
    let peer = "192.0.2.7:50000".into();
    shard
        .handle(Time::ZERO, Input::Identified { conn: CONN, peer, user: user.map(Box::from), inside: false });
}

#[test]
fn a_proven_name_is_the_user_and_nobody_is_asked() {
    for door in [Door::Checked, Door::Anonymous, Door::Open] {
        let mut shard = shard(door);
        identify(&mut shard, Some("lamp"));
        shard.handle(Time::ZERO, Input::Bytes { conn: CONN, bytes: CONNECT });
        let outputs = outputs(&mut shard);
        assert!(!outputs.iter().any(|output| matches!(output, Output::Authenticate { .. })));
        let connected = outputs.iter().find_map(|output| match output {
            Output::Event(Event::Connected { user_name, peer, .. }) => {
                Some((user_name.clone(), peer.clone()))
            }
            _ => None,
        });
        assert_eq!(connected, Some((Some("lamp".into()), "192.0.2.7:50000".into())));
    }
}

#[test]
fn without_a_proven_name_the_password_is_checked() {
    let mut shard = shard(Door::Checked);
    identify(&mut shard, None);
    shard.handle(Time::ZERO, Input::Bytes { conn: CONN, bytes: CONNECT });
    let asked = outputs(&mut shard).into_iter().find_map(|output| match output {
        Output::Authenticate { credentials, .. } => Some(credentials),
        _ => None,
    });
    let asked = asked.unwrap();
    assert_eq!((asked.user_name.as_deref(), asked.peer.as_str()), (Some("mallory"), "192.0.2.7:50000"));
}

#[test]
fn a_name_that_comes_after_connect_changes_nothing() {
    let mut shard = shard(Door::Checked);
    shard.handle(Time::ZERO, Input::Bytes { conn: CONN, bytes: CONNECT });
    outputs(&mut shard);
    identify(&mut shard, Some("lamp"));
    assert!(outputs(&mut shard).is_empty(), "it still waits for the answer");
}
