//! A message as expressions see it, and how its payload is understood.

use std::cell::{Cell, OnceCell};

use crate::{
    MESSAGE_STEPS_MAX, PAYLOAD_BYTES_MAX, Reading, STEPS_LATE_MAX, STEPS_MAX, cbor, json, msgpack,
    number::{self, Number},
    tape::{Document, Kind, Tape, place},
};

/// The properties of a message, asked for by name and only when an expression names them.
pub trait Properties {
    /// Content Type (5.0 3.3.2.3.9).
    fn content_type(&self) -> Option<&str>;
    /// The first User Property of this name (5.0 3.3.2.3.7).
    fn user(&self, name: &str) -> Option<&str>;
    /// About how many bytes a search for one of them goes through: each use of `property` and `content_type` is charged
    /// for them.
    fn bytes(&self) -> usize;
}

/// No properties: what every message of a 3.1.1 client has.
#[derive(Copy, Clone, Debug)]
pub struct NoProperties;

impl Properties for NoProperties {
    fn content_type(&self) -> Option<&str> {
        None
    }

    fn user(&self, _name: &str) -> Option<&str> {
        None
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// One message.
#[derive(Copy, Clone)]
pub struct Message<'a> {
    /// Topic Name.
    pub topic: &'a str,
    /// The payload's bytes.
    pub payload: &'a [u8],
    /// QoS it was published with: 0, 1 or 2.
    pub qos: u8,
    /// RETAIN as it was published.
    pub retain: bool,
    /// Client Identifier of its publisher; empty for the broker itself.
    pub client_id: &'a str,
    /// User Name of its publisher; empty when there is none.
    pub user: &'a str,
    /// Its v5 properties.
    pub properties: &'a dyn Properties,
}

/// What a payload was found to be.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PayloadType {
    /// A number in text and nothing else.
    Number,
    /// JSON.
    Json,
    /// UTF-8 text.
    Text,
    /// CBOR.
    Cbor,
    /// MessagePack.
    MsgPack,
    /// Anything else.
    Binary,
}

impl PayloadType {
    /// The name that `type` has in an expression.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Json => "json",
            Self::Text => "text",
            Self::Cbor => "cbor",
            Self::MsgPack => "msgpack",
            Self::Binary => "binary",
        }
    }

    /// The names that `type` can have.
    pub(crate) const NAMES: [&str; 6] = ["number", "json", "text", "cbor", "msgpack", "binary"];
}

/// The payload as a whole.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(crate) enum Root<'a> {
    Number(Number),
    Text(&'a str),
    Bytes(&'a [u8]),
    /// The first value of the tape; with the payload, if it is JSON, else with an empty text.
    Tape(&'a str),
}

/// Memory that one message after another uses.
#[derive(Debug, Default)]
pub struct Scratch(Option<Box<Tape>>);

impl Scratch {
    /// Looks at a message. Nothing is done before an expression asks for it.
    #[must_use]
    pub fn look<'a>(&mut self, message: Message<'a>) -> Seen<'a> {
        let spare = Cell::new(self.0.take());
        Seen { message, understood: OnceCell::new(), spare, spent: Cell::new(0), reading: Cell::new(None) }
    }

    /// Takes the memory back.
    pub fn take_back(&mut self, seen: Seen<'_>) {
        let tape = match seen.understood.into_inner() {
            Some(understood) => Some(understood.tape),
            None => seen.spare.into_inner(),
        };
        self.0 = tape.filter(|tape| {
            tape.entries.capacity() <= KEPT_ENTRIES_MAX && tape.unescaped.capacity() <= KEPT_BYTES_MAX
        });
    }
}

/// Bytes of a payload that are read in what counts as one step of the message's.
const PAYLOAD_BYTES_IN_A_STEP: usize = 64;
/// Memory kept from message to message, in values.
const KEPT_ENTRIES_MAX: usize = 4096;
/// The same of strings that had escapes, in bytes.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A message that is looked at: its payload is read once, by the first expression that asks for it.
pub struct Seen<'a> {
    pub(crate) message: Message<'a>,
    understood: OnceCell<Understood<'a>>,
    spare: Cell<Option<Box<Tape>>>,
    /// Steps that expressions have taken over this message.
    spent: Cell<u32>,
    /// What `changed` compares of the whole payload, once somebody asked for it.
    pub(crate) reading: Cell<Option<Reading>>,
}

struct Understood<'a> {
    kind: PayloadType,
    root: Root<'a>,
    tape: Box<Tape>,
}

impl<'a> Seen<'a> {
    /// What the payload is.
    pub fn payload_type(&self) -> PayloadType {
        self.understood().kind
    }

