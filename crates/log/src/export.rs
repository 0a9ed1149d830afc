//! A log as lines of JSON, and back: for backups, for moving, and for looking.
//!
//! The first line says what this is; then comes a line for each Session, for each message that waits with all who wait
//! for it, and for each retained message. A payload that is text stands there as text, any other in Base64.

use std::{
    fmt,
    io::{BufRead, Write},
    path::Path,
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use cork_packet::{PacketId, QoS};
use cork_store::{
    Message, MessageId, Proof, Publisher, QueueExtent, QueuedDelivery, Record, RecoveredSession,
    RecoveredSubscription, SessionKey, SessionState, SubscriptionIds, Ticket, WallTime, Will,
};
use serde::{Deserialize, Serialize};

use crate::{
    check::{existing, look},
    disk::RealDisk,
    error::{Damage, OpenError},
    format::FORMAT_VERSION,
    group::Op,
    keeper::LOG_FOLDER,
    log::Log,
    message::{proof_bits, proof_of_bits, qos_bits, qos_of_bits},
    options::{Durability, Options},
    snapshot::session_records,
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Log { version: u32, epoch: u32, last_arrival: u64 },
    Session(Box<SessionLine>),
    Queued { message: MessageLine, receivers: Vec<ReceiverLine> },
    Retained { message: MessageLine },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionLine {
    key: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<StateLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subscriptions: Vec<SubscriptionLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    will: Option<WillLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    received: Vec<PacketIdLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    released: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    shifts: Vec<(u64, u64)>,
    last_delivery: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateLine {
    client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    proof: u8,
    expiry_seconds: u32,
    online: bool,
    since: u64,
    sent_up_to: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscriptionLine {
    filter: String,
    options: u8,
    subscription_id: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WillLine {
    message: MessageLine,
    delay_seconds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiry_seconds: Option<u32>,
    keep_alive_seconds: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct PacketIdLine(u16);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiverLine {
    session: u64,
    delivery: u64,
    qos: u8,
    retain: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subscription_ids: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageLine {
    topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    properties_base64: Option<String>,
    qos: u8,
    retain: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    arrived: u64,
    shard: u16,
    epoch: u32,
    client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    proof: u8,
}

impl From<&Message> for MessageLine {
    fn from(message: &Message) -> Self {
        let text = std::str::from_utf8(message.payload()).ok().map(str::to_owned);
        let publisher = &message.publisher;
        Self {
            topic: message.topic().to_owned(),
            payload_base64: text.is_none().then(|| STANDARD.encode(message.payload())),
            payload: text,
            properties_base64: (!message.properties().is_empty())
                .then(|| STANDARD.encode(message.properties())),
            qos: qos_bits(message.qos),
            retain: message.retain,
            expires: message.expires().map(|at| at.0),
            arrived: message.id().arrived.0,
            shard: message.id().shard,
            epoch: message.id().epoch,
            client_id: publisher.client_id.as_ref().to_owned(),
            user_name: publisher.user_name.as_deref().map(str::to_owned),
            proof: proof_bits(publisher.proof),
        }
    }
}

/// What is wrong with a line.
type Wrong = String;

fn qos(number: u8) -> Result<QoS, Wrong> {
    qos_of_bits(number).map_err(|_| format!("there is no QoS {number}"))
}

fn proof(number: u8) -> Result<Proof, Wrong> {
    proof_of_bits(number)
        .map_err(|_| format!("there is no proof {number}: 0 nobody, 1 users, 2 connection, 3 inside"))
}

fn bytes(base64: Option<&str>) -> Result<Vec<u8>, Wrong> {
    let decoded = base64.map(|text| STANDARD.decode(text)).transpose();
    Ok(decoded.map_err(|error| format!("no Base64: {error}"))?.unwrap_or_default())
}

impl MessageLine {
    fn message(self) -> Result<Arc<Message>, Wrong> {
        let payload = match self.payload {
            Some(text) => text.into_bytes(),
            None => bytes(self.payload_base64.as_deref())?,
        };
        let publisher = Arc::new(Publisher {
            client_id: self.client_id.into(),
            user_name: self.user_name.map(Into::into),
            proof: proof(self.proof)?,
        });
        let id = MessageId { arrived: WallTime(self.arrived), shard: self.shard, epoch: self.epoch };
        let properties = bytes(self.properties_base64.as_deref())?;
        let mut message = Message::new(id, &self.topic, &properties, &payload, publisher);
        message.qos = qos(self.qos)?;
        message.retain = self.retain;
        message.set_expires(self.expires.map(WallTime));
        Ok(Arc::new(message))
    }
}

impl From<&RecoveredSession> for SessionLine {
    fn from(session: &RecoveredSession) -> Self {
        let state = session.state.as_ref().map(|state| StateLine {
            client_id: state.client_id.as_ref().to_owned(),
            user_name: state.user_name.as_deref().map(str::to_owned),
            proof: proof_bits(state.proof),
            expiry_seconds: state.expiry_seconds,
            online: state.online,
            since: state.since.0,
            sent_up_to: state.sent_up_to,
        });
        let subscription = |known: &RecoveredSubscription| SubscriptionLine {
            filter: known.filter.as_ref().to_owned(),
            options: known.options,
            subscription_id: known.subscription_id,
        };
        let will = session.will.as_ref().map(|will| WillLine {
            message: MessageLine::from(&*will.message),
            delay_seconds: will.delay_seconds,
            expiry_seconds: will.expiry_seconds,
            keep_alive_seconds: will.keep_alive_seconds,
        });
        Self {
            key: session.key.0,
            state,
            subscriptions: session.subscriptions.iter().map(subscription).collect(),
            will,
            received: session.received.iter().map(|packet_id| PacketIdLine(packet_id.get())).collect(),
            released: session.released.clone(),
            shifts: session.shifts.clone(),
            last_delivery: session.queue.last,
        }
    }
}

impl SessionLine {
    fn session(self) -> Result<RecoveredSession, Wrong> {
        let state = |state: StateLine| -> Result<SessionState, Wrong> {
            Ok(SessionState {
                client_id: state.client_id.into(),
                user_name: state.user_name.map(Into::into),
                proof: proof(state.proof)?,
                expiry_seconds: state.expiry_seconds,
                online: state.online,
                since: WallTime(state.since),
                sent_up_to: state.sent_up_to,
            })
        };
        let will = |will: WillLine| -> Result<Box<Will>, Wrong> {
            Ok(Box::new(Will {
                message: will.message.message()?,
                delay_seconds: will.delay_seconds,
                expiry_seconds: will.expiry_seconds,
                keep_alive_seconds: will.keep_alive_seconds,
            }))
        };
        let packet_id =
            |id: PacketIdLine| PacketId::new(id.0).ok_or_else(|| "0 is no Packet Identifier".to_owned());
        let subscription = |known: SubscriptionLine| RecoveredSubscription {
            filter: known.filter.into(),
            options: known.options,
            subscription_id: known.subscription_id,
        };
        Ok(RecoveredSession {
            key: SessionKey(self.key),
            state: self.state.map(state).transpose()?,
            subscriptions: self.subscriptions.into_iter().map(subscription).collect(),
            will: self.will.map(will).transpose()?,
            received: self.received.into_iter().map(packet_id).collect::<Result<_, _>>()?,
            released: self.released,
            shifts: self.shifts,
            queue: QueueExtent { last: self.last_delivery, ..QueueExtent::default() },
        })
    }
}

impl ReceiverLine {
    fn record(self, message: &Arc<Message>) -> Result<Record, Wrong> {
        let queued = QueuedDelivery {
            delivery: self.delivery,
            message: Arc::clone(message),
            qos: qos(self.qos)?,
            retain: self.retain,
            share: self.share.map(Into::into),
            subscription_ids: SubscriptionIds::from_slice(&self.subscription_ids),
        };
        Ok(Record::Queued { session: SessionKey(self.session), queued })
    }
}

fn receiver((session, queued): &(SessionKey, QueuedDelivery)) -> ReceiverLine {
    ReceiverLine {
        session: session.0,
        delivery: queued.delivery,
        qos: qos_bits(queued.qos),
        retain: queued.retain,
        share: queued.share.as_deref().map(str::to_owned),
        subscription_ids: queued.subscription_ids.as_slice().to_vec(),
    }
}

/// How often the files are listed again when one goes while they are opened: a running broker removes old ones.
const LISTINGS_MAX: usize = 20;

/// Writes all that is in the log in `data_dir`, as it is at one moment; a broker may be running. Gives back what was
/// damaged and is therefore missing.
///
/// # Errors
/// The log cannot be read, or `into` not written.
pub fn export(data_dir: &Path, into: &mut dyn Write) -> Result<Vec<Damage>, OpenError> {
    let disk = existing(data_dir)?;
    let mut attempt = 1;
    let (report, snapshot) = loop {
        match look(&disk) {
            Err(OpenError::Io { error, .. })
                if error.kind() == std::io::ErrorKind::NotFound && attempt < LISTINGS_MAX =>
            {
                attempt += 1;
            }
            looked => break looked?,
        }
    };
    snapshot.sync()?;
    let (recovered, unreadable) = snapshot.recover()?;
    let mut damages = report.damages;
    damages.extend(unreadable);
    let mut write = |line: &Line| -> Result<(), OpenError> {
        let failed = OpenError::io("write the export");
        match serde_json::to_writer(&mut *into, line)
            .map_err(std::io::Error::from)
            .and_then(|()| into.write_all(b"\n"))
        {
            Ok(()) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    };
    let (epoch, last_arrival) = (recovered.epoch, recovered.last_arrival);
    write(&Line::Log { version: FORMAT_VERSION, epoch, last_arrival })?;
    for session in &recovered.sessions {
        write(&Line::Session(Box::new(session.into())))?;
    }
    snapshot.waiting(&mut damages, |waiting| {
        let receivers = waiting.receivers.iter().map(receiver).collect();
        write(&Line::Queued { message: MessageLine::from(&*waiting.message), receivers })
    })?;
    for message in &recovered.retained {
        write(&Line::Retained { message: MessageLine::from(&**message) })?;
    }
    Ok(damages)
}

/// Why an import came to nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportError {
    /// The log cannot be made.
    Log(OpenError),
    /// A line is not what an export writes.
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Line { line, what } => write!(f, "line {line}: {what}"),
        }
    }
}

impl std::error::Error for ImportError {}

impl From<OpenError> for ImportError {
    fn from(error: OpenError) -> Self {
        Self::Log(error)
    }
}

/// Makes a log in `data_dir`, which has none, of what [`export`] wrote. Says how many lines that were. After an error
/// what was made is removed again.
///
/// # Errors
/// See [`ImportError`].
pub fn import(data_dir: &Path, from: &mut dyn BufRead) -> Result<usize, ImportError> {
    let folder = data_dir.join(LOG_FOLDER);
    let about = || OpenError::io(format!("make the log's folder {}", folder.display()));
    if folder.exists() {
        let mut entries = std::fs::read_dir(&folder).map_err(about())?;
        if entries.next().is_some() {
            return Err(OpenError::NotEmpty.into());
        }
    }
    let result = fill(&folder, from);
    if result.is_err() {
        // It was empty or not there; whoever tries again finds it so.
        let _ = std::fs::remove_dir_all(&folder);
    }
    result
}

fn fill(folder: &Path, from: &mut dyn BufRead) -> Result<usize, ImportError> {
    let mut log = None;
    let mut count = 0;
    for (at, line) in from.lines().enumerate() {
        let wrong = |what: String| ImportError::Line { line: at + 1, what };
        let line = line.map_err(|error| wrong(error.to_string()))?;
        let line: Line = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        let records = match (line, &mut log) {
            (Line::Log { version, epoch, last_arrival }, None) => {
                if version > FORMAT_VERSION {
                    return Err(wrong(format!("written by a newer cork (format {version})")));
                }
                let disk = RealDisk::new(folder).map_err(OpenError::io("make the log's folder"))?;
                let options = Options { durability: Durability::None, ..Options::default() };
                let mut new = Log::create(disk, options, epoch)?;
                new.index.latest_arrival = last_arrival;
                log = Some(new);
                Vec::new()
            }
            (Line::Log { .. }, Some(_)) => return Err(wrong("a second beginning".to_owned())),
            (_, None) => return Err(wrong("the first line must say `log`".to_owned())),
            (Line::Session(session), _) => session_records(&session.session().map_err(wrong)?),
            (Line::Queued { message, receivers }, _) => {
                let message = message.message().map_err(wrong)?;
                let records = receivers.into_iter().map(|receiver| receiver.record(&message));
                records.collect::<Result<_, _>>().map_err(wrong)?
            }
            (Line::Retained { message }, _) => {
                vec![Record::Retained { message: message.message().map_err(wrong)? }]
            }
        };
        if let Some(log) = &mut log {
            let op = Op::Append { shard: 0, ticket: Ticket(0), records };
            log.commit(&[op]).map_err(|error| wrong(error.to_string()))?;
        }
        count = at + 1;
    }
    match log {
        Some(mut log) => match log.close() {
            Ok(()) => Ok(count),
            Err(error) => Err(ImportError::Line { line: count, what: error.to_string() }),
        },
        None => Err(ImportError::Line { line: 1, what: "there is no line".to_owned() }),
    }
}
