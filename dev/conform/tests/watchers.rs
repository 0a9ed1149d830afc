//! Pages that watch: of each topic the last message and how many there were, whatever the shards, the limits and the
//! rights.
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cork_access::Acl;
use cork_conform::{
    ClientIx, Lab,
    wire::{self, Connect, V5, V311},
};
use cork_core::{Reader, Sample, Watch};

/// What a page knows: of each topic when the last message came, what it said, and how many there were.
type Known = BTreeMap<String, (u64, Vec<u8>, u64)>;

fn lab(shards: u16) -> Lab {
    Lab::with(|config| config.shards = shards)
}

fn watch(id: u64, filters: &[&str], reader: Reader) -> Watch {
    Watch { id, filters: filters.iter().map(|filter| (*filter).into()).collect(), reader, payload_max: 100 }
}

fn begin(lab: &mut Lab, shards: u16, watch: &Watch) {
    for shard in 0..usize::from(shards) {
        assert!(lab.watch(shard, watch.clone()));
    }
}

fn publish(lab: &mut Lab, client: ClientIx, topic: &str, payload: &str) {
    lab.send(client, &wire::publish(V311, 0, topic, None, payload.as_bytes()));
}

/// Takes a sample into what is known, as a page of one shard's or several shards' samples does.
fn learn(known: &mut Known, sample: &Sample) -> (u64, u64) {
    for one in sample.iter() {
        let (at, value, count) = known.entry(one.topic.to_owned()).or_default();
        if one.at.0 >= *at {
            (*at, *value) = (one.at.0, one.payload.to_vec());
        }
        *count += one.count;
    }
    (sample.seen, sample.skipped)
}

fn topics(sample: &Sample) -> Vec<(&str, &str, u64)> {
    let text = |bytes| std::str::from_utf8(bytes).expect("text");
    sample.iter().map(|one| (one.topic, text(one.payload), one.count)).collect()
}

#[test]
fn the_last_message_of_each_topic_comes_once_with_its_count() {
    let mut lab = lab(1);
    let client = lab.connect(V311, "c");
    publish(&mut lab, client, "early", "1");
    begin(&mut lab, 1, &watch(1, &["#"], Reader::Anybody));
    for (topic, payload) in
        [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("$not/for/all", "5"), ("a", "6")]
    {
        publish(&mut lab, client, topic, payload);
    }
    let first = lab.sample(0, 1, 2);
    assert_eq!(topics(&first), [("a", "6", 3), ("b", "2", 1)], "those that changed first");
    assert_eq!((first.seen, first.skipped, first.waiting), (5, 2, 1));
    publish(&mut lab, client, "a", "7");
    let second = lab.sample(0, 1, 10);
    assert_eq!(topics(&second), [("c", "4", 1), ("a", "7", 1)]);
    assert_eq!((second.seen, second.skipped, second.waiting), (1, 0, 0));
    assert!(lab.sample(0, 1, 10).is_empty() && lab.sample(0, 2, 10).is_empty());
    lab.unwatch(0, 1);
    publish(&mut lab, client, "a", "8");
    assert!(lab.sample(0, 1, 10).is_empty(), "it watches no more");
}

#[test]
fn what_is_said_of_a_message_is_what_was_published() {
    let mut lab = lab(1);
    let client = lab.connect(V5, "c");
    begin(&mut lab, 1, &Watch { payload_max: 4, ..watch(1, &["#"], Reader::Anybody) });
    begin(&mut lab, 1, &Watch { payload_max: 2, ..watch(2, &["#"], Reader::Anybody) });
    let content_type = [3, 0, 1, b'x'];
    let body = [&[0, 1, b't', 0, 9, 4][..], &content_type, b"12345"].concat();
    let packet = [&[0x32, u8::try_from(body.len()).unwrap()][..], &body].concat();
    lab.advance(Duration::from_secs(5));
    lab.send(client, &packet);
    for (page, payload) in [(1, &b"1234"[..]), (2, b"12")] {
        let sample = lab.sample(0, page, 10);
        let one = sample.iter().next().expect("it came");
        assert_eq!((one.payload, one.size, one.properties), (payload, 5, &content_type[..]));
        assert_eq!((one.qos as u8, one.at.0 / 1_000_000), (1, 1_700_000_005));
    }
    lab.send(client, &wire::publish(V5, 0, "t", None, b"y"));
    let sample = lab.sample(0, 1, 10);
    let one = sample.iter().next().expect("it came");
    assert_eq!(
        (one.payload, one.size, one.properties),
        (&b"y"[..], 1, &b""[..]),
        "nothing is left of the one before"
    );
}

