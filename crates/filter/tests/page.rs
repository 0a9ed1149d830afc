//! Every example of `docs/filters.md` that needs no broker.

use cork_filter::{Expression, Message, Outcome, Properties, Reading, Rule, Scratch};

const PAGE: &str = include_str!("../../../docs/filters.md");

/// As the page says: the property `unit` is `C`.
struct Unit;

impl Properties for Unit {
    fn content_type(&self) -> Option<&str> {
        None
    }

    fn user(&self, name: &str) -> Option<&str> {
        (name == "unit").then_some("C")
    }

    fn bytes(&self) -> usize {
        0
    }
}

fn message(payload: &str) -> Message<'_> {
    Message {
        topic: "home/kitchen/climate",
        payload: payload.as_bytes(),
        qos: 1,
        retain: false,
        client_id: "esp-7",
        user: "",
        properties: &Unit,
    }
}

/// The rows of the table that begins with this heading: what stands between backticks in each cell.
fn rows(heading: &str) -> Vec<Vec<Vec<String>>> {
    let table = PAGE.split_once(heading).expect("the page has the table").1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(|code| code.replace("\\|", "|")).collect();
    rows.map(|row| {
        let row = row.replace("\\|", "\0").replace("| ", "\u{1}");
        let cells = row.trim_matches(['|', '\u{1}', ' ']).split('\u{1}');
        cells.map(|cell| code(&cell.replace('\0', "|"))).collect()
    })
    .collect()
}

#[test]
fn expressions_pass_what_the_page_says() {
    let rows = rows("| Expression | Passes | Does not pass |");
    assert!(rows.len() > 10, "{rows:?}");
    let mut scratch = Scratch::default();
    for row in rows {
        let [expression, passes, fails] = &*row else { panic!("{row:?}") };
        let source = &expression[0];
        let expression = Expression::condition(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        for (payload, expected) in [(&passes[0], true), (&fails[0], false)] {
            let outcome = expression.test(&scratch.look(message(payload)));
            assert_eq!(outcome == Outcome::Passes, expected, "{source}: {payload}");
        }
    }
}

#[test]
fn options_pass_on_what_the_page_says() {
    let rows = rows("| Options | Payloads, one after the other | Passed on |");
    assert!(rows.len() > 3, "{rows:?}");
    let (mut scratch, hasher) = (Scratch::default(), std::hash::RandomState::new());
    for row in rows {
        let [options, payloads, expected] = &*row else { panic!("{row:?}") };
        let rule = Rule::from_prefix(&options[0]).unwrap_or_else(|error| panic!("{options:?}: {error}"));
        let (mut last, mut passed): (Option<Reading>, Vec<&String>) = (None, Vec::new());
        for payload in payloads {
            let seen = scratch.look(message(payload));
            if rule.when.as_ref().is_some_and(|when| when.test(&seen) != Outcome::Passes) {
                continue;
            }
            let value = match &rule.changed {
                Some(cork_filter::Changed::Named(named)) => named.reading(&seen, &hasher).unwrap(),
                _ => seen.reading(&hasher),
            };
            if last.is_none_or(|last| value.differs(last, rule.deadband.unwrap_or(0.0))) {
                last = Some(value);
                passed.push(payload);
            }
        }
        assert_eq!(passed, expected.iter().collect::<Vec<_>>(), "{options:?}");
    }
}

#[test]
fn filters_in_topic_filters_are_right() {
    let quoted = PAGE.split("'$where/").skip(1).map(|rest| rest.split('/').next().unwrap());
    let mut count = 0;
    for prefix in quoted {
        Rule::from_prefix(prefix).unwrap_or_else(|error| panic!("{prefix}: {error}"));
        count += 1;
    }
    assert!(count >= 2);
}
