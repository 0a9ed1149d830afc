//! `$presence/<client id>`: true in the end, whatever happened.
#![forbid(unsafe_code)]

use std::time::Duration;

use cork_conform::{
    ClientIx, Lab,
    wire::{self, Connect, V5, V311},
};

fn lab(shards: u16) -> Lab {
    Lab::with(|config| {
        config.presence = true;
        config.shards = shards;
    })
}

/// State, reason and epoch of what a watcher got, by client.
fn said(lab: &mut Lab, watcher: ClientIx) -> Vec<(String, String, String, u64)> {
    let text = |json: &str, name: &str| {
        let after = json.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name} in {json}")).1;
        after.trim_start_matches('"').split(['"', ',', '}']).next().expect("a word").to_owned()
    };
    let one = |published: cork_conform::Published| {
        let json = String::from_utf8(published.payload).expect("text");
        for name in ["since", "address", "protocol", "session_expiry"] {
            text(&json, name);
        }
        let client = published.topic.strip_prefix("$presence/").expect("a client").to_owned();
        (client, text(&json, "state"), text(&json, "reason"), text(&json, "epoch").parse().expect("a number"))
    };
    lab.publishes(watcher).into_iter().map(one).collect()
}

fn watch(lab: &mut Lab, name: &str) -> ClientIx {
    let watcher = lab.connect(V5, name);
    lab.send(watcher, &wire::subscribe(V5, 1, &[("$presence/+", 1)]));
    watcher
}

/// The last state of each client but watchers.
fn states(said: Vec<(String, String, String, u64)>) -> Vec<(String, String, String)> {
    let mut last = std::collections::BTreeMap::new();
    for (client, state, reason, epoch) in
        said.into_iter().filter(|(client, ..)| !client.starts_with("watcher"))
    {
        if let Some((before, ..)) = last.insert(client.clone(), (epoch, state, reason)) {
            assert!(before <= epoch, "{client}: epochs grow");
        }
    }
    last.into_iter().map(|(client, (_, state, reason))| (client, state, reason)).collect()
}

fn row(client: &str, state: &str, reason: &str) -> (String, String, String) {
    (client.into(), state.into(), reason.into())
}

#[test]
fn who_watches_sees_everybody_come_and_go() {
    for shards in [1, 2] {
        let mut lab = lab(shards);
        let watcher = watch(&mut lab, "watcher");
        let a = lab.connect(V311, "a");
        let b = lab.connect_with(V5, &Connect::persistent(V5, "b/+#%"));
        let c = lab.connect_with(V311, &Connect { keep_alive: 10, ..Connect::new(V311, "c") });
        let now = states(said(&mut lab, watcher));
        assert_eq!(
            now,
            [
                row("a", "online", "connected"),
                row("b%2F%2B%23%25", "online", "connected"),
                row("c", "online", "connected")
            ],
            "{shards} shards"
        );
        lab.send(a, &wire::disconnect());
        lab.cut(b);
        lab.advance(Duration::from_secs(16));
        assert!(lab.is_closed(c));
        let now = states(said(&mut lab, watcher));
        assert_eq!(
            now,
            [
                row("a", "offline", "disconnected"),
                row("b%2F%2B%23%25", "offline", "connection lost"),
                row("c", "offline", "keep alive timeout")
            ],
            "{shards} shards"
        );
    }
}

#[test]
fn who_comes_later_sees_how_it_stands() {
    for shards in [1, 3] {
        let mut lab = lab(shards);
        let a = lab.connect(V311, "a");
        lab.connect(V5, "b");
        lab.send(a, &wire::disconnect());
        let watcher = watch(&mut lab, "watcher");
        let now = states(said(&mut lab, watcher));
        assert_eq!(now, [row("a", "offline", "disconnected"), row("b", "online", "connected")]);
    }
}

#[test]
fn an_old_end_never_overwrites_a_new_beginning() {
    let mut lab = lab(1);
    for _ in 0..3 {
        lab.connect(V5, "a");
    }
    let watcher = watch(&mut lab, "watcher");
    assert_eq!(states(said(&mut lab, watcher)), [row("a", "online", "connected")]);
    lab.connect(V5, "a");
    assert_eq!(states(said(&mut lab, watcher)), [row("a", "online", "connected")]);
}

#[test]
fn after_a_crash_everybody_is_offline_until_he_returns() {
    for (watched, shards, to) in [(true, 1, 1), (false, 1, 2), (true, 3, 1)] {
        let mut lab = lab(shards);
        if watched {
            watch(&mut lab, "watcher");
        }
        lab.connect(V5, "a");
        lab.connect_with(V5, &Connect::persistent(V5, "b"));
        lab.advance(Duration::from_secs(2));
        lab.crash_to(Duration::from_secs(1), to);
        lab.connect(V5, "a");
        let watcher = watch(&mut lab, "watcher 2");
        let now = states(said(&mut lab, watcher));
        assert_eq!(
            now,
            [row("a", "online", "connected"), row("b", "offline", "broker restarted")],
            "{watched}"
        );
    }
}