#[test]
fn a_will_and_a_retained_message_are_noted_on_the_shard_they_come_to_only() {
    let mut lab = lab(3);
    let client = lab.connect_with(V311, &Connect::new(V311, "c").with_will("will", b"gone"));
    let other = lab.connect(V311, "other");
    lab.send(other, &wire::subscribe(V311, 1, &[("#", 0)]));
    begin(&mut lab, 3, &watch(1, &["#"], Reader::Anybody));
    lab.send(client, &wire::publish(V311, 1, "kept", None, b"x"));
    lab.cut(client);
    let mut found = Vec::new();
    for shard in 0..3 {
        found.extend(lab.sample(shard, 1, 10).iter().map(|one| (one.topic.to_owned(), one.count)));
    }
    assert_eq!(found, [("kept".to_owned(), 1), ("will".to_owned(), 1)]);
}

#[test]
fn nothing_is_lost_or_counted_twice_whenever_pages_come_and_look() {
    for shards in [1, 2] {
        let mut lab = lab(shards);
        let clients: Vec<ClientIx> = (0..4).map(|n| lab.connect(V311, &format!("client{n}"))).collect();
        let (mut published, mut known) = (Known::new(), [Known::new(), Known::new()]);
        let mut counted = [(0, 0); 2];
        let mut random = 12345_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let pages = [watch(1, &["#"], Reader::Anybody), watch(2, &["t/+", "t/1/#"], Reader::Anybody)];
        pages.iter().for_each(|page| begin(&mut lab, shards, page));
        for round in 0..3000 {
            // A few at once, so that a page that takes little falls behind; a third page comes and goes.
            for _ in 0..next(6) {
                lab.advance(Duration::from_millis(1));
                // Topics and values of one message that are noted side by side, and such as are too long for that.
                let number = next(40);
                let long = if number % 3 == 0 {
                    "-whose-name-alone-is-longer-than-what-is-noted-side-by-side"
                } else {
                    ""
                };
                let topic = format!("t/{number}{long}{}", if next(4) == 0 { "/deep" } else { "" });
                let length = [1, 1, 30, 90][usize::try_from(next(4)).unwrap()];
                let payload = format!("{round} {:>length$}", next(1000));
                publish(&mut lab, clients[usize::try_from(next(4)).unwrap()], &topic, &payload);
                let (at, value, count) = published.entry(topic).or_default();
                (*at, *value, *count) = (*at + 1, payload.into_bytes(), *count + 1);
            }
            match next(6) {
                0 => begin(&mut lab, shards, &watch(1000 + round, &["t/#"], Reader::Anybody)),
                1 => (0..usize::from(shards)).for_each(|shard| lab.unwatch(shard, 1000 + round - next(3))),
                _ => {}
            }
            for other in (1000..1000 + round).filter(|_| round % 50 == 0) {
                (0..usize::from(shards)).for_each(|shard| lab.unwatch(shard, other));
            }
            for (page, (known, counted)) in known.iter_mut().zip(&mut counted).enumerate() {
                let (shard, most) =
                    (usize::try_from(next(shards.into())).unwrap(), usize::try_from(next(4)).unwrap());
                let sample = lab.sample(shard, page as u64 + 1, most);
                assert!(sample.len() <= most);
                let (seen, skipped) = learn(known, &sample);
                *counted = (counted.0 + seen, counted.1 + skipped + sample.len() as u64);
            }
        }
        for (page, (known, counted)) in known.iter_mut().zip(&mut counted).enumerate() {
            for shard in 0..usize::from(shards) {
                let sample = lab.sample(shard, page as u64 + 1, 1000);
                let (seen, skipped) = learn(known, &sample);
                *counted = (counted.0 + seen, counted.1 + skipped + sample.len() as u64);
                assert_eq!((sample.waiting, sample.waiting_since), (0, None));
            }
            let fits = |topic: &str| page == 0 || !topic.ends_with("/deep") || topic.starts_with("t/1/");
            let wanted: Vec<_> = published.iter().filter(|(topic, _)| fits(topic)).collect();
            assert_eq!(known.len(), wanted.len());
            for (topic, (_, value, count)) in wanted {
                let (_, found, number) = &known[topic];
                assert_eq!((found, number), (value, count), "{topic} for page {page}");
            }
            let sum: u64 = known.values().map(|(_, _, count)| count).sum();
            assert_eq!(*counted, (sum, sum), "every message is seen, and skipped or shown");
        }
    }
}

