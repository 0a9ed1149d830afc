//! Mosquitto's `acl_file`.
//!
//! ```text
//! topic read weather/#              before the first user: for clients without a user name
//! user ann
//! topic home/#                      read and write
//! topic deny home/secret            before everything that is allowed
//! pattern readwrite own/%u/%c/#     for everybody, wherever it stands
//! ```

use super::Faults;
use crate::acl::{Acl, Actions, Draft, Names, Rule, Who};
use crate::error::FileErrors;

/// What Mosquitto takes away at both ends of a name or topic: white space as C has it. Between words only spaces count.
const WHITE: [char; 6] = [' ', '\t', '\n', '\x0b', '\x0c', '\r'];

const LINES: &str =
    "accepted are `user NAME`, `topic [read|write|readwrite|deny] FILTER` and `pattern ...` of the same form";

/// The lines by what they do, in the order in which Mosquitto asks them.
#[derive(Default)]
struct Lines {
    denied: Vec<Draft>,
    allowed: Vec<Draft>,
    patterns_denied: Vec<Draft>,
    patterns_allowed: Vec<Draft>,
}

pub(super) fn read(text: &str, file: &str) -> Result<Acl, FileErrors> {
    let mut faults = Faults::new(file);
    let mut lines = Lines::default();
    let mut who = Who::Anonymous;
    if text.starts_with('\u{feff}') {
        faults.add(1, "the file begins with a byte order mark; save it without");
    }
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end_matches(WHITE).trim_start_matches(' ');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start_matches(' ');
        match word {
            "user" if rest.is_empty() => faults.add(number, "the user name is missing; write `user NAME`"),
            "user" => who = Who::User(rest.trim_start_matches(WHITE).to_owned()),
            "topic" => lines.topic(number, rest, &who, &mut faults),
            "pattern" => lines.pattern(number, rest, &mut faults),
            _ if word.contains(WHITE) => {
                faults.add(number, format!("the line has a tab where only spaces count; {LINES}"));
            }
            _ => faults.add(number, format!("`{}` is not accepted; {LINES}", word.escape_debug())),
        }
    }
    faults.finish()?;
    let Lines { denied, allowed, patterns_denied, patterns_allowed } = lines;
    let drafts = [sys(), denied, allowed, patterns_denied, patterns_allowed].into_iter().flatten();
    let acl = Acl::compile(drafts, false)
        .map_err(|error| FileErrors::whole_file(file, format!("{}: {}", error.topic, error.reason)))?;
    Ok(acl.granting_every_filter())
}

/// Mosquitto lets nobody write there, whatever the file says.
fn sys() -> Vec<Draft> {
    let rule = Rule {
        who: Who::Everybody,
        actions: Actions::WRITE,
        allow: false,
        topic: "$SYS/#".to_owned(),
        source: "only the broker writes below `$SYS`".to_owned(),
    };
    vec![Draft { rule, names: Names::Text }]
}

impl Lines {
    fn topic(&mut self, number: usize, rest: &str, who: &Who, faults: &mut Faults<'_>) {
        let Some((actions, topic)) = access(number, rest, "topic", faults) else { return };
        let (into, names) =
            (if actions.is_some() { &mut self.allowed } else { &mut self.denied }, Names::Text);
        into.extend(draft(number, who.clone(), actions, topic, names, faults));
    }

    fn pattern(&mut self, number: usize, rest: &str, faults: &mut Faults<'_>) {
        let Some((actions, topic)) = access(number, rest, "pattern", faults) else { return };
        let into = if actions.is_some() { &mut self.patterns_allowed } else { &mut self.patterns_denied };
        into.extend(draft(number, Who::Everybody, actions, topic, Names::NoWildcards, faults));
    }
}

/// What a line allows (`None`: it denies) and for which topic.
fn access<'a>(
    number: usize,
    rest: &'a str,
    word: &str,
    faults: &mut Faults<'_>,
) -> Option<(Option<Actions>, &'a str)> {
    const WORDS: [(&str, Option<Actions>); 4] = [
        ("read", Some(Actions::READ)),
        ("write", Some(Actions::WRITE)),
        ("readwrite", Some(Actions::BOTH)),
        ("deny", None),
    ];
    let known = |text: &str| WORDS.iter().find(|(word, _)| *word == text).map(|(_, actions)| *actions);
    let first = rest.split(' ').next().unwrap_or(rest);
    if first.split_once(WHITE).is_some_and(|(before, _)| before.is_empty() || known(before).is_some()) {
        // Mosquitto would take it for a part of the topic.
        faults.add(number, format!("the line has a tab where only spaces count; {LINES}"));
        return None;
    }
    match rest.split_once(' ') {
        None if rest.is_empty() => {
            faults.add(number, format!("the topic is missing; write `{word} read FILTER`"));
            None
        }
        None if known(rest).is_some() => {
            faults.add(
                number,
                format!("the topic is missing; if it is called `{rest}`, write `{word} readwrite {rest}`"),
            );
            None
        }
        None => Some((Some(Actions::BOTH), rest)),
        Some((first, topic)) => {
            let actions = known(first);
            if actions.is_none() {
                faults.add(
                    number,
                    format!(
                        "`{}` is not accepted; accepted before the topic are `read`, `write`, `readwrite` and `deny`",
                        first.escape_debug()
                    ),
                );
            }
            Some((actions?, topic.trim_start_matches(WHITE)))
        }
    }
}

fn draft(
    number: usize,
    who: Who,
    actions: Option<Actions>,
    topic: &str,
    names: Names,
    faults: &mut Faults<'_>,
) -> Option<Draft> {
    if let Err(reason) = Acl::judge_topic(topic) {
        faults.add(number, format!("topic `{}`: {reason}", topic.escape_debug()));
        return None;
    }
    let rule = Rule {
        who,
        actions: actions.unwrap_or(Actions::BOTH),
        allow: actions.is_some(),
        topic: topic.to_owned(),
        source: faults.source(number),
    };
    Some(Draft { rule, names })
}
