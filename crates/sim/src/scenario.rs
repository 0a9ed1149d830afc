//! What is simulated: groups of devices, what each sends, and how they connect.
//!
//! A [`Scenario`] is a plain value: read from a TOML file by [`Scenario::load`], or filled by a command line.
//! [`Scenario::plan`] checks what must fit together and makes the [`Plan`] that is played.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use cork_client::{QoS, Version};
use cork_settings::error::Origin;
use jiff::Timestamp;

use crate::{pattern::Pattern, payload::Content, replay::Replay};

mod file;
mod plan;

pub use file::parse_jitter;
pub use plan::Plan;
pub(crate) use plan::{DeviceStatus, Kind};

/// Everything that can be said about a simulation.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// Where to connect.
    pub broker: Broker,
    /// The same seed gives the same topics, payloads, order and times. Without one they differ each time.
    pub seed: Option<u64>,
    /// The simulated date at the beginning. Without one it is now, or with a seed always the same.
    pub start: Option<Timestamp>,
    /// How fast simulated time goes.
    pub speed: Speed,
    /// When it ends, in simulated time.
    pub duration: Option<Duration>,
    /// After how many messages it ends; what devices say of their status is not counted.
    pub messages: Option<u64>,
    /// So many connections for all devices, instead of one for each.
    pub connections: Option<u32>,
    /// The devices.
    pub groups: Vec<Group>,
}

/// How fast simulated time goes.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as time; more than 0.
    Times(f64),
    /// Without waiting.
    Max,
}

impl Default for Speed {
    fn default() -> Self {
        Self::Times(1.0)
    }
}

/// Where to connect, as whom, and how.
#[derive(Clone, Debug)]
pub struct Broker {
    /// As `mqtt://127.0.0.1:1883`; its user and password, if it has any, count less than the fields.
    pub url: String,
    /// The User Name.
    pub username: Option<String>,
    /// The Password.
    pub password: Option<String>,
    /// The version to speak.
    pub version: Version,
    /// Certificates to trust for TLS, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The certificate devices show.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Whether any certificate will do.
    pub insecure: bool,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            url: "mqtt://127.0.0.1:1883".to_owned(),
            username: None,
            password: None,
            version: Version::default(),
            ca: None,
            cert: None,
            key: None,
            insecure: false,
        }
    }
}

/// Devices that are alike.
#[derive(Clone, Debug)]
pub struct Group {
    /// How many; without a number as many as the longest list has members, or one.
    pub count: Option<u32>,
    /// The Client Identifier, different for each device; [`Pattern::client_id`] unless it is said.
    pub client_id: Pattern,
    /// Placeholders of one's own: the first device takes the first member, and so on, over and over.
    pub lists: BTreeMap<String, Vec<String>>,
    /// What each device sends.
    pub messages: Vec<Message>,
    /// What each device says of itself.
    pub status: Option<Status>,
    /// How each device loses its connection.
    pub outage: Option<Outage>,
    /// Where it was said.
    pub origin: Origin,
}

/// One message, sent again and again.
#[derive(Clone, Debug)]
pub struct Message {
    /// The Topic Name.
    pub topic: Pattern,
    /// Time from one to the next; not 0. Not used where the rows of a file have times.
    pub every: Duration,
    /// How much earlier or later than due it may be; at most half of `every`.
    pub jitter: Duration,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// Whether it is sent only when it differs from the one before.
    pub on_change: bool,
    /// The payload.
    pub content: Content,
    /// The file that is replayed.
    pub replay: Option<Arc<Replay>>,
    /// Where it was said.
    pub origin: Origin,
}

impl Message {
    /// Time from one message to the next unless it is said.
    pub const EVERY: Duration = Duration::from_secs(1);
}

/// What a device says of itself, retained: when it connects, when it goes in order, and, by its Will, when it is gone.
#[derive(Clone, Debug)]
pub struct Status {
    /// The Topic Name.
    pub topic: Pattern,
    /// The payload while it is connected.
    pub online: String,
    /// The payload afterwards.
    pub offline: String,
    /// QoS.
    pub qos: QoS,
}

impl Status {
    /// With this topic, `online` and `offline`, and QoS 1, since this must not get lost.
    #[must_use]
    pub fn new(topic: Pattern) -> Self {
        Self { topic, online: "online".to_owned(), offline: "offline".to_owned(), qos: QoS::AtLeastOnce }
    }
}

/// How devices lose their connection. Each time is drawn between half and one and a half of what stands here.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// How long they are connected; not 0.
    pub every: Duration,
    /// How long they are away.
    pub away: Duration,
    /// Whether they say DISCONNECT. If not, the broker publishes their Will.
    pub orderly: bool,
}

impl Outage {
    /// How long devices are away unless it is said.
    pub const AWAY: Duration = Duration::from_secs(10);
}

/// The house that is simulated when nothing else is said, as a scenario file.
pub const HOUSE: &str = include_str!("house.toml");
