use proptest::prelude::*;

use super::*;
use crate::clock::{Clock, SEEDED_START};

fn moment(seconds: u64) -> Moment {
    Clock::at(SEEDED_START.parse().unwrap()).moment(Duration::from_secs(seconds))
}

/// The first values of a model with this seed, one every minute.
fn values(model: &Model, seed: u64, count: u64) -> Vec<Option<Sample>> {
    let mut source = Source::new(Random::stream(&[seed]));
    (0..count).map(|minute| source.next(model, &moment(minute * 60), |_| None)).collect()
}

fn numbers(model: &Model, seed: u64, count: u64) -> Vec<f64> {
    let number = |sample: Option<Sample>| match sample {
        Some(Sample::Number(number)) => number,
        other => panic!("{other:?} is no number"),
    };
    values(model, seed, count).into_iter().map(number).collect()
}

fn bounds() -> impl Strategy<Value = (f64, f64)> {
    (-1e6..1e6_f64, 0.0..1e6_f64).prop_map(|(min, width)| (min, min + width))
}

proptest! {
    #[test]
    fn numbers_stay_within_their_bounds(
        (min, max) in bounds(), step in 0.0..2e6_f64, noise in 0.0..10.0_f64, hours in 1_u64..48, seed in any::<u64>(),
    ) {
        let period = Duration::from_secs(3600 * hours);
        let models = [
            Model::Range { min, max },
            Model::Walk { min, max, step },
            Model::Daily { min, max, noise, peak: period / 2, period },
        ];
        for model in models {
            for number in numbers(&model, seed, 100) {
                prop_assert!((min..=max).contains(&number), "{:?} gave {}", model, number);
            }
        }
    }

    #[test]
    fn a_walk_goes_no_further_than_its_step((min, max) in bounds(), step in 0.0..100.0_f64, seed in any::<u64>()) {
        let numbers = numbers(&Model::Walk { min, max, step }, seed, 100);
        for pair in numbers.windows(2) {
            prop_assert!((pair[0] - pair[1]).abs() <= step + 1e-6, "{} to {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_values(seed in any::<u64>(), other in any::<u64>()) {
        for (_, example) in MODELS {
            let model = Model::parse(example).unwrap();
            prop_assert_eq!(values(&model, seed, 50), values(&model, seed, 50));
        }
        prop_assume!(seed != other);
        let range = Model::Range { min: 0.0, max: 1.0 };
        prop_assert_ne!(values(&range, seed, 4), values(&range, other, 4));
    }

    #[test]
    fn any_text_is_a_model_or_refused_with_words(text in "(range|walk|daily|states|event|count|time)?:?[-0-9.:,a-z]*") {
        if let Err(why) = Model::parse(&text) {
            prop_assert!(!why.is_empty());
        }
    }
}

#[test]
fn a_range_uses_all_of_itself() {
    let numbers = numbers(&Model::Range { min: 20.0, max: 30.0 }, 1, 1000);
    for tenth in 0..10 {
        let low = 20.0 + f64::from(tenth);
        let count = numbers.iter().filter(|number| (low..low + 1.0).contains(*number)).count();
        assert!((60..140).contains(&count), "{count} of 1000 from {low} on");
    }
}

#[test]
fn a_day_is_warmest_at_its_peak_and_coldest_half_a_day_later() {
    let model = Model::parse("daily:18..24:0").unwrap();
    let mut source = Source::new(Random::stream(&[1]));
    let mut at = |hour: u64| match source.next(&model, &moment((hour + 24 - 8) * 3600), |_| None) {
        Some(Sample::Number(number)) => number,
        other => panic!("{other:?}"),
    };
    assert!((at(15) - 24.0).abs() < 1e-9);
    assert!((at(3) - 18.0).abs() < 1e-9);
    assert!((at(9) - 21.0).abs() < 1e-9);
}

#[test]
fn states_change_as_often_as_they_should_and_never_to_themselves() {
    let model = Model::parse("states:open,closed,ajar:0.25").unwrap();
    let values = values(&model, 1, 4001);
    assert_eq!(values[0], Some(Sample::Text("open".into())));
    let changes = values.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!((900..1100).contains(&changes), "{changes} of 4000");
    let model = Model::parse("states:on,off:1").unwrap();
    let two = self::values(&model, 1, 4);
    assert!(two.windows(2).all(|pair| pair[0] != pair[1]), "{two:?}");
}

#[test]
fn events_happen_as_often_as_they_should() {
    let happened = values(&Model::parse("event:motion:0.2").unwrap(), 1, 5000).into_iter().flatten().count();
    assert!((900..1100).contains(&happened), "{happened} of 5000");
    assert!(values(&Model::parse("event:x:0").unwrap(), 1, 100).iter().all(Option::is_none));
}

#[test]
fn the_others() {
    assert_eq!(numbers(&Model::parse("count:5:-2").unwrap(), 1, 3), [5.0, 3.0, 1.0]);
    let first = |text: &str| values(&Model::parse(text).unwrap(), 1, 1)[0].clone();
    assert_eq!(first("time"), Some(Sample::Text("2026-01-01T08:00:00.000Z".into())));
    assert_eq!(first("time:unix"), Some(Sample::Literal("1767254400".into())));
    assert_eq!(first("time:unix_ms"), Some(Sample::Literal("1767254400000".into())));
    assert_eq!(first("constant:a:b"), Some(Sample::Text("a:b".into())));
    assert_eq!(first("column:none"), None, "no row, no value");
    let mut source = Source::new(Random::stream(&[1]));
    let cell = |name: &str| (name == "t").then(|| Sample::of("21.50"));
    let model = Model::parse("column:t").unwrap();
    assert_eq!(source.next(&model, &moment(0), cell), Some(Sample::Literal("21.50".into())));
}

#[test]
fn what_is_no_model_is_explained() {
    let cases = [
        ("rnge:1..2", "Did you mean `range`?"),
        ("banana", "there is no model `banana`"),
        ("range", "`range` is written like `range:20..30`"),
        ("range:20", "bounds; they are written like 20..30"),
        ("30..20", "30..20 goes down; write 20..30"),
        ("a..b", "`a` is no number"),
        ("walk:1..2:-1", "less than 0"),
        ("walk:1..2:1:1", "`walk` is written like"),
        ("event:x:2", "a probability is from 0 to 1"),
        ("daily:1..2:0:0s", "is no time"),
        ("range:nan..1", "is no number"),
        ("range:0..1e99", "is no number"),
        ("time:mars", "`time` is written like `time`"),
        ("", "there is no model ``"),
    ];
    for (text, expected) in cases {
        let why = Model::parse(text).unwrap_err();
        assert!(why.contains(expected), "{text}: {why}");
    }
}

#[test]
fn json_numbers_are_recognized() {
    for number in ["0", "-1", "21.50", "1e3", "0.5", "-0.0", "1.5E-7"] {
        assert_eq!(Sample::of(number), Sample::Literal(number.into()));
    }
    for text in ["", "-", "01", "1.", ".5", "+1", "1.e3", "nan", "inf", "1e999", "0x10", "1 "] {
        assert_eq!(Sample::of(text), Sample::Text(text.into()));
    }
}
