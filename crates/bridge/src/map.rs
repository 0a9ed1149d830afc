//! What a topic is called on the other side.

use cork_packet::{QoS, matches};

/// One direction of one `[[bridge.topic]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    /// What is subscribed where messages come from, prefix included.
    pub(crate) filter: String,
    /// Before it in the subscription: a filter by content (`$where/…/`, `$filter/…/`), or nothing.
    pub(crate) through: String,
    /// Taken off the front of a topic.
    pub(crate) strip: String,
    /// Put there instead.
    pub(crate) add: String,
    /// The most that is asked for.
    pub(crate) qos: QoS,
}

/// All rules of one direction, in the order of the configuration: the first that fits decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Map {
    rules: Vec<Rule>,
    /// All rules do alike, so that nothing needs to be matched.
    uniform: bool,
}

impl Map {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        let plain = |rule: &Rule| (rule.strip.as_str(), rule.add.as_str()) == ("", "");
        let uniform = rules.len() == 1
            || rules
                .first()
                .is_some_and(|first| rules.iter().all(|rule| plain(rule) && rule.qos == first.qos));
        Self { rules, uniform }
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The highest QoS that any rule asks for.
    pub(crate) fn qos_max(&self) -> QoS {
        self.rules.iter().map(|rule| rule.qos).max().unwrap_or(QoS::AtMostOnce)
    }

    /// The topic's name on the other side, in two parts, and the QoS it has there at most; `None` if no rule is for it.
    pub(crate) fn rename<'a>(&'a self, topic: &'a str) -> Option<((&'a str, &'a str), QoS)> {
        let rule = if self.uniform { self.rules.first()? } else { self.rule(topic)? };
        Some((rule.rename(topic)?, rule.qos))
    }

    /// The rule for a topic.
    pub(crate) fn rule(&self, topic: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| matches(&rule.filter, topic))
    }
}

impl Rule {
    /// What is subscribed, as SUBSCRIBE says it.
    pub(crate) fn subscription(&self) -> String {
        format!("{}{}", self.through, self.filter)
    }

    fn rename<'a>(&'a self, topic: &'a str) -> Option<(&'a str, &'a str)> {
        topic.strip_prefix(self.strip.as_str()).map(|rest| (self.add.as_str(), rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(filter: &str, strip: &str, add: &str) -> Rule {
        let (filter, strip, add) = (filter.into(), strip.into(), add.into());
        Rule { filter, strip, add, ..Rule::default() }
    }

    fn renamed(rules: &[Rule], topic: &str) -> Option<String> {
        let map = Map::new(rules.to_vec());
        map.rename(topic).map(|((add, rest), _)| format!("{add}{rest}"))
    }

    #[test]
    fn prefixes_are_taken_off_and_put_on() {
        for (strip, add, topic, other) in [
            ("", "", "a/b", Some("a/b")),
            ("", "site-7/", "a/b", Some("site-7/a/b")),
            ("lab/", "", "lab/a", Some("a")),
            ("lab/", "site/", "lab/a/b", Some("site/a/b")),
            ("lab/", "site/", "other/a", None),
        ] {
            let filter = format!("{strip}#");
            assert_eq!(renamed(&[rule(&filter, strip, add)], topic).as_deref(), other, "{topic}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = [rule("a/+", "a/", "x/"), rule("a/#", "a/", "y/"), rule("b", "", "")];
        assert_eq!(renamed(&rules, "a/1").as_deref(), Some("x/1"));
        assert_eq!(renamed(&rules, "a/1/2").as_deref(), Some("y/1/2"));
        assert_eq!(renamed(&rules, "b").as_deref(), Some("b"));
        assert_eq!(renamed(&rules, "c"), None);
        assert_eq!(renamed(&[], "c"), None);
        let qos = |filter: &str, qos| Rule { qos, ..rule(filter, "", "") };
        let map = Map::new(vec![qos("a/#", QoS::AtMostOnce), qos("#", QoS::ExactlyOnce)]);
        assert_eq!(map.rename("a/1"), Some((("", "a/1"), QoS::AtMostOnce)));
        assert_eq!(map.rename("b"), Some((("", "b"), QoS::ExactlyOnce)));
    }
}
