//! From a scenario to devices: placeholders are filled, and what does not fit together is found.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cork_client::QoS;
use cork_packet::validate_name;
use cork_settings::error::{ConfigError, ConfigErrors, Origin};

use super::{Broker, Content, Group, Message, Outage, Pattern, Replay, Scenario, Speed};
use crate::{
    clock::{Clock, SEEDED_START},
    model::Model,
};

/// Devices nobody simulates more of on one machine; each keeps a few hundred bytes.
const DEVICES_MAX: u32 = 1_000_000;

/// A scenario that fits together, with every device in it.
#[derive(Debug)]
pub struct Plan {
    pub(crate) broker: Broker,
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
    pub(crate) speed: Speed,
    pub(crate) duration: Option<Duration>,
    pub(crate) messages: Option<u64>,
    pub(crate) connections: Option<u32>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) devices: Vec<Device>,
}

/// A message of a group, without what differs between its devices.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) every: Duration,
    pub(crate) jitter: Duration,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) on_change: bool,
    pub(crate) content: Content,
    pub(crate) replay: Option<Arc<Replay>>,
}

/// One device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) client_id: Arc<str>,
    /// Topics with the kind of message that goes there.
    pub(crate) topics: Box<[(Arc<str>, usize)]>,
    pub(crate) status: Option<Box<DeviceStatus>>,
    pub(crate) outage: Option<Outage>,
    /// The place in its group, from 0 up to 1: devices of a group send one after the other.
    pub(crate) phase: f64,
}

/// What one device says of itself.
#[derive(Clone, Debug)]
pub(crate) struct DeviceStatus {
    pub(crate) topic: Arc<str>,
    pub(crate) online: String,
    pub(crate) offline: String,
    pub(crate) qos: QoS,
}

impl Scenario {
    /// Fills the placeholders of every device. `run` is the value of `{run}`: what makes the Client Identifiers of
    /// this run different from those of another. Without a seed of its own the scenario takes `seed`.
    ///
    /// # Errors
    /// Everything that does not fit together: unknown placeholders, columns without a file, Topic Names that are
    /// none, devices with the same Client Identifier, outages of shared connections.
    pub fn plan(self, run: &str, seed: u64) -> Result<Plan, ConfigErrors> {
        let mut errors = Vec::new();
        let mut kinds = Vec::new();
        let mut devices = Vec::new();
        if self.groups.is_empty() {
            errors.push(fault(
                &Origin::Default,
                "device",
                "there is no device; each begins with `[[device]]`",
            ));
        }
        for group in &self.groups {
            let problems = group.problems(self.connections.is_some());
            if problems.is_empty() {
                group.unfold(run, &mut kinds, &mut devices);
            }
            errors.extend(problems);
        }
        errors.extend(self.unfit(&devices));
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let start = match (self.start, self.seed) {
            (Some(start), _) => Some(start),
            (None, Some(_)) => SEEDED_START.parse().ok(),
            (None, None) => None,
        };
        Ok(Plan {
            broker: self.broker,
            seed: self.seed.unwrap_or(seed),
            clock: start.map_or_else(Clock::now, Clock::at),
            speed: self.speed,
            duration: self.duration,
            messages: self.messages,
            connections: self.connections,
            kinds,
            devices,
        })
    }

    /// What is wrong between groups, or with names and topics once they are filled.
    fn unfit(&self, devices: &[Device]) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let origin = self.groups.first().map_or(&Origin::Default, |group| &group.origin);
        let mut ids = BTreeSet::new();
        if let Some(twin) = devices.iter().find(|device| !ids.insert(&device.client_id)) {
            let what = format!(
                "two devices are called `{}`, and a broker lets in only one; put {{n}} or a list into client_id",
                twin.client_id
            );
            errors.push(fault(origin, "client_id", &what));
        }
        let topics = devices.iter().flat_map(|device| {
            let status = device.status.iter().map(|status| &status.topic);
            device.topics.iter().map(|(topic, _)| topic).chain(status)
        });
        for topic in topics {
            if let Err(why) = validate_name(topic) {
                errors.push(fault(origin, "topic", &format!("`{topic}` is no topic to publish to: {why}")));
                break;
            }
        }
        errors
    }
}

impl Group {
    fn devices(&self) -> u32 {
        let longest = self.lists.values().map(Vec::len).max().unwrap_or(1);
        self.count.unwrap_or_else(|| u32::try_from(longest).unwrap_or(u32::MAX))
    }

