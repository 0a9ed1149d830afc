use std::{collections::BTreeMap, path::Path};

use proptest::prelude::*;

use super::*;
use crate::{HOUSE, Scenario};

fn plan(text: &str) -> Plan {
    let scenario = Scenario::parse(text, "x.toml", Path::new("")).unwrap_or_else(|errors| panic!("{errors}"));
    scenario.plan("run", 1).unwrap_or_else(|errors| panic!("{errors}"))
}

fn steps(text: &str, count: usize) -> Vec<Step> {
    Schedule::new(Arc::new(plan(text))).take(count).collect()
}

/// Time in milliseconds, topic, payload.
fn sent(text: &str, count: usize) -> Vec<(u128, String, String)> {
    let publications = steps(text, count).into_iter().filter_map(|step| match step.action {
        Action::Publish { topic, payload, .. } => Some((step.at.as_millis(), topic.to_string(), payload)),
        _ => None,
    });
    publications.collect()
}

fn one(lines: &str) -> String {
    format!("[[device]]\n[[device.message]]\ntopic = 't/{{n}}'\n{lines}")
}

#[test]
fn devices_connect_first_and_share_out_the_time() {
    let text = "[[device]]\ncount = 4\n[[device.message]]\ntopic = 't/{n}'\nvalue = 'count'\nevery = '2s'";
    let all = steps(text, 8);
    assert!(all[..4].iter().all(|step| step.action == Action::Connect && step.at.is_zero()));
    let times: Vec<u128> = all[4..].iter().map(|step| step.at.as_millis()).collect();
    assert_eq!(times, [0, 500, 1000, 1500]);
}

#[test]
fn it_ends_after_its_messages_or_its_time() {
    assert_eq!(sent(&format!("messages = 3\n{}", one("value = 1")), 100).len(), 3);
    let times: Vec<u128> =
        sent(&format!("duration = '3s'\n{}", one("value = 1")), 100).into_iter().map(|(at, ..)| at).collect();
    assert_eq!(times, [0, 1000, 2000]);
}

#[test]
fn who_loses_its_connection_sends_nothing_until_it_is_back() {
    let text = "[[device]]\noutage = { every = '10s', away = '4s' }\n[[device.message]]\ntopic = 't'\nvalue = 1\nevery = '100ms'";
    let mut here = false;
    let (mut changes, mut rests) = (Vec::new(), 0);
    for step in steps(text, 5000) {
        match step.action {
            Action::Connect => {
                assert!(!here);
                here = true;
                changes.push(step.at);
            }
            Action::Crash => {
                assert!(here);
                here = false;
                changes.push(step.at);
            }
            Action::Publish { .. } => assert!(here, "a message at {:?}", step.at),
            Action::Rest => {
                assert!(!here);
                rests += 1;
            }
            Action::Leave => panic!("it was to crash"),
        }
    }
    assert!(rests > 500, "{rests}");
    for (index, pair) in changes.windows(2).enumerate() {
        let usual = if index % 2 == 0 { 10.0 } else { 4.0 };
        let time = (pair[1] - pair[0]).as_secs_f64();
        assert!((usual * 0.5..=usual * 1.5).contains(&time), "{time} of {usual}");
    }
    let orderly = text.replace("away", "orderly = true, away");
    assert!(steps(&orderly, 5000).iter().any(|step| step.action == Action::Leave));
}

