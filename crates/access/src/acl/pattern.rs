//! The topic of a rule, taken apart: levels that are text, names to fill in, or wildcards.

use super::Subject;

/// A Topic Filter with places for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    levels: Vec<Level>,
    names: Names,
    /// The pattern ends with `#`: the levels before it, and everything below them, fit.
    open: bool,
}

/// How `%u` and `%c` are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Filled in if they can stand inside one level without meaning something else there; else the pattern doesn't
    /// fit. For what opens.
    Plain,
    /// Filled in whatever they are. For what closes.
    Any,
    /// Filled in, `/` too; but nobody whose user name or Client Identifier has a wildcard is covered, even if the
    /// pattern has no place for names. So Mosquitto has its `pattern` lines.
    NoWildcards,
    /// Not filled in: `%u` is text like any other.
    Text,
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
    pub(super) fn compile(topic: &str, names: Names) -> Result<Self, &'static str> {
        if topic.is_empty() {
            return Err("is empty; `#` stands for all topics");
        }
        if topic.contains('\0') {
            return Err("contains U+0000, which no topic can");
        }
        let (topic, open) = match topic.strip_suffix('#') {
            Some("") => return Ok(Self { levels: Vec::new(), names, open: true }),
            Some(rest) => match rest.strip_suffix('/') {
                Some(rest) => (rest, true),
                None => return Err("`#` must be a level of its own"),
            },
            None => (topic, false),
        };
        if topic.contains('#') {
            return Err("`#` must be the last level");
        }
        let levels = topic.split('/').map(|text| Level::compile(text, names)).collect::<Result<_, _>>()?;
        Ok(Self { levels, names, open })
    }

    /// Whether `topic` is covered for `who`.
    pub(super) fn fits(&self, who: Subject<'_>, topic: &str) -> bool {
        if self.names == Names::NoWildcards
            && (who.user.is_some_and(has_wildcard) || has_wildcard(who.client_id))
        {
            return false;
        }
        // 5.0 [MQTT-4.7.2-1] for wildcards. Names too: a client that calls itself `$SYS` must not get there.
        if topic.starts_with('$')
            && !self.levels.first().is_some_and(|first| first.reaches_dollar(self.names))
        {
            return false;
        }
        if self.names != Names::Plain
            && (who.client_id.contains('/') || who.user.is_some_and(|u| u.contains('/')))
        {
            return self.fits_across_levels(who, topic);
        }
        let mut topic_levels = topic.split('/');
        for level in &self.levels {
            match topic_levels.next() {
                Some(text) if level.fits(who, text, self.names) => {}
                _ => return false,
            }
        }
        self.open || topic_levels.next().is_none()
    }

    /// The same for a name that spans levels.
    fn fits_across_levels(&self, who: Subject<'_>, topic: &str) -> bool {
        let mut topic_levels = topic.split('/');
        for level in &self.levels {
            let Level::Filled(pieces) = level else {
                match topic_levels.next() {
                    Some(text) if level.fits(who, text, self.names) => continue,
                    _ => return false,
                }
            };
            let mut filled = String::new();
            for piece in pieces {
                match piece.text(who, self.names) {
                    Some(text) => filled.push_str(text),
                    None => return false,
                }
            }
            if !filled.split('/').all(|text| topic_levels.next() == Some(text)) {
                return false;
            }
        }
        self.open || topic_levels.next().is_none()
    }
}

impl Piece {
    /// What stands there for a client; `None` if nothing can.
    fn text<'a>(&'a self, who: Subject<'a>, names: Names) -> Option<&'a str> {
        let may = |name: &&str| names != Names::Plain || is_plain(name);
        match self {
            Self::Text(text) => Some(text),
            Self::User => who.user.filter(may),
            Self::ClientId => Some(who.client_id).filter(may),
        }
    }
}

impl Level {
    fn compile(text: &str, names: Names) -> Result<Self, &'static str> {
        if text == "+" {
            return Ok(Self::Any);
        }
        if text.contains('+') {
            return Err("`+` must be a level of its own");
        }
        if names == Names::Text {
            return Ok(Self::Text(text.to_owned()));
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

    /// Whether it may, as the first level, cover a topic that begins with `$`.
    fn reaches_dollar(&self, names: Names) -> bool {
        match self {
            Self::Text(_) => true,
            Self::Filled(pieces) => names == Names::Any || matches!(pieces.first(), Some(Piece::Text(_))),
            Self::Any => false,
        }
    }

    fn fits(&self, who: Subject<'_>, text: &str, names: Names) -> bool {
        match self {
            Self::Text(own) => own == text,
            Self::Any => true,
            Self::Filled(pieces) => {
                let mut rest = text;
                for piece in pieces {
                    match piece.text(who, names).and_then(|part| rest.strip_prefix(part)) {
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

fn has_wildcard(name: &str) -> bool {
    name.contains(['+', '#'])
}
