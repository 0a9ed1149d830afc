//! The topic of a rule, taken apart: levels that are text, names to fill in, or wildcards.

use super::Subject;

/// A Topic Filter with places for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    levels: Vec<Level>,
    /// The pattern ends with `#`: the levels before it, and everything below them, fit.
    open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Text(String),
    /// Text and names in turn; at least one name.
    Filled(Vec<Piece>),
    /// `+`.
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    User,
    ClientId,
}

impl Pattern {
    /// Takes a Topic Filter apart; the error says what keeps it from being one.
    pub(super) fn compile(topic: &str) -> Result<Self, &'static str> {
        if topic.is_empty() {
            return Err("is empty; `#` stands for all topics");
        }
        if topic.contains('\0') {
            return Err("contains U+0000, which no topic can");
        }
        let (topic, open) = match topic.strip_suffix('#') {
            Some("") => return Ok(Self { levels: Vec::new(), open: true }),
            Some(rest) => match rest.strip_suffix('/') {
                Some(rest) => (rest, true),
                None => return Err("`#` must be a level of its own"),
            },
            None => (topic, false),
        };
        if topic.contains('#') {
            return Err("`#` must be the last level");
        }
        let levels = topic.split('/').map(Level::compile).collect::<Result<_, _>>()?;
        Ok(Self { levels, open })
    }

    /// Whether `topic` is covered for `who`.
    pub(super) fn fits(&self, who: Subject<'_>, topic: &str) -> bool {
        // 5.0 [MQTT-4.7.2-1] for wildcards. Names too: a client that calls itself `$SYS` must not get there.
        if topic.starts_with('$') && !self.levels.first().is_some_and(Level::begins_with_text) {
            return false;
        }
        let mut topic_levels = topic.split('/');
        for level in &self.levels {
            match topic_levels.next() {
                Some(text) if level.fits(who, text) => {}
                _ => return false,
            }
        }
        self.open || topic_levels.next().is_none()
    }
}

impl Level {
    fn compile(text: &str) -> Result<Self, &'static str> {
        if text == "+" {
            return Ok(Self::Any);
        }
        if text.contains('+') {
            return Err("`+` must be a level of its own");
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, name, after)) = split_at_name(rest) {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(name);
            rest = after;
        }
        if pieces.is_empty() {
            return Ok(Self::Text(text.to_owned()));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self::Filled(pieces))
    }

    fn begins_with_text(&self) -> bool {
        match self {
            Self::Text(_) => true,
            Self::Filled(pieces) => matches!(pieces.first(), Some(Piece::Text(_))),
            Self::Any => false,
        }
    }

    fn fits(&self, who: Subject<'_>, text: &str) -> bool {
        match self {
            Self::Text(own) => own == text,
            Self::Any => true,
            Self::Filled(pieces) => {
                let mut rest = text;
                for piece in pieces {
                    let part = match piece {
                        Piece::Text(part) => Some(part.as_str()),
                        Piece::User => who.user.filter(|name| is_plain(name)),
                        Piece::ClientId => Some(who.client_id).filter(|name| is_plain(name)),
                    };
                    match part.and_then(|part| rest.strip_prefix(part)) {
                        Some(after) => rest = after,
                        None => return false,
                    }
                }
                rest.is_empty()
            }
        }
    }
}

/// The first `%u` or `%c`, with what stands before and after it.
fn split_at_name(text: &str) -> Option<(&str, Piece, &str)> {
    let mut from = 0;
    while let Some(at) = text[from..].find('%').map(|at| from + at) {
        let after = &text[at + 1..];
        if let Some(after) = after.strip_prefix('u') {
            return Some((&text[..at], Piece::User, after));
        }
        if let Some(after) = after.strip_prefix('c') {
            return Some((&text[..at], Piece::ClientId, after));
        }
        from = at + 1;
    }
    None
}

/// Whether a name can stand inside one topic level without meaning something else there.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['+', '#', '/'])
}