    fn problems(&self, shared: bool) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut wrong = |origin: &Origin, key: &str, what: String| errors.push(fault(origin, key, &what));
        if !(1..=DEVICES_MAX).contains(&self.devices()) {
            wrong(&self.origin, "count", format!("accepted are 1 to {DEVICES_MAX} devices"));
        }
        for (name, list) in &self.lists {
            if list.is_empty() {
                wrong(&self.origin, "lists", format!("the list `{name}` is empty"));
            }
            if OWN.contains(&name.as_str()) {
                wrong(
                    &self.origin,
                    "lists",
                    format!("{{{name}}} has a meaning already; choose another name"),
                );
            }
        }
        if self.messages.is_empty() && self.status.is_none() {
            wrong(
                &self.origin,
                "message",
                "the device sends nothing; `[[device.message]]` begins a message".to_owned(),
            );
        }
        if shared && self.outage.is_some() {
            wrong(
                &self.origin,
                "outage",
                "devices that share connections cannot lose them one by one; leave out `connections`"
                    .to_owned(),
            );
        }
        let status = self.status.iter().map(|status| (&self.origin, "status.topic", &status.topic));
        let topics = self.messages.iter().map(|message| (&message.origin, "topic", &message.topic));
        let id = [(&self.origin, "client_id", &self.client_id)];
        for (origin, key, pattern) in status.chain(topics).chain(id) {
            for name in pattern.names().filter(|name| !self.knows(name, key)) {
                let known: Vec<String> = self.names(key).map(|name| format!("{{{name}}}")).collect();
                wrong(origin, key, format!("nothing is called {{{name}}}; there are {}", known.join(", ")));
            }
        }
        errors.extend(self.messages.iter().flat_map(Message::problems));
        errors
    }

    fn names(&self, key: &str) -> impl Iterator<Item = &str> {
        let own = OWN.into_iter().filter(move |name| key != "client_id" || *name != "client_id");
        own.chain(self.lists.keys().map(String::as_str))
    }

    fn knows(&self, name: &str, key: &str) -> bool {
        self.names(key).any(|known| known == name)
    }

    /// Its devices, one by one.
    fn unfold(&self, run: &str, kinds: &mut Vec<Kind>, devices: &mut Vec<Device>) {
        let first_kind = kinds.len();
        kinds.extend(self.messages.iter().map(Message::kind));
        let mut values: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, list) in &self.lists {
            values.insert(name, list.iter().map(String::as_str).collect());
        }
        let count = self.devices();
        for index in 0..count {
            let value = |name: &str| match name {
                "n" => Some((index + 1).to_string()),
                "run" => Some(run.to_owned()),
                _ => {
                    let list = values.get(name)?;
                    Some((*list.get(index as usize % list.len())?).to_owned())
                }
            };
            let client_id: Arc<str> = self.client_id.fill(value).into();
            let topic = |pattern: &Pattern| -> Arc<str> {
                let id = || client_id.to_string();
                pattern.fill(|name| if name == "client_id" { Some(id()) } else { value(name) }).into()
            };
            let topics =
                self.messages.iter().zip(first_kind..).map(|(message, kind)| (topic(&message.topic), kind));
            let status = self.status.as_ref().map(|status| {
                let (online, offline) = (status.online.clone(), status.offline.clone());
                Box::new(DeviceStatus { topic: topic(&status.topic), online, offline, qos: status.qos })
            });
            devices.push(Device {
                topics: topics.collect(),
                status,
                outage: self.outage,
                phase: f64::from(index) / f64::from(count),
                client_id,
            });
        }
    }
}

/// Placeholders that every group has.
const OWN: [&str; 3] = ["n", "run", "client_id"];

impl Message {
    fn problems(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for value in self.content.values() {
            if let Model::Column(name) = &value.model {
                match &self.replay {
                    None => errors.push(fault(
                        &self.origin,
                        "value",
                        &format!("the column `{name}` is of no file; name one with `replay`"),
                    )),
                    Some(replay) => {
                        errors.extend(
                            replay
                                .column(name)
                                .err()
                                .map(|why| fault(&self.origin, "value", &why.to_string())),
                        );
                    }
                }
            }
        }
        if self.jitter > self.every / 2 {
            let what = "the jitter is more than half of the time between two messages, so that they would overtake each other";
            errors.push(fault(&self.origin, "jitter", what));
        }
        errors
    }

    fn kind(&self) -> Kind {
        Kind {
            every: self.every,
            jitter: self.jitter,
            qos: self.qos,
            retain: self.retain,
            on_change: self.on_change,
            content: self.content.clone(),
            replay: self.replay.clone(),
        }
    }
}

fn fault(origin: &Origin, key: &str, what: &str) -> ConfigError {
    let key = match origin {
        Origin::CommandLine => String::new(),
        Origin::Default | Origin::File { .. } => key.to_owned(),
    };
    ConfigError { origin: origin.clone(), key, message: what.to_owned() }
}
