//! Devices with real connections.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use cork_client::{
    Client, ConnectError, Connector, Disconnected, Event, Events, Options, Publish, PublishError,
    PublishHandle, QoS, Reconnect, Tls,
};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    cut::Cuttable,
    play::{PlayError, Stop, Summary},
    reach::{Reach, Say, Standing},
    scenario::{Broker, DeviceStatus, Plan, Speed},
    schedule::{Action, Step},
};

/// Connections on their way at the same time: a broker should not take a simulation for an attack, and one that checks
/// passwords as slowly as it should must come to the last of these before it gives up.
const CONNECTING_MAX: usize = 32;
/// Messages of one device that wait for its connection; further ones are missed.
const WAITING_MESSAGES_MAX: usize = 16;
/// Their bytes.
const WAITING_BYTES_MAX: usize = 64 * 1024;
/// How long a device that leaves waits for acknowledgements.
const GOODBYE: Duration = Duration::from_secs(3);
/// How soon, and how late, a device tries again.
const RECONNECT: Reconnect =
    Reconnect { min: Duration::from_millis(250), max: Duration::from_secs(10), attempts: None };

/// All connections.
pub(crate) struct Fleet {
    plan: Arc<Plan>,
    options: Options,
    sockets: Arc<dyn Connector>,
    /// By device, or, where devices share connections, by connection.
    links: Vec<Option<Link>>,
    reach: Arc<Reach>,
    counts: Arc<Counts>,
    leaving: JoinSet<()>,
}

/// One connection.
struct Link {
    client: Client,
    line: Cuttable,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    bytes: AtomicU64,
    missed: AtomicU64,
    refused: AtomicU64,
    outages: AtomicU64,
}

impl Fleet {
    /// Connects all devices that are there at the beginning. A broker that is not there is waited for.
    pub(crate) async fn launch(plan: Arc<Plan>, stop: &Stop, say: Say) -> Result<Self, PlayError> {
        let links = plan.connections.map_or(plan.devices.len(), |connections| connections as usize);
        let links = links.min(plan.devices.len());
        crate::descriptors::allow(links)?;
        let options = options(&plan.broker).map_err(PlayError::Connect)?;
        let sockets = options.sockets().map_err(PlayError::Connect)?;
        let reach = Arc::new(Reach::new(without_login(&plan.broker.url), say));
        let mut fleet = Self {
            plan,
            options,
            sockets,
            links: (0..links).map(|_| None).collect(),
            reach,
            counts: Arc::default(),
            leaving: JoinSet::new(),
        };
        for link in 0..links {
            fleet.connect(link).map_err(PlayError::Connect)?;
            fleet.arrived(link + 1, CONNECTING_MAX, stop).await?;
        }
        fleet.arrived(links, 1, stop).await?;
        fleet.reach.begun();
        fleet.greet();
        Ok(fleet)
    }

    fn greet(&self) {
        let devices = self.plan.devices.len();
        let shared = match self.plan.connections {
            Some(_) => format!(" over {} connections, without last wills", self.links.len()),
            None => String::new(),
        };
        let plural = if devices == 1 { " is" } else { "s are" };
        self.reach
            .say(&format!("{devices} device{plural} connected to {}{shared}; Ctrl-C ends", self.reach.url()));
    }

    /// Waits until fewer than `open` of the first `started` connections are on their way.
    async fn arrived(&self, started: usize, open: usize, stop: &Stop) -> Result<(), PlayError> {
        let arrived = self.reach.arrived(|arrived| started - arrived.min(started) < open);
        match stop.or(arrived).await {
            Some(Ok(())) => Ok(()),
            Some(Err(refused)) => Err(PlayError::Connect(refused)),
            None => Err(PlayError::NotReached(self.reach.why())),
        }
    }

    fn connect(&mut self, link: usize) -> Result<(), ConnectError> {
        let mut options = self.options.clone();
        let device = &self.plan.devices[link];
        let line = Cuttable::new(Arc::clone(&self.sockets));
        options = options.client_id(&*device.client_id).connector(line.clone());
        let riders = self.riders(link);
        let waiting = WAITING_MESSAGES_MAX.saturating_mul(riders.clone().count());
        options = options.queue(waiting, WAITING_BYTES_MAX.saturating_mul(riders.count()));
        if let (None, Some(status)) = (self.plan.connections, &device.status) {
            options = options.will(status.message(&status.offline));
        }
        let client = Client::start(options)?;
        let watch = Watch { client: client.clone(), plan: Arc::clone(&self.plan), riders: self.riders(link) };
        tokio::spawn(watch.run(client.events(), Arc::clone(&self.reach)));
        self.links[link] = Some(Link { client, line });
        Ok(())
    }

    /// The devices on a connection.
    fn riders(&self, link: usize) -> Riders {
        (link..self.plan.devices.len()).step_by(self.links.len())
    }

    /// Does one step; false when it was stopped meanwhile.
    pub(crate) async fn act(&mut self, step: &Step, stop: &Stop) -> Result<bool, PlayError> {
        match &step.action {
            Action::Rest => {}
            // At the beginning they are connected before the clock starts.
            Action::Connect if self.links[step.device % self.links.len()].is_some() => {}
            Action::Connect => self.connect(step.device).map_err(PlayError::Connect)?,
            Action::Leave | Action::Crash => {
                self.counts.outages.fetch_add(1, Relaxed);
                if let Some(link) = self.links[step.device].take() {
                    let is_crash = step.action == Action::Crash;
                    let farewells = if is_crash { Vec::new() } else { self.farewells(step.device) };
                    self.leaving.spawn(link.end(farewells, is_crash));
                }
                while self.leaving.try_join_next().is_some() {}
            }
            Action::Publish { topic, payload, qos, retain } => {
                let Some(link) = &self.links[step.device % self.links.len()] else { return Ok(true) };
                let message = Publish::new(Arc::clone(topic), payload.clone()).qos(*qos).retain(*retain);
                let taken = match link.client.try_publish(message) {
                    Err(PublishError::Full(message)) if self.plan.speed == Speed::Max => {
                        match stop.or(link.client.publish(*message)).await {
                            Some(taken) => taken,
                            None => return Ok(false),
                        }
                    }
                    taken => taken,
                };
                self.count(taken, payload.len() as u64, *qos != QoS::AtMostOnce);
            }
        }
        Ok(true)
    }

