//! Why a Topic Filter matches a topic, or does not.

use cork_packet::{TopicError, matches, split_share, validate_filter, validate_name};

use crate::view::{Ink, Palette, shown};

/// The answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The filter matches.
    Matches,
    /// It does not.
    Differs,
    /// Filter or topic are none.
    Invalid,
}

/// Compares, and explains level by level in lines for people.
#[must_use]
pub fn explain(filter: &str, topic: &str, palette: Palette) -> (Verdict, String) {
    let shared = match split_share(filter) {
        Ok(shared) => shared,
        Err(error) => return (Verdict::Invalid, fault("Topic Filter", filter, error, palette)),
    };
    let plain = shared.map_or(filter, |(_, plain)| plain);
    if let Err(error) = validate_filter(plain) {
        return (Verdict::Invalid, fault("Topic Filter", filter, error, palette));
    }
    if let Err(error) = validate_name(topic) {
        return (Verdict::Invalid, fault("Topic Name", topic, error, palette));
    }
    let verdict = if matches(plain, topic) { Verdict::Matches } else { Verdict::Differs };
    let (ink, word) = match verdict {
        Verdict::Matches => (Ink::Good, "matches"),
        _ => (Ink::Bad, "does not match"),
    };
    let mut lines = vec![format!("{} {} {}", shown(filter), palette.paint(ink, word), shown(topic))];
    if let Some((group, _)) = shared {
        lines.push(format!(
            "  shared subscription of the group `{}`: what is compared is `{}`, and one member gets each message",
            shown(group),
            shown(plain)
        ));
    }
    lines.extend(levels(plain, topic, palette));
    lines.extend(
        hints(plain, topic).into_iter().map(|hint| palette.paint(Ink::Note, &format!("  note: {hint}"))),
    );
    (verdict, lines.join("\n"))
}

/// One line for each level, up to the one that decides.
fn levels(filter: &str, topic: &str, palette: Palette) -> Vec<String> {
    let wanted: Vec<&str> = filter.split('/').collect();
    let given: Vec<&str> = topic.split('/').collect();
    let width = wanted.iter().map(|level| label(Some(level)).chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for at in 0..wanted.len().max(given.len()) {
        let (level, name) = (wanted.get(at).copied(), given.get(at).copied());
        let (good, why, last) = judge(at, level, name, topic.starts_with('$'));
        let name = match level {
            Some("#") if good => label_of_rest(&given, at),
            _ => label(name),
        };
        let mark = if good { palette.paint(Ink::Good, "+") } else { palette.paint(Ink::Bad, "-") };
        lines.push(format!("  {mark} level {}: {:<width$}  {name}: {why}", at + 1, label(level)));
        if last || !good {
            break;
        }
    }
    lines
}

/// Whether the level fits, why, and whether nothing follows.
fn judge(at: usize, wanted: Option<&str>, given: Option<&str>, dollar: bool) -> (bool, &'static str, bool) {
    match (wanted, given) {
        (Some("+" | "#"), _) if at == 0 && dollar => (
            false,
            "a wildcard in the first level matches no topic that begins with `$` [MQTT-4.7.2-1]",
            true,
        ),
        (Some("#"), None) => (true, "`#` stands for the level above it, too", true),
        (Some("#"), Some(_)) => (true, "`#` stands for this level and everything below", true),
        (Some("+"), Some("")) => (true, "`+` stands for an empty level, too", false),
        (Some("+"), Some(_)) => (true, "`+` stands for any one level", false),
        (Some(_), None) => (false, "the topic ends before this level", true),
        (None, Some(_)) => (false, "the filter ends before this level; `#` at its end would take it", true),
        (Some(wanted), Some(given)) if wanted == given => (true, "the same", false),
        (Some(wanted), Some(given)) if wanted.to_lowercase() == given.to_lowercase() => {
            (false, "upper and lower case differ", true)
        }
        (Some(wanted), Some(given)) if wanted.trim() == given.trim() => (false, "white space counts", true),
        (Some(_), Some(_)) => (false, "different", true),
        (None, None) => (true, "nothing is left", true),
    }
}

fn label(level: Option<&str>) -> String {
    match level {
        None => "(none)".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(level) => shown(level),
    }
}

fn label_of_rest(given: &[&str], at: usize) -> String {
    match given.get(at..) {
        None | Some([]) => "(none)".to_owned(),
        Some([one]) => label(Some(one)),
        Some(rest) => shown(&rest.join("/")),
    }
}

fn hints(filter: &str, topic: &str) -> Vec<&'static str> {
    let mut hints = Vec::new();
    if filter.starts_with('/') != topic.starts_with('/') && !filter.starts_with(['+', '#']) {
        hints.push("a leading `/` makes an empty first level: `/a` and `a` are two topics");
    }
    if filter.ends_with('/') || topic.ends_with('/') {
        hints.push("a `/` at the end makes an empty last level: `a/` and `a` are two topics");
    }
    if filter.starts_with("$share") {
        hints.push("`$share` is a shared subscription only as `$share/GROUP/FILTER`");
    }
    hints
}

