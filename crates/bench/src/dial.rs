//! Connections with their sessions: CONNECT to CONNACK, SUBSCRIBE to SUBACK, for thousands at a time.

use cork_packet::{
    ConnAck, Connect, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property, ProtocolVersion,
    QoS, ReasonCode, SubscribeBuf, SubscriptionOptions,
};
use hdrhistogram::Histogram;

use crate::Failure;
use crate::engine::{Engine, Handler};
use crate::latency;
use crate::target::{Sources, Target};
use crate::units::{MILLI, Nanos, SECOND, ratio};

/// A connection to make.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) client_id: String,
    /// The session outlives its connection.
    pub(crate) stays: bool,
    /// The connection is ended as soon as it is accepted.
    pub(crate) leaves: bool,
    pub(crate) filters: Vec<String>,
    pub(crate) qos: QoS,
}

/// A connection that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) id: usize,
    pub(crate) session_present: bool,
    /// How many QoS 1 and 2 messages the broker takes at a time.
    pub(crate) receive_maximum: u16,
}

/// What dialling brought.
pub(crate) struct Dialled {
    /// In the order of the sessions.
    pub(crate) links: Vec<Link>,
    /// From opening the socket to CONNACK.
    pub(crate) latency: Histogram<u64>,
    pub(crate) time: Nanos,
}

impl Dialled {
    /// Connections per second.
    pub(crate) fn rate(&self) -> f64 {
        ratio(self.links.len() as f64 * 1e9, self.time as f64)
    }
}

/// Passes everything that is not about dialling on to `inner`.
struct Dialler<'a, H> {
    target: &'a Target,
    sessions: &'a [Session],
    inner: &'a mut H,
    /// By connection: which session, and when it was opened.
    calls: Vec<Option<Call>>,
    links: Vec<Option<Link>>,
    latency: Histogram<u64>,
    /// Connections that wait for CONNACK.
    calling: usize,
    /// Connections that were told to end and are still there.
    leaving: usize,
    /// SUBACKs to come.
    pending: usize,
    /// When the last CONNACK came.
    connected_at: Nanos,
    failure: Option<String>,
}

#[derive(Clone, Copy)]
struct Call {
    session: usize,
    since: Nanos,
    answered: bool,
}

/// Opens all sessions, at most `concurrency` at a time, and subscribes. Packets of other kinds, and of connections made
/// before, go to `inner`.
///
/// # Errors
/// The broker is not there, says no, ends a connection, or does not answer before `deadline`.
pub(crate) fn dial<H: Handler>(
    engine: &mut Engine,
    target: &Target,
    sessions: &[Session],
    concurrency: usize,
    deadline: Nanos,
    sources: &mut Sources,
    inner: &mut H,
) -> Result<Dialled, Failure> {
    let start = engine.now();
    let mut dialler = Dialler {
        target,
        sessions,
        inner,
        calls: Vec::new(),
        links: vec![None; sessions.len()],
        latency: latency::histogram(),
        calling: 0,
        leaving: 0,
        pending: sessions.iter().map(subscribes).sum(),
        connected_at: start,
        failure: None,
    };
    let mut opened = 0;
    while opened < sessions.len() || dialler.calling + dialler.leaving + dialler.pending > 0 {
        while opened < sessions.len() && dialler.calling < concurrency.max(1) {
            dialler.call(engine, opened, sources)?;
            opened += 1;
        }
        turn(engine, &mut dialler, 100 * MILLI)?;
        if let Some(why) = dialler.failure {
            return Err(Failure::run(why));
        }
        if engine.now() > deadline {
            return Err(Failure::run(format!(
                "{}: {} of {} connections are up and {} SUBACKs are missing when the time is over; \
                 see what the broker does, or give --deadline more time",
                target.place(),
                dialler.links.iter().flatten().count(),
                sessions.len(),
                dialler.pending
            )));
        }
    }
    let time = dialler.connected_at.saturating_sub(start).max(1);
    Ok(Dialled { links: dialler.links.into_iter().flatten().collect(), latency: dialler.latency, time })
}