    /// Counts a message that was handed to a connection, or was not; of QoS 1 and 2 the broker says what it thinks.
    fn count(&self, taken: Result<PublishHandle, PublishError>, bytes: u64, is_answered: bool) {
        let Ok(handle) = taken else {
            self.counts.missed.fetch_add(1, Relaxed);
            return;
        };
        self.counts.sent.fetch_add(1, Relaxed);
        self.counts.bytes.fetch_add(bytes, Relaxed);
        if is_answered {
            let counts = Arc::clone(&self.counts);
            tokio::spawn(async move {
                if let Err(PublishError::Refused { .. }) = handle.await {
                    counts.refused.fetch_add(1, Relaxed);
                }
            });
        }
    }

    /// What the devices of a connection say at the end.
    fn farewells(&self, link: usize) -> Vec<Publish> {
        let status = |device: usize| self.plan.devices[device].status.as_deref();
        self.riders(link).filter_map(status).map(|status| status.message(&status.offline)).collect()
    }

    /// All devices leave in order.
    pub(crate) async fn end(mut self) -> Summary {
        self.reach.hush();
        for index in 0..self.links.len() {
            if let Some(link) = self.links[index].take() {
                self.leaving.spawn(link.end(self.farewells(index), false));
            }
        }
        while self.leaving.join_next().await.is_some() {}
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        Summary {
            sent: count(&self.counts.sent),
            bytes: count(&self.counts.bytes),
            missed: count(&self.counts.missed),
            refused: count(&self.counts.refused),
            outages: count(&self.counts.outages),
            losses: self.reach.losses(),
            ..Summary::default()
        }
    }
}

/// The numbers of devices that share a connection.
type Riders = std::iter::StepBy<Range<usize>>;

impl Link {
    async fn end(self, farewells: Vec<Publish>, is_crash: bool) {
        if is_crash {
            self.line.cut();
        } else if self.client.is_connected() {
            // Who cannot say goodbye in time goes without.
            let goodbye = async {
                for farewell in farewells {
                    if self.client.publish(farewell).await.is_err() {
                        return;
                    }
                }
                self.client.flush().await.unwrap_or_default();
            };
            timeout(GOODBYE, goodbye).await.unwrap_or_default();
        }
        timeout(GOODBYE, self.client.disconnect()).await.unwrap_or_default();
    }
}

/// Follows what becomes of a connection.
struct Watch {
    client: Client,
    plan: Arc<Plan>,
    riders: Riders,
}

impl Watch {
    async fn run(self, mut events: Events, reach: Arc<Reach>) {
        let mut standing = Standing::default();
        let mut last = None;
        while let Some(event) = events.next().await {
            match event {
                Event::Connected(_) => {
                    self.riders.clone().for_each(|device| self.say_online(device));
                    reach.connected(&mut standing);
                    last = None;
                }
                Event::ConnectFailed(why) => {
                    reach.failed(&mut standing, &why);
                    last = Some(why);
                }
                Event::Disconnected(Disconnected::ByUs) => {}
                Event::Disconnected(why) => {
                    reach.lost(&mut standing, &why);
                    last = Some(ConnectError::Disconnected(why));
                }
                Event::Closed => break,
                _ => {}
            }
        }
        reach.ended(&mut standing, last.as_ref());
    }

    fn say_online(&self, device: usize) {
        if let Some(status) = &self.plan.devices[device].status {
            // A connection that is so slow that this finds no room comes to an end anyway.
            drop(self.client.try_publish(status.message(&status.online)));
        }
    }
}

impl DeviceStatus {
    fn message(&self, payload: &str) -> Publish {
        Publish::new(Arc::clone(&self.topic), payload.to_owned()).qos(self.qos).retain(true)
    }
}

/// What all devices have in common.
fn options(broker: &Broker) -> Result<Options, ConnectError> {
    let wrong = |what: &str| Err(ConnectError::Options(what.to_owned()));
    let mut options = Options::new(&broker.url)?.version(broker.version).reconnect(RECONNECT);
    options = match (&broker.username, &broker.password) {
        (Some(user), Some(password)) => options.credentials(user.clone(), password.clone()),
        (Some(user), None) => options.user_name(user.clone()),
        (None, Some(_)) => return wrong("a password needs a user name"),
        (None, None) => options,
    };
    let mut tls = Tls::new();
    if let Some(ca) = &broker.ca {
        tls = tls.ca_file(ca)?;
    }
    tls = match (&broker.cert, &broker.key) {
        (Some(cert), Some(key)) => tls.client_certificate_files(cert, key)?,
        (None, None) => tls,
        _ => return wrong("a certificate and its key stand together; one of them is missing"),
    };
    if broker.insecure {
        tls = tls.dangerously_trust_any_server();
    }
    Ok(options.tls(tls))
}

/// The URL for people to read.
fn without_login(url: &str) -> String {
    match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://{host}"),
        None => url.to_owned(),
    }
}