    pub(crate) fn root(&self) -> Root<'a> {
        self.understood().root
    }

    pub(crate) fn document(&self) -> Document<'_> {
        let Understood { root, tape, .. } = self.understood();
        let text = if let Root::Tape(text) = root { text } else { "" };
        Document { payload: self.message.payload, text, entries: tape.values(), unescaped: &tape.unescaped }
    }

    /// Steps that expressions have taken over this message so far; see [`MESSAGE_STEPS_MAX`].
    pub fn spent(&self) -> u32 {
        self.spent.get()
    }

    /// How many steps the next evaluation may take.
    pub(crate) fn allowance(&self) -> u32 {
        if self.spent.get() < MESSAGE_STEPS_MAX { STEPS_MAX } else { STEPS_LATE_MAX }
    }

    pub(crate) fn spend(&self, steps: u32) {
        self.spent.set(self.spent.get().saturating_add(steps));
    }

    /// The number of a payload that is one, whatever its format.
    pub(crate) fn number(&self) -> Option<Number> {
        match self.root() {
            Root::Number(number) => Some(number),
            Root::Tape(_) => match self.document().kind(0) {
                Kind::Digits(from, to) => self.document().digits(from, to),
                Kind::Int(value) => Some(Number::Int(value)),
                Kind::Uint(value) => Some(Number::Uint(value)),
                Kind::Double(value) => Some(Number::Double(value)),
                _ => None,
            },
            Root::Text(_) | Root::Bytes(_) => None,
        }
    }

    fn understood(&self) -> &Understood<'a> {
        self.understood.get_or_init(|| {
            let steps = self.message.payload.len().min(PAYLOAD_BYTES_MAX) / PAYLOAD_BYTES_IN_A_STEP;
            self.spend(place(steps));
            understand(&self.message, self.spare.take().unwrap_or_default())
        })
    }
}

/// What a Content Type promises.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Promise {
    Nothing,
    Json,
    Cbor,
    MsgPack,
    Text,
    Binary,
}

fn promise(content_type: &str) -> Promise {
    let name = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match &*name {
        "application/json" | "text/json" => Promise::Json,
        "application/cbor" => Promise::Cbor,
        "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Promise::MsgPack,
        "application/octet-stream" => Promise::Binary,
        name if name.ends_with("+json") => Promise::Json,
        name if name.ends_with("+cbor") => Promise::Cbor,
        name if name.ends_with("+msgpack") => Promise::MsgPack,
        name => match name.split('/').next() {
            Some("text") => Promise::Text,
            Some("image" | "audio" | "video") if !name.ends_with("+xml") => Promise::Binary,
            _ => Promise::Nothing,
        },
    }
}

/// The order: what the Content Type says, if it is true; a plain number; JSON; text; CBOR; MessagePack; bytes.
fn understand<'a>(message: &Message<'a>, mut tape: Box<Tape>) -> Understood<'a> {
    let payload = message.payload;
    let promise = message.properties.content_type().map_or(Promise::Nothing, promise);
    let (kind, root) = if promise == Promise::Binary || payload.len() > PAYLOAD_BYTES_MAX {
        (PayloadType::Binary, Root::Bytes(payload))
    } else {
        promised(promise, payload, &mut tape).unwrap_or_else(|| sniffed(payload, &mut tape))
    };
    Understood { kind, root, tape }
}

fn promised<'a>(promise: Promise, payload: &'a [u8], tape: &mut Tape) -> Option<(PayloadType, Root<'a>)> {
    match promise {
        Promise::Json => {
            let text = std::str::from_utf8(payload).ok()?;
            tape.write(|writer| json::read(text, writer)).ok().map(|()| (PayloadType::Json, Root::Tape(text)))
        }
        Promise::Cbor => tape
            .write(|writer| cbor::read(payload, false, writer))
            .ok()
            .map(|()| (PayloadType::Cbor, Root::Tape(""))),
        Promise::MsgPack => tape
            .write(|writer| msgpack::read(payload, false, writer))
            .ok()
            .map(|()| (PayloadType::MsgPack, Root::Tape(""))),
        Promise::Text => std::str::from_utf8(payload).ok().map(|text| (PayloadType::Text, Root::Text(text))),
        Promise::Nothing | Promise::Binary => None,
    }
}

fn sniffed<'a>(payload: &'a [u8], tape: &mut Tape) -> (PayloadType, Root<'a>) {
    if let Some(number) = plain_number(payload) {
        return (PayloadType::Number, Root::Number(number));
    }
    if let Ok(text) = std::str::from_utf8(payload) {
        let first = payload.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        let like_json = matches!(first, Some(b'{' | b'[' | b'"' | b't' | b'f' | b'n'));
        if like_json && tape.write(|writer| json::read(text, writer)).is_ok() {
            return (PayloadType::Json, Root::Tape(text));
        }
        return (PayloadType::Text, Root::Text(text));
    }
    if tape.write(|writer| cbor::read(payload, true, writer)).is_ok() {
        return (PayloadType::Cbor, Root::Tape(""));
    }
    if tape.write(|writer| msgpack::read(payload, true, writer)).is_ok() {
        return (PayloadType::MsgPack, Root::Tape(""));
    }
    (PayloadType::Binary, Root::Bytes(payload))
}

/// A number, perhaps with blanks around it, as `printf("%6.2f\n")` writes it.
fn plain_number(payload: &[u8]) -> Option<Number> {
    let first = payload.first()?;
    if matches!(first, b'{' | b'[' | b'"') {
        return None;
    }
    number::parse(payload.trim_ascii())
}