/// One turn of the engine, its error in words.
pub(crate) fn turn(engine: &mut Engine, handler: &mut impl Handler, wait: Nanos) -> Result<(), Failure> {
    engine.turn(handler, wait).map_err(|error| Failure::system("waiting for sockets", &error))
}

/// How many SUBSCRIBE packets a session needs.
fn subscribes(session: &Session) -> usize {
    session.filters.len().div_ceil(FILTERS_PER_SUBSCRIBE)
}

const FILTERS_PER_SUBSCRIBE: usize = 200;

impl<H: Handler> Dialler<'_, H> {
    fn call(&mut self, engine: &mut Engine, session: usize, sources: &mut Sources) -> Result<(), Failure> {
        let since = engine.now();
        let target = self.target;
        let id = sources.open(|source| engine.open(target, source)).map_err(|error| {
            Failure::run(format!(
                "{}: connection {} of {} cannot be opened: {error}; for want of ports give more --source addresses, for \
                 want of descriptors raise `ulimit -n`",
                target.place(),
                session + 1,
                self.sessions.len()
            ))
        })?;
        if id >= self.calls.len() {
            self.calls.resize(id + 1, None);
        }
        self.calls[id] = Some(Call { session, since, answered: false });
        self.calling += 1;
        self.inner.opened(id, session);
        connect(engine, id, target, &self.sessions[session]);
        Ok(())
    }

    fn answered(&mut self, engine: &mut Engine, id: usize, call: Call, answer: &ConnAck<'_>, now: Nanos) {
        if answer.code != 0 {
            let why = refusal(self.target.version, answer);
            self.failure = Some(format!("{} refuses the connection: {why}", self.target.place()));
            return;
        }
        self.calls[id] = Some(Call { answered: true, ..call });
        self.calling -= 1;
        self.connected_at = now;
        self.latency.saturating_record(now - call.since);
        self.links[call.session] = Some(Link {
            id,
            session_present: answer.session_present,
            receive_maximum: answer.properties.receive_maximum().unwrap_or(u16::MAX),
        });
        let session = &self.sessions[call.session];
        if session.leaves {
            self.leaving += 1;
            goodbye(engine, id);
        }
        for (number, filters) in (1..).zip(session.filters.chunks(FILTERS_PER_SUBSCRIBE)) {
            let Some(packet_id) = PacketId::new(number) else { break };
            let mut payload = SubscribeBuf::new();
            for filter in filters {
                if payload.push(filter, SubscriptionOptions::with_qos(session.qos)).is_err() {
                    self.failure = Some(format!("the filter `{filter}` is too long for MQTT"));
                }
            }
            engine.send(id, &Packet::Subscribe(payload.subscribe(packet_id, Properties::EMPTY)));
        }
    }
}

impl<H: Handler> Handler for Dialler<'_, H> {
    #[inline]
    fn packet(&mut self, engine: &mut Engine, id: usize, packet: Packet<'_>, now: Nanos) {
        let call = self.calls.get(id).copied().flatten();
        match (packet, call) {
            (Packet::ConnAck(answer), Some(call)) if !call.answered => {
                self.answered(engine, id, call, &answer, now);
            }
            (Packet::SubAck(answer), Some(call)) => {
                self.pending = self.pending.saturating_sub(1);
                let asked = self.sessions[call.session].qos.bits();
                if let Some(code) = answer.codes.iter().find(|&&code| code != asked) {
                    self.failure = Some(format!(
                        "{} does not grant a subscription: code {code:#04x} instead of QoS {asked}",
                        self.target.place()
                    ));
                }
            }
            (packet, _) => self.inner.packet(engine, id, packet, now),
        }
    }

    fn closed(&mut self, engine: &mut Engine, id: usize, why: &str) {
        let call = self.calls.get_mut(id).and_then(Option::take);
        if call.is_some_and(|call| call.answered && self.sessions[call.session].leaves) {
            self.leaving = self.leaving.saturating_sub(1);
        } else if call.is_some() {
            self.failure = Some(format!("{} {why} while connections were being made", self.target.place()));
        } else {
            self.inner.closed(engine, id, why);
        }
    }
}

