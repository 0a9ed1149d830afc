//! Columns: what is saved under which name.

use std::fmt;

use crate::{Cell, Payload, Row};

/// What a column is to hold.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `number`: a double.
    Number,
    /// `integer`: 64 bits.
    Integer,
    /// `text`.
    Text,
    /// `boolean`.
    Boolean,
    /// `json`: a JSON document.
    Json,
    /// `time`: a point in time; from a number since 1970 (the unit follows from its size) or RFC 3339.
    Time,
    /// `bytes`.
    Bytes,
}

impl Kind {
    const WORDS: [(&'static str, Self); 7] = [
        ("number", Self::Number),
        ("integer", Self::Integer),
        ("text", Self::Text),
        ("boolean", Self::Boolean),
        ("json", Self::Json),
        ("time", Self::Time),
        ("bytes", Self::Bytes),
    ];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `id`: the message's.
    Id,
    /// `time`: when it arrived.
    Time,
    /// `topic_name`: the whole topic.
    TopicName,
    /// `topic[1]`: a level of the topic, from 0; from the end with -1, -2.
    Level(i32),
    /// `payload`: whatever it is; `payload.a.b`: a part of a JSON document.
    Payload(Vec<Box<str>>),
    /// `number`: the payload, if it is a number.
    Number,
    /// `json`: the payload, if it is a JSON document.
    Json,
    /// `text`: the payload, if it is text, or a number with more digits than a double holds.
    Text,
    /// `bytes`: the payload, if it is binary.
    Bytes,
    /// `type`: `number`, `json`, `text` or `binary`.
    Type,
    /// `qos`.
    Qos,
    /// `retain`.
    Retain,
    /// `size`: of the payload, in bytes.
    Size,
    /// `client_id`: the publisher's.
    ClientId,
    /// `user`: the publisher's.
    User,
    /// `content_type`.
    ContentType,
    /// `property["name"]`: the first User Property of that name.
    Property(Box<str>),
    /// `user_properties`: all of them, as a JSON object; a name that comes again has a list.
    UserProperties,
}

const PLAIN: [(&str, Source); 14] = [
    ("id", Source::Id),
    ("time", Source::Time),
    ("topic_name", Source::TopicName),
    ("number", Source::Number),
    ("json", Source::Json),
    ("text", Source::Text),
    ("bytes", Source::Bytes),
    ("type", Source::Type),
    ("qos", Source::Qos),
    ("retain", Source::Retain),
    ("size", Source::Size),
    ("client_id", Source::ClientId),
    ("user", Source::User),
    ("content_type", Source::ContentType),
];

const ACCEPTED: &str = "accepted are `id`, `time`, `topic_name`, `topic[1]`, `payload`, `payload.temperature`, `number`, \
    `json`, `text`, `bytes`, `type`, `qos`, `retain`, `size`, `client_id`, `user`, `content_type`, `user_properties` and \
    `property[\"name\"]`, each perhaps with ` as number` (`integer`, `text`, `boolean`, `json`, `time`, `bytes`)";

impl Source {
    fn parse(text: &str) -> Option<Self> {
        if let Some((_, source)) = PLAIN.into_iter().find(|(word, _)| *word == text) {
            return Some(source);
        }
        let within = |name: &str| text.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']');
        if let Some(level) = within("topic") {
            return level.parse().ok().map(Self::Level);
        }
        if let Some(name) = within("property") {
            let quoted = |quote: char| name.strip_prefix(quote)?.strip_suffix(quote);
            return quoted('"').or_else(|| quoted('\'')).map(|name| Self::Property(name.into()));
        }
        match text {
            "payload" => Some(Self::Payload(Vec::new())),
            "user_properties" => Some(Self::UserProperties),
            _ => text
                .strip_prefix("payload.")
                .map(|path| Self::Payload(path.split('.').map(Into::into).collect())),
        }
    }

    /// What a column with this source holds when nobody said.
    const fn natural(&self) -> Kind {
        match self {
            Self::Number | Self::Payload(_) => Kind::Number,
            Self::Qos | Self::Size => Kind::Integer,
            Self::Retain => Kind::Boolean,
            Self::Json | Self::UserProperties => Kind::Json,
            Self::Time => Kind::Time,
            Self::Bytes => Kind::Bytes,
            _ => Kind::Text,
        }
    }

