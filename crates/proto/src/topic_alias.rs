//! Topic Aliases, both ways (5.0 3.3.2.3.4). They live as long as the Network Connection.

use std::collections::BTreeMap;

use crate::PeerError;

/// Aliases the peer defined for the Topic Names it sends.
#[derive(Debug, Default)]
pub struct AliasIn {
    /// `topics[alias - 1]`; grows with use, up to the maximum this end announced.
    topics: Vec<Option<Box<str>>>,
}

impl AliasIn {
    /// Defines or re-points `alias`; `maximum` is what this end announced.
    ///
    /// # Errors
    /// `alias` is zero or above `maximum` (5.0 [MQTT-3.3.2-8], [MQTT-3.3.2-9]).
    pub fn define(&mut self, alias: u16, topic: &str, maximum: u16) -> Result<(), PeerError> {
        if alias == 0 || alias > maximum {
            return Err(PeerError::TopicAliasInvalid(alias));
        }
        let at = usize::from(alias) - 1;
        if self.topics.len() <= at {
            self.topics.resize(at + 1, None);
        }
        if self.topics[at].as_deref() != Some(topic) {
            self.topics[at] = Some(topic.into());
        }
        Ok(())
    }

    /// The Topic Name `alias` stands for; `maximum` is what this end announced.
    ///
    /// # Errors
    /// `alias` is zero or above `maximum`, or was never defined on this connection (5.0 3.3.4).
    pub fn resolve(&self, alias: u16, maximum: u16) -> Result<&str, PeerError> {
        if alias == 0 || alias > maximum {
            return Err(PeerError::TopicAliasInvalid(alias));
        }
        let topic = self.topics.get(usize::from(alias) - 1).and_then(Option::as_deref);
        topic.ok_or(PeerError::TopicAliasUnknown(alias))
    }

    /// Each alias that is defined, with the Topic Name it stands for now.
    pub fn defined(&self) -> impl Iterator<Item = (u16, &str)> {
        (1..=u16::MAX).zip(&self.topics).filter_map(|(alias, topic)| Some((alias, topic.as_deref()?)))
    }
}

/// Aliases this end defined for the Topic Names it sends: first come, first served, up to the peer's maximum.
#[derive(Debug)]
pub struct AliasOut {
    maximum: u16,
    aliases: BTreeMap<Box<str>, u16>,
}

/// What to write for a Topic Name.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum AliasUse {
    /// The peer knows the alias: send it with an empty Topic Name.
    Known(u16),
    /// Send alias and Topic Name; call [`AliasOut::define`] once the packet is surely sent.
    New(u16),
    /// All aliases are taken, or one would not pay: send the Topic Name alone.
    None,
}

impl AliasOut {
    /// No alias yet; `maximum` is the peer's Topic Alias Maximum.
    #[must_use]
    pub const fn new(maximum: u16) -> Self {
        Self { maximum, aliases: BTreeMap::new() }
    }

    /// What to write for `topic`.
    #[must_use]
    pub fn choose(&self, topic: &str) -> AliasUse {
        // An alias costs three bytes of property each time: shorter names gain nothing.
        if self.maximum == 0 || topic.len() <= 3 {
            return AliasUse::None;
        }
        match self.aliases.get(topic) {
            Some(alias) => AliasUse::Known(*alias),
            None => match u16::try_from(self.aliases.len()) {
                Ok(used) if used < self.maximum => AliasUse::New(used + 1),
                _ => AliasUse::None,
            },
        }
    }

    /// Notes that the peer will know `alias` for `topic` from now on.
    pub fn define(&mut self, alias: u16, topic: &str) {
        self.aliases.insert(topic.into(), alias);
    }

    /// Each alias that is defined, with its Topic Name; once defined it stays so.
    pub fn defined(&self) -> impl Iterator<Item = (u16, &str)> {
        self.aliases.iter().map(|(topic, alias)| (*alias, &**topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt5_3_3_2_8_alias_zero_or_above_the_maximum_is_refused() {
        let mut aliases = AliasIn::default();
        for alias in [0, 4, u16::MAX] {
            assert_eq!(aliases.define(alias, "a", 3), Err(PeerError::TopicAliasInvalid(alias)));
            assert_eq!(aliases.resolve(alias, 3), Err(PeerError::TopicAliasInvalid(alias)));
        }
        aliases.define(3, "a", 3).unwrap();
        assert_eq!(aliases.resolve(3, 3), Ok("a"));
        assert_eq!(aliases.resolve(2, 3), Err(PeerError::TopicAliasUnknown(2)));
        aliases.define(3, "b", 3).unwrap();
        assert_eq!(aliases.resolve(3, 3), Ok("b"));
        assert_eq!(aliases.defined().collect::<Vec<_>>(), [(3, "b")]);
    }

    #[test]
    fn mqtt5_3_1_2_26_never_more_aliases_than_the_peer_allows() {
        let mut aliases = AliasOut::new(2);
        for (topic, alias) in [("room/1", 1), ("room/2", 2)] {
            assert_eq!(aliases.choose(topic), AliasUse::New(alias));
            aliases.define(alias, topic);
        }
        assert_eq!(aliases.choose("room/3"), AliasUse::None);
        assert_eq!(aliases.choose("room/1"), AliasUse::Known(1));
        assert_eq!(aliases.defined().collect::<Vec<_>>(), [(1, "room/1"), (2, "room/2")]);
        assert_eq!(AliasOut::new(0).choose("room/1"), AliasUse::None);
    }
}