/// The rule that is broken, with a mark under the place.
fn fault(kind: &str, text: &str, error: TopicError, palette: Palette) -> String {
    let said = palette.paint(Ink::Bad, &format!("no {kind}: {error}"));
    match place(text, error) {
        Some(at) => format!("{said}\n  {}\n  {}^ character {}", shown(text), " ".repeat(at), at + 1),
        None => said,
    }
}

/// Characters before the fault.
fn place(text: &str, error: TopicError) -> Option<usize> {
    let chars: Vec<char> = text.chars().collect();
    // A level that is `#` or `+` alone is fine, but `#` only at the end.
    let alone =
        |at: usize| (at == 0 || chars[at - 1] == '/') && chars.get(at + 1).is_none_or(|next| *next == '/');
    let first = |wanted: &dyn Fn(usize, char) -> bool| {
        chars.iter().enumerate().find(|(at, c)| wanted(*at, **c)).map(|(at, _)| at)
    };
    match error {
        TopicError::Empty | TopicError::TooLong => None,
        TopicError::Nul => first(&|_, c| c == '\0'),
        TopicError::WildcardInName => first(&|_, c| matches!(c, '+' | '#')),
        TopicError::MultiLevelWildcard => first(&|at, c| c == '#' && (!alone(at) || at + 1 != chars.len())),
        TopicError::SingleLevelWildcard => first(&|at, c| c == '+' && !alone(at)),
        TopicError::ShareName => Some("$share/".len().min(chars.len())),
        TopicError::ShareFilter => Some(chars.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plainly(filter: &str, topic: &str) -> (Verdict, String) {
        explain(filter, topic, Palette::Plain)
    }

    #[test]
    fn each_level_is_explained() {
        let (verdict, said) = plainly("sensors/+/temperature", "sensors/kitchen/temperature");
        assert_eq!(verdict, Verdict::Matches);
        assert_eq!(
            said,
            "sensors/+/temperature matches sensors/kitchen/temperature\n\
             \x20 + level 1: sensors      sensors: the same\n\
             \x20 + level 2: +            kitchen: `+` stands for any one level\n\
             \x20 + level 3: temperature  temperature: the same"
        );
    }

    #[test]
    fn the_level_that_decides_is_the_last_one_shown() {
        for (filter, topic, part) in [
            ("a/b/c", "a/x/c", "- level 2: b  x: different"),
            ("a/B", "a/b", "upper and lower case differ"),
            ("a ", "a", "white space counts"),
            ("a/b", "a", "- level 2: b  (none): the topic ends before this level"),
            ("a", "a/b", "- level 2: (none)  b: the filter ends before this level"),
            ("#", "$SYS/x", "- level 1: #  $SYS: a wildcard in the first level"),
            ("+/x", "$SYS/x", "[MQTT-4.7.2-1]"),
            ("/a", "a", "note: a leading `/`"),
            ("a", "a/", "note: a `/` at the end"),
        ] {
            let (verdict, said) = plainly(filter, topic);
            assert_eq!(verdict, Verdict::Differs, "{said}");
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn what_wildcards_stand_for() {
        for (filter, topic, part) in [
            ("a/#", "a", "+ level 2: #  (none): `#` stands for the level above it, too"),
            ("a/#", "a/b/c", "+ level 2: #  b/c: `#` stands for this level and everything below"),
            ("+/+", "/a", "+ level 1: +  (empty): `+` stands for an empty level, too"),
            ("$SYS/#", "$SYS/x", "the same"),
            ("$share/g/a/#", "a/b", "shared subscription of the group `g`: what is compared is `a/#`"),
        ] {
            let (verdict, said) = plainly(filter, topic);
            assert_eq!(verdict, Verdict::Matches, "{said}");
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn invalid_ones_are_marked_at_their_place() {
        for (filter, topic, at) in [
            ("a/#/b", "a", 3),
            ("a#", "a", 2),
            ("a/+b", "a", 3),
            ("+/b+", "a", 4),
            ("$share/g", "a", 8),
            ("$share//a", "a", 8),
            ("$share/g/", "a", 10),
            ("$share/g/a#", "a", 11),
            ("a", "a/+", 3),
            ("a", "b/#", 3),
            ("a", "b\0", 2),
        ] {
            let (verdict, said) = plainly(filter, topic);
            assert_eq!(verdict, Verdict::Invalid, "{said}");
            assert!(said.ends_with(&format!("^ character {at}")), "{said}");
        }
        assert_eq!(plainly("", "a").0, Verdict::Invalid);
        assert_eq!(plainly("a", "").0, Verdict::Invalid);
        assert_eq!(plainly("a", &"x".repeat(65_536)).0, Verdict::Invalid);
    }
}
