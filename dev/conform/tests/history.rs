//! Subscribing into the past: what was published before, in order, then what is published, without a gap or a double.
#![forbid(unsafe_code)]

use std::{sync::Arc, time::Duration};

use cork_access::Acl;
use cork_conform::{
    ClientIx, Lab, Published, Received,
    wire::{self, Connect, V5, V311, Version},
};
use cork_core::{HistoryTable, home_shard};
use cork_store::Record;
use proptest::prelude::*;

const BOTH: [Version; 2] = [V311, V5];

fn lab(shards: u16) -> Lab {
    Lab::with(|config| {
        config.shards = shards;
        config.history = Arc::new(HistoryTable { filters: vec!["#".into()], retained: false });
    })
}

fn user(name: &str, value: &str) -> Vec<u8> {
    [vec![0x26], wire::string(name), wire::string(value)].concat()
}

fn publish(lab: &mut Lab, publisher: ClientIx, topic: &str, payload: &str) {
    lab.send(publisher, &wire::publish(V311, 0, topic, None, payload.as_bytes()));
}

/// Sends a SUBSCRIBE; its codes and Reason String.
fn subscribe(lab: &mut Lab, version: Version, client: ClientIx, filter: &str, qos: u8) -> (Vec<u8>, String) {
    lab.send(client, &wire::subscribe(version, 1, &[(filter, qos)]));
    match lab.take_one(client) {
        Some(Received::SubAck { codes, props, .. }) => (codes, props.text(0x1F).unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

fn texts(published: &[Published]) -> Vec<String> {
    published.iter().map(|one| String::from_utf8_lossy(&one.payload).into_owned()).collect()
}

fn got(lab: &mut Lab, client: ClientIx) -> Vec<String> {
    texts(&lab.publishes(client))
}

/// The user property `time`.
fn time_of(one: &Published) -> Option<String> {
    let pair = one.props.text(0x26)?;
    Some(pair.strip_prefix("time\0")?.to_owned())
}

#[test]
fn the_last_messages_come_then_what_is_published() {
    for version in BOTH {
        for shards in [1, 3] {
            let mut lab = lab(shards);
            let sensor = lab.connect(V311, "sensor");
            for n in 0..5 {
                publish(&mut lab, sensor, "t/1", &format!("old {n}"));
                publish(&mut lab, sensor, "other", "no");
            }
            let client = lab.connect(version, "reader");
            assert_eq!(subscribe(&mut lab, version, client, "$history/last=3/t/+", 1).0, [1]);
            let came = lab.publishes(client);
            assert_eq!(texts(&came), ["old 2", "old 3", "old 4"]);
            assert!(came.iter().all(|one| !one.retain && one.topic == "t/1"), "{came:?}");
            if version == V5 {
                let time = time_of(&came[0]).expect("the original time");
                assert!(time.starts_with("2023-11-14T22:13:20.0") && time.ends_with('Z'), "{time}");
            }
            publish(&mut lab, sensor, "t/1", "new");
            let came = lab.publishes(client);
            assert_eq!(texts(&came), ["new"]);
            assert_eq!(time_of(&came[0]), None, "only of the past");
            lab.send(client, &wire::unsubscribe(version, 2, &["$history/last=3/t/+"]));
            publish(&mut lab, sensor, "t/1", "not wanted");
            assert_eq!(got(&mut lab, client), [""; 0]);
        }
    }
}

#[test]
fn since_a_time_means_since_then() {
    let mut lab = lab(1);
    let sensor = lab.connect(V311, "sensor");
    for n in 0..4 {
        publish(&mut lab, sensor, "t", &n.to_string());
        lab.advance(Duration::from_secs(20));
    }
    let client = lab.connect(V311, "reader");
    subscribe(&mut lab, V311, client, "$history/since=1m/t", 0);
    assert_eq!(got(&mut lab, client), ["1", "2", "3"]);
}

#[test]
fn a_user_property_asks_for_the_same() {
    let mut lab = lab(1);
    let sensor = lab.connect(V311, "sensor");
    publish(&mut lab, sensor, "t", "1");
    publish(&mut lab, sensor, "t", "2");
    let client = lab.connect(V5, "reader");
    let ask = |replay: &str| wire::subscribe_with(V5, 1, &user("replay", replay), &[("t", 0)]);
    lab.send(client, &ask("last=1"));
    assert_eq!(got(&mut lab, client), ["2"]);
    publish(&mut lab, sensor, "t", "3");
    assert_eq!(got(&mut lab, client), ["3"]);
    lab.send(client, &ask("last"));
    match lab.take_one(client) {
        Some(Received::SubAck { codes, .. }) => assert_eq!(codes, [0x8F]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_wrong_is_refused_and_said() {
    let mut lab = lab(1);
    let wrong = [
        ("$history/last=0/t", "last=100"),
        ("$history/last=x/t", "last=100"),
        ("$history/since=1/t", "unit"),
        ("$history/t", "prefix is followed"),
        ("$share/g/$history/last=1/t", "shared"),
        ("$history/last=1/$where/true/t", "one of"),
    ];
    let client = lab.connect(V5, "five");
    let old = lab.connect(V311, "four");
    for (filter, why) in wrong {
        let (codes, said) = subscribe(&mut lab, V5, client, filter, 0);
        assert_eq!(codes, [0x8F], "{filter}");
        assert!(said.contains(why), "{filter}: {said}");
        assert_eq!(subscribe(&mut lab, V311, old, filter, 0).0, [0x80], "{filter}");
    }
    let mut without = Lab::new();
    let client = without.connect(V5, "five");
    let (codes, said) = subscribe(&mut without, V5, client, "$history/last=1/t", 0);
    assert_eq!((codes, said.contains("[[history]]")), (vec![0x8F], true), "{said}");
}

#[test]
fn no_retained_message_is_sent_and_retain_is_0() {
    let mut lab = lab(1);
    let sensor = lab.connect(V311, "sensor");
    lab.send(sensor, &wire::publish(V311, 1, "t", None, b"kept"));
    let client = lab.connect(V311, "reader");
    subscribe(&mut lab, V311, client, "$history/last=9/t", 0);
    let came = lab.publishes(client);
    assert_eq!((came.len(), came[0].retain), (1, false));
}

#[test]
fn what_may_not_be_read_is_not_replayed() {
    let mut lab = lab(1);
    let rules = "default = 'deny'\n[[rule]]\nallow = ['read', 'write']\ntopic = 'open/#'\n\
                 [[rule]]\nclient_id = 'sensor'\nallow = ['write']\ntopic = '#'\n\
                 [[rule]]\nallow = ['read']\ntopic = 'open/#'\n";
    lab.set_rights(&Arc::new(Acl::from_toml(rules, "acl.toml").unwrap()));
    let sensor = lab.connect(V311, "sensor");
    publish(&mut lab, sensor, "open/a", "yes");
    publish(&mut lab, sensor, "shut/a", "no");
    let client = lab.connect(V5, "reader");
    let (codes, _) = subscribe(&mut lab, V5, client, "$history/last=9/shut/a", 0);
    assert_eq!(codes, [0x87]);
    subscribe(&mut lab, V5, client, "$history/last=9/open/#", 0);
    assert_eq!(got(&mut lab, client), ["yes"]);
}

/// A shard that still has to store who came says later that it knows of the subscription. What it takes meanwhile must not
/// fall between past and present.
#[test]
fn what_comes_while_a_shard_cannot_answer_yet_is_not_left_out() {
    let mut lab = Lab::with(|config| {
        config.shards = 3;
        config.presence = true;
        config.history = Arc::new(HistoryTable { filters: vec!["#".into()], retained: false });
    });
    let watcher = lab.connect(V311, "watcher");
    lab.send(watcher, &wire::subscribe(V311, 1, &[("$presence/+", 0)]));
    let sensors: Vec<_> = (0..6).map(|n| lab.connect(V311, &format!("sensor-{n}"))).collect();
    let reader = lab.connect(V311, "reader");
    lab.pause_store();
    for n in 0..6 {
        let kept = lab.open(V311);
        lab.send(kept, &Connect::persistent(V311, &format!("kept-{n}")).bytes());
    }
    lab.send(reader, &wire::subscribe(V311, 1, &[("$history/last=100/t/#", 0)]));
    for (n, sensor) in sensors.iter().enumerate() {
        publish(&mut lab, *sensor, &format!("t/{n}"), &n.to_string());
    }
    lab.store_answers();
    let mut came = got(&mut lab, reader);
    came.sort();
    assert_eq!(came, ["0", "1", "2", "3", "4", "5"]);
}

/// A name whose Session lives on these shards: which one, of how many.
fn living_on(homes: &[(u16, u16)], name: &str) -> String {
    let lives_there = |id: &String| homes.iter().all(|(shard, shards)| home_shard(id, *shards, 42) == *shard);
    (0..).map(|n| format!("{name}{n}")).find(lives_there).expect("one of some lives there")
}

/// A Will that is published once more after a crash has the identity it had, and with that the shard it came to then. With
/// another number of shards another one publishes it, and what counts is where the present of that one begins. Found by the
/// simulation, seed 40202.
#[test]
fn a_will_published_again_by_another_shard_does_not_come_as_past_and_as_present() {
    let past_of_another = ([(2, 3), (0, 2)], (1, 2), "$history/since=1h/t", vec!["will", "later"]);
    let present_here = ([(1, 2), (0, 3)], (0, 3), "$history/last=1/t", vec!["later", "will"]);
    for (wills, readers, filter, expected) in [past_of_another, present_here] {
        let [(_, before), (_, after)] = wills;
        let mut lab = lab(before);
        let watcher =
            lab.connect_with(V5, &Connect::persistent(V5, &living_on(&[(0, before), (1, after)], "w")));
        lab.send(watcher, &wire::subscribe(V5, 1, &[("t", 1)]));
        let dies = Connect::persistent(V5, &living_on(&wills, "dies")).with_will("t", b"will");
        let dies = lab.connect_with(V5, &dies);
        lab.pause_mail();
        lab.cut(dies);
        lab.crash_to(Duration::from_secs(1), after);
        let sensor = lab.connect(V311, "sensor");
        publish(&mut lab, sensor, "t", "later");
        let reader = lab.connect(V311, &living_on(&[readers], "reader"));
        lab.pause_mail();
        lab.send(reader, &wire::subscribe(V311, 1, &[(filter, 0)]));
        lab.advance(Duration::from_secs(1));
        lab.mail_arrives();
        assert_eq!(got(&mut lab, reader), expected, "{filter}");
    }
}

#[test]
fn the_last_messages_are_the_last_that_may_be_read() {
    for shards in [1, 2] {
        let mut lab = lab(shards);
        let sensor = lab.connect(V311, "sensor");
        for n in 0..4 {
            publish(&mut lab, sensor, "t/open", &n.to_string());
        }
        for n in 0..4 {
            publish(&mut lab, sensor, "t/shut", &n.to_string());
        }
        let rights = Acl::from_mosquitto("topic read t/open\ntopic write #\n", "acl").unwrap();
        lab.set_rights(&Arc::new(rights));
        for filter in ["$history/last=2/t/#", "$history/since=1h/t/#"] {
            let client = lab.connect(V311, filter);
            subscribe(&mut lab, V311, client, filter, 0);
            let came = got(&mut lab, client);
            assert!(came.ends_with(&["2".to_owned(), "3".to_owned()]), "{filter}: {came:?}");
            assert_eq!(came.len(), if filter.contains("last") { 2 } else { 4 });
        }
    }
}

/// A client that came back to its session asks again, as clients do each time they connect: what its queue has for it does
/// not come a second time as the past.
#[test]
fn what_waited_in_the_queue_is_not_replayed() {
    for (version, shards, acked) in
        [(V311, 1, true), (V311, 1, false), (V5, 1, true), (V5, 3, true), (V311, 3, false)]
    {
        let mut lab = lab(shards);
        let sensor = lab.connect(V311, "sensor");
        let keep = Connect::persistent(version, "reader");
        let client = lab.connect_with(version, &keep);
        let ask = |lab: &mut Lab, client| {
            lab.send(client, &wire::subscribe(version, 1, &[("$history/last=10/t", 1)]));
        };
        ask(&mut lab, client);
        for n in 0..3 {
            lab.send(sensor, &wire::publish(V311, 2, "t", Some(n + 1), n.to_string().as_bytes()));
        }
        let came = lab.publishes(client);
        assert_eq!(texts(&came), ["0", "1", "2"]);
        for one in came.iter().filter(|_| acked) {
            lab.send(client, &wire::ack(0x40, one.id.unwrap()));
        }
        lab.cut(client);
        for n in 3..8 {
            lab.send(sensor, &wire::publish(V311, 2, "t", Some(n + 1), n.to_string().as_bytes()));
        }
        publish(&mut lab, sensor, "t", "at QoS 0"); // for which no queue waits
        let client = lab.connect_with(version, &keep);
        publish(&mut lab, sensor, "t", "before it asks");
        ask(&mut lab, client);
        publish(&mut lab, sensor, "t", "after");
        let mut came = got(&mut lab, client);
        assert_eq!(came.last().map(String::as_str), Some("after"));
        came.sort();
        let all = ["0", "1", "2", "3", "4", "5", "6", "7", "after", "at QoS 0", "before it asks"];
        assert_eq!(came, all, "{shards} shards, acknowledged: {acked}");
        // Who asks once more wants it all.
        ask(&mut lab, client);
        assert_eq!(got(&mut lab, client).len(), 10);
    }
}

/// The same for what only the store has.
#[test]
fn what_waits_in_the_store_is_not_replayed_either() {
    for restarts in [false, true] {
        let mut lab = Lab::with(|config| {
            config.shards = 1;
            config.history = Arc::new(HistoryTable { filters: vec!["#".into()], retained: false });
            config.limits.queue_head_bytes_max = 200;
            config.limits.inflight_max = 3;
        });
        let mut sensor = lab.connect(V311, "sensor");
        let keep = Connect::persistent(V311, "reader");
        let client = lab.connect_with(V311, &keep);
        let ask = |lab: &mut Lab, client| {
            lab.send(client, &wire::subscribe(V311, 1, &[("$history/last=100/t", 1)]));
        };
        ask(&mut lab, client);
        publish(&mut lab, sensor, "t", "0");
        assert_eq!(got(&mut lab, client), ["0"]);
        lab.cut(client);
        for n in 1..40 {
            lab.send(sensor, &wire::publish(V311, 2, "t", Some(n), n.to_string().as_bytes()));
        }
        if restarts {
            lab.crash(Duration::from_secs(1));
            sensor = lab.connect(V311, "sensor");
        }
        let client = lab.connect_with(V311, &keep);
        lab.set_window(client, 0);
        ask(&mut lab, client);
        lab.set_window(client, usize::MAX);
        let mut came = Vec::new();
        loop {
            let more = lab.publishes(client);
            if more.is_empty() {
                break;
            }
            for one in &more {
                if let Some(id) = one.id {
                    lab.send(client, &wire::ack(0x40, id));
                }
            }
            came.extend(texts(&more));
        }
        publish(&mut lab, sensor, "t", "live");
        came.extend(got(&mut lab, client));
        let mut numbers: Vec<u32> = came.iter().filter_map(|text| text.parse().ok()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..40).collect::<Vec<_>>(), "restarts: {restarts}");
        assert_eq!(came.last().map(String::as_str), Some("live"));
    }
}

#[test]
fn a_replay_ends_with_its_connection_and_the_subscription_goes_on() {
    let mut lab = lab(1);
    lab.page_max = 2;
    let sensor = lab.connect(V311, "sensor");
    for n in 0..5 {
        publish(&mut lab, sensor, "t", &n.to_string());
    }
    let keep = Connect::persistent(V5, "reader");
    let client = lab.connect_with(V5, &keep);
    lab.pause_replays();
    lab.send(client, &wire::subscribe(V5, 1, &[("$history/last=5/t", 1)]));
    lab.send(sensor, &wire::publish(V311, 2, "t", Some(1), b"while it is on its way"));
    assert_eq!(got(&mut lab, client), [""; 0], "the past comes first");
    lab.cut(client);
    lab.replays_arrive();
    let client = lab.connect_with(V5, &keep);
    assert_eq!(
        got(&mut lab, client),
        ["while it is on its way"],
        "kept in the queue; the past is not repeated"
    );
    lab.crash(Duration::from_secs(1));
    let sensor = lab.connect(V311, "sensor");
    publish(&mut lab, sensor, "t", "after a restart");
    let client = lab.connect_with(V5, &keep);
    publish(&mut lab, sensor, "t", "live");
    let came = got(&mut lab, client);
    assert_eq!(came.last().map(String::as_str), Some("live"), "{came:?}");
    assert!(!came.contains(&"3".to_owned()), "{came:?}");
}

#[test]
fn records_say_that_a_message_belongs_to_the_history_only_where_somebody_waits_anyway() {
    let mut lab = lab(1);
    let keep = Connect::persistent(V5, "reader");
    let client = lab.connect_with(V5, &keep);
    subscribe(&mut lab, V5, client, "kept/#", 1);
    lab.stored.clear();
    let sensor = lab.connect(V311, "sensor");
    lab.send(sensor, &wire::publish(V311, 2, "nobody", Some(1), b"1"));
    assert_eq!(lab.stored.len(), 0, "nothing waits, nothing is written");
    lab.send(sensor, &wire::publish(V311, 2, "kept/a", Some(2), b"2"));
    let kinds: Vec<_> = lab.stored.iter().flat_map(|(_, records)| records).collect();
    assert!(matches!(kinds[..], [Record::Queued { .. }, Record::Remembered { .. }]), "{kinds:?}");
    assert_eq!(lab.history.len(), 2, "but the history has both");
}

#[derive(Clone, Debug)]
enum Step {
    Publish { by: u8, topic: u8, qos: u8, many: u8 },
    Subscribe { reader: u8, past: Past, topic: u8, qos: u8 },
    Mail(bool),
    Pages(bool),
    Window(u8),
    Crash { shards: u16 },
}

#[derive(Copy, Clone, Debug)]
enum Past {
    All,
    Last(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let past = prop_oneof![2 => Just(Past::All), 1 => (1..20_u8).prop_map(Past::Last)];
    let subscribe = (0..2_u8, past, 0..3_u8, 0..3_u8)
        .prop_map(|(reader, past, topic, qos)| Step::Subscribe { reader, past, topic, qos });
    let publish = (0..4_u8, 0..2_u8, 0..2_u8, 1..9_u8).prop_map(|(by, topic, qos, many)| Step::Publish {
        by,
        topic,
        qos,
        many,
    });
    let step = prop_oneof![
        10 => publish,
        4 => subscribe,
        3 => any::<bool>().prop_map(Step::Mail),
        3 => any::<bool>().prop_map(Step::Pages),
        2 => (0..3_u8).prop_map(Step::Window),
        1 => (1..4_u16).prop_map(|shards| Step::Crash { shards }),
    ];
    proptest::collection::vec(step, 1..50)
}

/// What one reader is to get: a subscription of its own connection.
struct Reader {
    client: ClientIx,
    filter: String,
    past: Past,
    /// How much was published when it subscribed.
    from: usize,
}

fn wanted(all: &[(String, String)], reader: &Reader) -> Vec<String> {
    let filter = reader.filter.as_str();
    let fits = |(topic, _): &&(String, String)| cork_packet::matches(filter, topic);
    let before: Vec<&String> = all[..reader.from].iter().filter(fits).map(|(_, text)| text).collect();
    let skip = match reader.past {
        Past::All => 0,
        Past::Last(count) => before.len().saturating_sub(usize::from(count)),
    };
    let after = all[reader.from..].iter().filter(fits).map(|(_, text)| text);
    before.into_iter().skip(skip).chain(after).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Publishers on every shard, pages and mail between shards that come late, sockets that are full, crashes.
    #[test]
    fn the_past_then_the_present_is_the_log(steps in steps(), shards in 1..4_u16, page in 1..6_usize) {
        let mut lab = lab(shards);
        lab.page_max = page;
        let connect_all = |lab: &mut Lab| -> Vec<ClientIx> {
            (0..4).map(|n| lab.connect(V311, &format!("publisher {n}"))).collect()
        };
        let mut publishers = connect_all(&mut lab);
        let mut all: Vec<(String, String)> = Vec::new();
        let mut readers: Vec<Reader> = Vec::new();
        let mut names = 0;
        let mut single = shards == 1;
        for step in steps {
            match step {
                Step::Publish { by, topic, qos, many } => for _ in 0..many {
                    let (topic, text) = (format!("t/{topic}"), format!("{by} {}", all.len()));
                    let id = u16::try_from(all.len() + 1).unwrap();
                    let packet = wire::publish(V311, qos << 1, &topic, (qos > 0).then_some(id), text.as_bytes());
                    lab.send(publishers[usize::from(by)], &packet);
                    all.push((topic, text));
                },
                Step::Subscribe { reader, past, topic, qos } => {
                    names += 1;
                    let client = lab.connect(BOTH[usize::from(reader)], &format!("reader {names}"));
                    let filter = if topic == 2 { "t/#".to_owned() } else { format!("t/{topic}") };
                    let from = match past {
                        Past::All => "since=1d".to_owned(),
                        Past::Last(count) => format!("last={count}"),
                    };
                    let text = format!("$history/{from}/{filter}");
                    lab.send(client, &wire::subscribe(BOTH[usize::from(reader)], 1, &[(&text, qos)]));
                    readers.push(Reader { client, filter, past, from: all.len() });
                }
                Step::Mail(true) => lab.pause_mail(),
                Step::Mail(false) => lab.mail_arrives(),
                Step::Pages(true) => lab.pause_replays(),
                Step::Pages(false) => lab.replays_arrive(),
                Step::Window(which) => if let Some(last) = readers.last() {
                    lab.set_window(last.client, [0, 50, usize::MAX][usize::from(which)]);
                },
                Step::Crash { shards } => {
                    check(&mut lab, &all, &mut readers, single)?;
                    single &= shards == 1;
                    lab.crash_to(Duration::from_secs(1), shards);
                    publishers = connect_all(&mut lab);
                }
            }
        }
        check(&mut lab, &all, &mut readers, single)?;
    }
}

/// Lets everything arrive, and looks at what every reader got.
fn check(
    lab: &mut Lab,
    all: &[(String, String)],
    readers: &mut Vec<Reader>,
    one_shard: bool,
) -> Result<(), TestCaseError> {
    lab.mail_arrives();
    lab.replays_arrive();
    for reader in readers.iter() {
        lab.set_window(reader.client, usize::MAX);
    }
    lab.advance(Duration::from_millis(1));
    for reader in readers.drain(..) {
        let (mut came, mut right) = (got(lab, reader.client), wanted(all, &reader));
        if matches!(reader.past, Past::Last(_)) && !one_shard {
            // Which were the last ones of several shards is the history's word; nothing behind them is missing.
            let from = right.len().min(came.len());
            right.drain(..right.len() - from);
        }
        // Each publisher's messages in its order.
        for by in 0..4 {
            let of = |texts: &[String]| -> Vec<String> {
                texts.iter().filter(|text| text.starts_with(&format!("{by} "))).cloned().collect()
            };
            let (ours, theirs) = (of(&came), of(&right));
            if matches!(reader.past, Past::All) || one_shard {
                prop_assert_eq!(ours, theirs, "{}, publisher {}", reader.filter, by);
            } else {
                prop_assert!(ours.ends_with(&theirs) || theirs.ends_with(&ours), "{ours:?} {theirs:?}");
            }
        }
        if matches!(reader.past, Past::All) || one_shard {
            came.sort();
            right.sort();
            prop_assert_eq!(came, right);
        }
    }
    Ok(())
}