#[test]
fn the_last_message_is_the_one_shown_where_clients_keep_an_order_and_where_they_leave_it() {
    const ROUNDS: u64 = 200;
    let mut lab = lab(1);
    let clients: Vec<ClientIx> = (0..3).map(|n| lab.connect(V311, &format!("client{n}"))).collect();
    let (mut published, mut known, mut counted) = (Known::new(), [Known::new(), Known::new()], [0; 2]);
    let mut random = 777_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let pages = [watch(1, &["#"], Reader::Anybody), watch(2, &["t/0/#", "t/2/#"], Reader::Anybody)];
    pages.iter().for_each(|page| begin(&mut lab, 1, page));
    for round in 0..ROUNDS {
        // For a while everybody keeps the order, then some leave it, and then nobody knows of one.
        let strays = [0, 0, 20, 2][usize::try_from(round / 10 % 4).unwrap()];
        for place in 0..30 * clients.len() as u64 {
            let (client, mut number) = (place % 3, place / 3);
            if strays > 0 && next(strays) == 0 {
                number = next(31);
            }
            let whose = if strays > 0 && next(50) == 0 { next(3) } else { client };
            let topic = format!("t/{whose}/{number}");
            let length = if number % 7 == 0 { [10, 45, 200][usize::try_from(next(3)).unwrap()] } else { 5 };
            let payload = format!("{round} {place:>length$}");
            publish(&mut lab, clients[usize::try_from(client).unwrap()], &topic, &payload);
            let (_, value, count) = published.entry(topic).or_default();
            (*value, *count) = (payload.into_bytes(), *count + 1);
            // Many of them at one and the same time.
            if next(10) == 0 {
                lab.advance(Duration::from_millis(1));
            }
            for page in 0..2 {
                let all = next(100) == 0 || (round + 1 == ROUNDS && place == 89);
                if !all && next(60) > 0 {
                    continue;
                }
                let most = if all { 1000 } else { usize::try_from(next(30)).unwrap() };
                counted[page] += learn(&mut known[page], &lab.sample(0, page as u64 + 1, most)).0;
                if !all {
                    continue;
                }
                let fits = |topic: &str| page == 0 || !topic.starts_with("t/1/");
                let wanted: Vec<_> = published.iter().filter(|(topic, _)| fits(topic)).collect();
                assert_eq!(known[page].len(), wanted.len());
                for (topic, (_, value, count)) in wanted {
                    let (_, found, number) = &known[page][topic];
                    let value = str::from_utf8(&value[..value.len().min(100)]);
                    assert_eq!((str::from_utf8(found), number), (value, count), "{topic} for page {page}");
                }
                let sum: u64 = known[page].values().map(|(_, _, count)| count).sum();
                assert_eq!(sum, counted[page], "all of them were seen");
            }
        }
        match next(8) {
            0 => begin(&mut lab, 1, &watch(1000 + round, &["#"], Reader::Anybody)),
            1 => (1000..1000 + round).for_each(|other| lab.unwatch(0, other)),
            _ => {}
        }
    }
}

/// What bob may read; everybody may write.
fn give_rights(lab: &mut Lab, topic: &str) {
    let text = format!(
        "[[rule]]\nallow = ['write']\ntopic = '#'\n[[rule]]\nuser = 'bob'\nallow = ['read']\ntopic = '{topic}'"
    );
    lab.set_rights(&Arc::new(Acl::from_toml(&text, "acl.toml").expect("these are rights")));
}

#[test]
fn what_came_before_a_page_or_before_its_rights_is_not_for_it() {
    let mut lab = lab(1);
    give_rights(&mut lab, "open/#");
    let client = lab.connect(V311, "c");
    let bob = Reader::User("bob".into());
    begin(&mut lab, 1, &watch(1, &["#"], bob.clone()));
    for topic in ["open/1", "secret/1"] {
        publish(&mut lab, client, topic, "x");
    }
    begin(&mut lab, 1, &watch(2, &["#"], Reader::Anybody));
    give_rights(&mut lab, "#");
    begin(&mut lab, 1, &watch(3, &["#"], bob));
    publish(&mut lab, client, "secret/2", "y");
    assert_eq!(topics(&lab.sample(0, 1, 10)), [("open/1", "x", 1), ("secret/2", "y", 1)]);
    for page in [2, 3] {
        assert_eq!(topics(&lab.sample(0, page, 10)), [("secret/2", "y", 1)]);
    }
}