/// Sends CONNECT.
fn connect(engine: &mut Engine, id: usize, target: &Target, session: &Session) {
    let mut properties = PropertiesBuf::new();
    if session.stays {
        properties.push(Property::SessionExpiryInterval(STAY_SECONDS));
    }
    engine.send(
        id,
        &Packet::Connect(Connect {
            version: target.version,
            bridge: false,
            clean_start: !session.stays,
            keep_alive: target.keep_alive,
            client_id: &session.client_id,
            will: None,
            user_name: target.user.as_deref(),
            password: target.password.as_deref().map(str::as_bytes),
            properties: properties.as_properties(),
        }),
    );
}

fn refusal(version: ProtocolVersion, answer: &ConnAck<'_>) -> String {
    let name = if version.is_v5() {
        ReasonCode(answer.code).name().unwrap_or("unknown reason")
    } else {
        match answer.code {
            1 => "it does not speak this version of MQTT; try --protocol",
            2 => "it does not like the client identifier",
            3 => "it is not available",
            4 => "bad user name or password; give --user and --password",
            5 => "not authorized; give --user and --password",
            _ => "unknown reason",
        }
    };
    let said =
        answer.properties.reason_string().map(|reason| format!(", it says `{reason}`")).unwrap_or_default();
    format!("code {:#04x}, {name}{said}", answer.code)
}

/// Long enough for any measurement, short enough that nothing stays behind for ever.
const STAY_SECONDS: u32 = 3600;

fn goodbye(engine: &mut Engine, id: usize) {
    let goodbye = Disconnect { reason: ReasonCode::NORMAL_DISCONNECTION, properties: Properties::EMPTY };
    engine.send(id, &Packet::Disconnect(goodbye));
}

/// Says goodbye on all connections and waits until the broker ended them, so that the ports rest on its side.
pub(crate) fn hang_up(engine: &mut Engine, ids: &[usize]) -> Result<Nanos, Failure> {
    let start = engine.now();
    let mut leaving = Leaving { left: ids.iter().filter(|&&id| engine.is_open(id)).count() };
    for chunk in ids.chunks(500) {
        for &id in chunk {
            // Of a connection that is over nothing is sent.
            goodbye(engine, id);
        }
        turn(engine, &mut leaving, 0)?;
    }
    while leaving.left > 0 && engine.now() < start + 3 * SECOND {
        turn(engine, &mut leaving, 50 * MILLI)?;
    }
    for &id in ids {
        if engine.is_open(id) {
            engine.close(id);
        }
    }
    Ok(engine.now() - start)
}

struct Leaving {
    left: usize,
}

impl Handler for Leaving {
    fn packet(&mut self, _: &mut Engine, _: usize, _: Packet<'_>, _: Nanos) {}

    fn closed(&mut self, _: &mut Engine, _: usize, _: &str) {
        self.left = self.left.saturating_sub(1);
    }
}

/// A handler for when nothing is expected.
#[derive(Default)]
pub(crate) struct Silence {
    /// Connections that the broker ended.
    pub(crate) ended: u64,
    pub(crate) pings: u64,
}

impl Handler for Silence {
    fn packet(&mut self, _: &mut Engine, _: usize, packet: Packet<'_>, _: Nanos) {
        self.pings += u64::from(packet == Packet::PingResp);
    }

    fn closed(&mut self, _: &mut Engine, _: usize, _: &str) {
        self.ended += 1;
    }
}