/// Storm, seeds 8 and 551: it was said while what was recovered was taken up, before the shards had heard of each other's
/// subscriptions, and before their own.
#[test]
fn who_was_away_when_the_broker_died_hears_who_is_offline_whichever_thread_he_lives_on() {
    for shards in [1, 2, 3, 4] {
        let mut lab = lab(shards);
        for name in ["watcher-0", "watcher-1", "watcher-2", "watcher-3"] {
            let watcher = lab.connect_with(V5, &Connect::persistent(V5, name));
            lab.send(watcher, &wire::subscribe(V5, 1, &[("$presence/+", 1)]));
        }
        let names = ["a", "b", "c", "d", "e"];
        for name in ["a", "b"] {
            lab.connect(V5, name);
        }
        for name in ["c", "d", "e"] {
            lab.connect_with(V5, &Connect::persistent(V5, name));
        }
        lab.crash(Duration::from_secs(1));
        // They return before anything was said, and after.
        let early =
            ["watcher-0", "watcher-1"].map(|name| lab.connect_with(V5, &Connect::persistent(V5, name)));
        lab.advance(Duration::from_millis(1));
        let late =
            ["watcher-2", "watcher-3"].map(|name| lab.connect_with(V5, &Connect::persistent(V5, name)));
        for watcher in early.into_iter().chain(late) {
            let now = states(said(&mut lab, watcher));
            assert_eq!(
                now,
                names.map(|name| row(name, "offline", "broker restarted")),
                "{shards}: {watcher:?}"
            );
        }
    }
}

#[test]
fn who_returns_at_once_after_a_crash_is_not_said_to_be_offline_afterwards() {
    for shards in [1, 3] {
        let mut lab = lab(shards);
        let watcher = lab.connect_with(V5, &Connect::persistent(V5, "watcher"));
        lab.send(watcher, &wire::subscribe(V5, 1, &[("$presence/+", 1)]));
        lab.connect(V5, "a");
        lab.connect(V5, "b");
        lab.crash(Duration::from_secs(1));
        lab.connect(V5, "a"); // no time has passed: nothing was said of the crash yet
        lab.advance(Duration::from_secs(2));
        let watcher = lab.connect_with(V5, &Connect::persistent(V5, "watcher"));
        let now = states(said(&mut lab, watcher));
        assert_eq!(now, [row("a", "online", "connected"), row("b", "offline", "broker restarted")]);
        let late = watch(&mut lab, "watcher 2");
        let now = states(said(&mut lab, late));
        assert_eq!(now, [row("a", "online", "connected"), row("b", "offline", "broker restarted")]);
    }
}

#[test]
fn what_is_known_of_a_client_without_a_session_is_forgotten_in_time() {
    let mut lab = lab(1);
    let watcher = watch(&mut lab, "watcher");
    lab.send(watcher, &wire::disconnect());
    for n in 0..50 {
        let client = lab.connect(V311, &format!("random-{n}"));
        lab.send(client, &wire::disconnect());
    }
    lab.advance(Duration::from_secs(10));
    assert_eq!(lab.stats(0).retained, 51);
    lab.advance(Duration::from_secs(86_400));
    assert_eq!(lab.stats(0).retained, 0);
    assert_eq!(lab.stored_sizes(), (0, 0));
}

#[test]
fn nobody_else_says_who_is_there() {
    let mut lab = lab(1);
    let liar = lab.connect(V5, "liar");
    lab.send(liar, &wire::publish(V5, 3, "$presence/somebody", Some(1), b"{}"));
    let acks = lab.acks(liar);
    assert_eq!(acks[0].reason, 0x87);
    let watcher = watch(&mut lab, "watcher");
    assert_eq!(states(said(&mut lab, watcher)), [row("liar", "online", "connected")]);
}

#[test]
fn who_watches_second_waits_for_what_the_first_one_brought_to_light() {
    for shards in [1, 2] {
        let mut lab = lab(shards);
        lab.connect(V311, "a");
        let watchers = ["watcher-1", "watcher-2"].map(|name| lab.connect(V5, name));
        lab.pause_store();
        for watcher in watchers {
            lab.send(watcher, &wire::subscribe(V5, 1, &[("$presence/+", 1)]));
        }
        for watcher in watchers {
            assert_eq!(lab.packets(watcher), [], "{shards} shards");
        }
        lab.store_answers();
        for watcher in watchers {
            let now = states(said(&mut lab, watcher));
            assert_eq!(now, [row("a", "online", "connected")], "{shards} shards");
        }
    }
}

/// A crash would otherwise leave a watcher with somebody of whom the broker knows nothing any more.
#[test]
fn nobody_is_said_to_be_there_before_that_is_stored() {
    for shards in [1, 2] {
        let mut lab = lab(shards);
        let watcher = watch(&mut lab, "watcher");
        said(&mut lab, watcher);
        lab.pause_store();
        for name in ["a", "b", "c", "d"] {
            lab.connect(V311, name);
        }
        assert_eq!(states(said(&mut lab, watcher)), [], "{shards} shards");
        lab.store_answers();
        let rows = ["a", "b", "c", "d"].map(|name| row(name, "online", "connected"));
        assert_eq!(states(said(&mut lab, watcher)), rows, "{shards} shards");
    }
}