#[test]
fn a_viewer_sees_what_its_rights_allow_even_if_they_changed_since_it_was_noted() {
    let mut lab = lab(1);
    give_rights(&mut lab, "open/#");
    let client = lab.connect(V311, "c");
    begin(&mut lab, 1, &watch(1, &["#"], Reader::User("bob".into())));
    begin(&mut lab, 1, &watch(2, &["#"], Reader::Anybody));
    for topic in ["open/1", "secret/1", "open/2", "secret/1"] {
        publish(&mut lab, client, topic, "x");
    }
    let seen = lab.sample(0, 1, 1);
    assert_eq!(
        (topics(&seen), seen.seen, seen.waiting),
        (vec![("open/1", "x", 1)], 2, 1),
        "not even counted"
    );
    give_rights(&mut lab, "secret/#");
    publish(&mut lab, client, "secret/1", "y");
    let seen = lab.sample(0, 1, 10);
    assert_eq!((topics(&seen), seen.seen, seen.skipped), (vec![("secret/1", "y", 1)], 1, 1));
    assert_eq!(topics(&lab.sample(0, 2, 10)), [("open/1", "x", 1), ("secret/1", "y", 3), ("open/2", "x", 1)]);
}

#[test]
fn more_topics_than_are_noted_are_counted_and_come_when_there_is_room() {
    const NOTED: usize = 50_000;
    let mut lab = lab(1);
    let client = lab.connect(V311, "c");
    begin(&mut lab, 1, &watch(1, &["#"], Reader::Anybody));
    for number in 0..NOTED + 10 {
        publish(&mut lab, client, &format!("t/{number}"), "x");
    }
    let first = lab.sample(0, 1, 5);
    assert_eq!((first.seen, first.skipped, first.waiting), (NOTED as u64 + 10, 10, NOTED - 5));
    for number in NOTED..NOTED + 10 {
        publish(&mut lab, client, &format!("t/{number}"), "y");
    }
    let (mut left, mut last) = (NOTED, Vec::new());
    while left > 0 {
        let sample = lab.sample(0, 1, 5000);
        left = sample.waiting;
        last = topics(&sample).iter().map(|(topic, value, _)| format!("{topic} {value}")).collect();
    }
    let expected: Vec<String> = (NOTED..NOTED + 5).map(|number| format!("t/{number} y")).collect();
    assert_eq!(last[last.len() - 5..], expected, "in the places of those that had been told");
}

#[test]
fn large_values_stay_within_what_may_be_noted() {
    const BYTES: usize = 16 << 20;
    /// What each of the topics may have beside that.
    const SHORT: usize = 50;
    let mut lab = Lab::with(|config| config.limits.packet_bytes_max = 2 << 20);
    let client = lab.connect(V311, "c");
    begin(&mut lab, 1, &Watch { payload_max: 1 << 20, ..watch(1, &["#"], Reader::Anybody) });
    let large = vec![b'x'; 1 << 20];
    for number in 0..40 {
        lab.send(client, &wire::publish(V311, 0, &format!("t/{number}"), None, &large));
    }
    let (mut bytes, mut samples, mut left) = (0, 0, 40);
    while left > 0 {
        let sample = lab.sample(0, 1, 1000);
        assert!(sample.bytes() <= (4 << 20) + large.len() + 10, "a sample has an end, too");
        assert!(sample.iter().all(|one| one.size == large.len()));
        (bytes, samples, left) = (bytes + sample.bytes(), samples + 1, sample.waiting);
    }
    assert!(
        bytes > BYTES / 2 && bytes <= BYTES + 40 * SHORT && samples >= 4,
        "{bytes} bytes in {samples} samples"
    );
    lab.send(client, &wire::publish(V311, 0, "t/39", None, &large));
    let sample = lab.sample(0, 1, 1);
    assert_eq!(sample.iter().next().map(|one| one.payload.len()), Some(large.len()), "there is room again");
}

#[test]
fn as_many_pages_watch_as_there_may_be_and_none_of_what_is_not_published_by_clients() {
    let mut lab = lab(1);
    for page in 0..64 {
        assert!(lab.watch(0, watch(page, &["#"], Reader::Anybody)));
    }
    assert!(!lab.watch(0, watch(64, &["#"], Reader::Anybody)));
    lab.unwatch(0, 17);
    assert!(lab.watch(0, watch(65, &["#"], Reader::Anybody)));
    lab.unwatch(0, 65);
    for filter in ["$SYS/#", "$share/g/#", "$where/number > 1/#"] {
        assert!(!lab.watch(0, watch(66, &["#", filter], Reader::Anybody)));
    }
    let client = lab.connect(V311, "c");
    publish(&mut lab, client, "t", "x");
    assert_eq!((lab.sample(0, 63, 10).len(), lab.sample(0, 65, 10).len()), (1, 0));
}