    /// The value, as it is.
    fn cell<'a>(&self, row: &'a Row, payload: &'a Payload<'a>) -> Cell<'a> {
        let text = |text: &'a str| Cell::Text(text.into());
        let optional = |value: Option<&'a str>| value.map_or(Cell::Null, text);
        match self {
            Self::Id => text(&row.id),
            Self::Time => Cell::Time(row.time),
            Self::TopicName => text(&row.topic),
            Self::Level(at) => optional(level(&row.topic, *at)),
            Self::Payload(path) if path.is_empty() => whole(payload),
            Self::Payload(path) => payload.part(path).map_or(Cell::Null, Cell::of_json),
            Self::Type => text(payload.kind()),
            Self::Qos => Cell::Int(row.qos.into()),
            Self::Retain => Cell::Bool(row.retain),
            Self::Size => Cell::Int(i64::try_from(row.payload.len()).unwrap_or(i64::MAX)),
            Self::ClientId => optional(Some(&*row.client_id).filter(|id| !id.is_empty())),
            Self::User => optional(row.user.as_deref()),
            Self::ContentType => optional(row.content_type.as_deref()),
            Self::Property(name) => {
                let mut named = row.user_properties.iter().filter(|(other, _)| other == name);
                optional(named.next().map(|(_, value)| &**value))
            }
            Self::UserProperties if row.user_properties.is_empty() => Cell::Null,
            Self::UserProperties => Cell::Json(crate::document::properties(row).to_string().into()),
            Self::Number | Self::Json | Self::Text | Self::Bytes => match (self, payload) {
                (Self::Number, Payload::Number(_))
                | (Self::Json, Payload::Json(..))
                | (Self::Text, Payload::Text(_))
                | (Self::Bytes, Payload::Binary(_)) => whole(payload),
                (Self::Text, Payload::Number(number)) if !number.is_exact() => text(number.text),
                _ => Cell::Null,
            },
        }
    }
}

fn whole<'a>(payload: &Payload<'a>) -> Cell<'a> {
    match payload {
        Payload::Number(number) => number.integer.map_or(Cell::Float(number.value), Cell::Int),
        Payload::Json(_, text) => Cell::Json((*text).into()),
        Payload::Text(text) => Cell::Text((*text).into()),
        Payload::Binary(bytes) => Cell::Bytes(bytes),
    }
}

fn level(topic: &str, at: i32) -> Option<&str> {
    match usize::try_from(at) {
        Ok(at) => topic.split('/').nth(at),
        Err(_) => topic.rsplit('/').nth(usize::try_from(-(i64::from(at) + 1)).ok()?),
    }
}

/// One column: a name, where its value comes from, and what it is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name at the target.
    pub name: Box<str>,
    /// Where the value comes from.
    pub source: Source,
    /// What was asked for; `None`: the value stays what it is.
    pub kind: Option<Kind>,
    text: Box<str>,
}

impl Column {
    /// Reads a source as the configuration has it, as `payload.temperature as number`.
    ///
    /// # Errors
    /// What would be accepted.
    pub fn parse(name: &str, text: &str) -> Result<Self, &'static str> {
        let (source, kind) = match text.rsplit_once(" as ") {
            None => (text, None),
            Some((source, word)) => {
                let kind = Kind::WORDS.iter().find(|(other, _)| *other == word.trim()).ok_or(ACCEPTED)?;
                (source, Some(kind.1))
            }
        };
        let source = Source::parse(source.trim()).ok_or(ACCEPTED)?;
        Ok(Self { name: name.into(), source, kind, text: text.into() })
    }

    fn plain(name: &'static str, source: Source) -> Self {
        Self { name: name.into(), source, kind: None, text: name.into() }
    }

    /// What a typed column holds: what was asked for, else what the source says.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind.unwrap_or_else(|| self.source.natural())
    }

    /// The row's value, as the kind that was asked for, if one was.
    ///
    /// # Errors
    /// Why the value cannot become that.
    pub fn cell<'a>(&self, row: &'a Row, payload: &'a Payload<'a>) -> Result<Cell<'a>, String> {
        self.cast(self.source.cell(row, payload), self.kind)
    }

    /// The row's value for a target whose columns have types.
    ///
    /// # Errors
    /// Why the value cannot become that.
    pub fn typed<'a>(&self, row: &'a Row, payload: &'a Payload<'a>) -> Result<Cell<'a>, String> {
        self.cast(self.source.cell(row, payload), Some(self.kind()))
    }

    fn cast<'a>(&self, cell: Cell<'a>, kind: Option<Kind>) -> Result<Cell<'a>, String> {
        let Some(kind) = kind else { return Ok(cell) };
        let shown = cell.shown();
        cell.cast(kind)
            .ok_or_else(|| format!("`{}` takes a {}, and {shown} is none", self.name, kind.as_str()))
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = \"{}\"", self.name, self.text.escape_debug())
    }
}

/// The columns of a table for which nobody named any: the payload is in `value`, `payload`, `text` or `bytes`, as it is a
/// number, a JSON document, text or anything else; the others are null.
#[must_use]
pub fn standard_columns() -> Vec<Column> {
    let columns = [
        ("id", Source::Id),
        ("time", Source::Time),
        ("topic", Source::TopicName),
        ("value", Source::Number),
        ("payload", Source::Json),
        ("text", Source::Text),
        ("bytes", Source::Bytes),
        ("qos", Source::Qos),
        ("retain", Source::Retain),
        ("client_id", Source::ClientId),
        ("user_name", Source::User),
        ("content_type", Source::ContentType),
        ("user_properties", Source::UserProperties),
    ];
    columns.map(|(name, source)| Column::plain(name, source)).to_vec()
}

/// The columns of a table: those that were named, and the message's id if it is not among them; else the standard ones.
#[must_use]
pub fn table_columns(named: &[Column]) -> Vec<Column> {
    if named.is_empty() {
        return standard_columns();
    }
    let id = Some(Column::plain("id", Source::Id))
        .filter(|_| named.iter().all(|column| column.source != Source::Id));
    id.into_iter().chain(named.iter().cloned()).collect()
}

#[cfg(test)]
mod tests;