#[test]
fn only_changes_are_sent_when_only_changes_are_wanted() {
    let values: Vec<String> = sent(&one("value = 'states:open,closed:0.3'\non_change = true"), 500)
        .into_iter()
        .map(|(.., value)| value)
        .collect();
    assert!(values.len() > 100 && values.len() < 250, "{}", values.len());
    assert!(values.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn an_event_that_never_happens_does_not_stop_the_clock() {
    let all = steps(&one("value = 'event:x:0'"), 4);
    assert_eq!(all[3].at, Duration::from_secs(2));
    assert!(all[1..].iter().all(|step| step.action == Action::Rest));
}

fn replayed(options: &str, rows: &str) -> Vec<(u128, String, String)> {
    let folder = std::env::temp_dir().join(format!(
        "cork-sim-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("day.csv"), rows).unwrap();
    let text = one(&format!("replay = {{ file = 'day.csv', {options} }}\nevery = '5s'"));
    let plan = Scenario::parse(&text, "x.toml", &folder).unwrap().plan("r", 1).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let publications = Schedule::new(Arc::new(plan)).take(9).filter_map(|step| match step.action {
        Action::Publish { topic, payload, .. } => Some((step.at.as_millis(), topic.to_string(), payload)),
        _ => None,
    });
    publications.collect()
}

#[test]
fn rows_come_at_their_times_and_begin_again() {
    let rows = replayed("time = 't'", "t,a,b\n100,1,x\n100.5,2,y\n102,3,z\n");
    let seen: Vec<(u128, &str)> = rows.iter().map(|(at, _, payload)| (*at, payload.as_str())).collect();
    let (first, second, third) = ("{\"a\":1,\"b\":\"x\"}", "{\"a\":2,\"b\":\"y\"}", "{\"a\":3,\"b\":\"z\"}");
    assert_eq!(seen[..5], [(0, first), (500, second), (2000, third), (3500, first), (4000, second)]);
}

#[test]
fn rows_without_times_keep_the_pace_and_may_end() {
    let rows = replayed("repeat = false", "a\n1\n2\n");
    let seen: Vec<(u128, &str)> = rows.iter().map(|(at, _, payload)| (*at, payload.as_str())).collect();
    assert_eq!(seen, [(0, "1"), (5000, "2")]);
    let at_once = replayed("time = 't'", "t,a\n1,1\n1,2\n");
    let times: Vec<u128> = at_once.iter().map(|(at, ..)| *at).collect();
    assert_eq!(times[..4], [0, 0, 5000, 5000], "rows of one moment wait before they begin again");
}

#[test]
fn the_house_is_believable_for_a_day() {
    let text = format!("duration = '24h'\nseed = 3\n{HOUSE}");
    let mut ranges: BTreeMap<String, (f64, f64, usize)> = BTreeMap::new();
    for (_, topic, payload) in sent(&text, usize::MAX) {
        let kind = topic.rsplit('/').next().unwrap();
        let Ok(number) = payload.parse::<f64>() else {
            assert!(kind == "door" && ["open", "closed"].contains(&payload.as_str()), "{topic} {payload}");
            continue;
        };
        let range = ranges.entry(kind.to_owned()).or_insert((number, number, 0));
        *range = (range.0.min(number), range.1.max(number), range.2 + 1);
    }
    let temperature = ranges["temperature"];
    assert!(
        temperature.0 >= 18.5 && temperature.1 <= 23.5 && temperature.1 - temperature.0 > 4.0,
        "{temperature:?}"
    );
    assert_eq!(temperature.2, 3 * 24 * 3600 / 5);
    assert!(ranges["humidity"].0 >= 35.0 && ranges["humidity"].1 <= 60.0);
    assert!(ranges["pressure"].0 >= 995.0 && ranges["pressure"].1 <= 1030.0);
    assert_eq!(ranges.len(), 3);
}

proptest! {
    #[test]
    fn the_same_seed_gives_the_same_steps_in_order(
        seed in any::<u64>(), count in 1_u32..20, every in 10_u64..5000, share in 0_u32..=50,
    ) {
        let text = format!(
            "seed = {seed}\n[[device]]\ncount = {count}\noutage.every = '20s'\n\
             [[device.message]]\ntopic = 'a/{{n}}'\nvalue = 'walk:1..2'\nevery = '{every}ms'\njitter = '{share}%'\n\
             [[device.message]]\ntopic = 'b/{{n}}'\nfields = {{ x = '20..30', e = 'event:y:0.5', t = 'time' }}\n",
        );
        let first = steps(&text, 500);
        prop_assert_eq!(&first, &steps(&text, 500));
        prop_assert!(first.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }

    #[test]
    fn jitter_moves_single_messages_and_keeps_the_rate(seed in any::<u64>(), every in 10_u64..2000) {
        let text = format!("seed = {seed}\n{}", one(&format!("value = 1\nevery = '{every}ms'\njitter = '50%'")));
        for (index, (at, ..)) in sent(&text, 200).into_iter().enumerate() {
            let due = u128::from(every) * index as u128;
            let off = at.abs_diff(due);
            prop_assert!(off <= u128::from(every / 2) + 1, "number {} at {} instead of {}", index, at, due);
        }
    }
}
