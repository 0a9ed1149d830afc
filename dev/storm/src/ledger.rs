//! The book of a storm: what was published, subscribed and delivered, and when, as the clients saw it.
//!
//! The broker's word is taken for one thing only: *when* a connection began and ended, which it says in its events.

use std::collections::{BTreeMap, BTreeSet};

use cork_core::Ended;
use cork_packet::{ProtocolVersion, QoS, matches};
use cork_proto::Time;
use cork_store::SessionKey;

use crate::{
    link::{Link, LinkIx},
    net::Notice,
    past::Reading,
    presence::{Known, reason_of},
    trail::{Point, Trail},
};

/// What is known of a publication's fate in the broker.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The broker acknowledged it, or (a Will) must have published it.
    Taken,
    /// It may have arrived or not.
    Open,
    /// A Will that is not due: nobody may get it.
    Never,
}

/// A message, or a Will.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) client: usize,
    pub(crate) topic: &'static str,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) payload: Vec<u8>,
    /// The connection it was first sent on.
    pub(crate) link: LinkIx,
    /// First sending; of a Will: when it was due.
    pub(crate) sent: Time,
    /// Acknowledged: from then on the broker answers for it.
    pub(crate) acked: Option<Time>,
    /// How often it was sent again.
    pub(crate) resends: usize,
    /// Message Expiry Interval, seconds.
    pub(crate) expiry: Option<u32>,
    pub(crate) will: bool,
    pub(crate) fate: Fate,
}

/// One life of a Session.
#[derive(Clone, Debug)]
pub(crate) struct Incarnation {
    pub(crate) client: usize,
    /// Seconds it outlives its connection.
    pub(crate) expiry: u32,
    pub(crate) link: LinkIx,
    /// When its connection ended.
    pub(crate) offline: Option<Time>,
    /// It was replaced, or ended with its connection.
    pub(crate) over: Option<Time>,
    /// It ended because the broker died.
    pub(crate) died: bool,
    /// From when to when it was over, until a crash: the store had not heard of that, so it is there again.
    pub(crate) gaps: Vec<(Time, Time)>,
}

/// One SUBSCRIBE of one filter.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) link: LinkIx,
    pub(crate) filter: &'static str,
    /// Share name.
    pub(crate) share: Option<usize>,
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    /// Retained messages were asked for.
    pub(crate) wants_retained: bool,
    pub(crate) requested: Time,
    /// SUBACK.
    pub(crate) granted: Option<Time>,
    /// UNSUBSCRIBE was sent.
    pub(crate) given_up: Option<Time>,
    /// UNSUBACK.
    pub(crate) ended: Option<Time>,
}

/// A PUBLISH that a client's application got.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) incarnation: usize,
    pub(crate) publication: usize,
    pub(crate) qos: QoS,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) at: Time,
}

/// A Will that waits for its delay.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Delayed {
    pub(crate) publication: usize,
    pub(crate) due: Time,
    /// Of an earlier life of the broker: void if the client comes back in time, whatever it wants.
    pub(crate) void_at_return: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) publications: Vec<Publication>,
    pub(crate) incarnations: Vec<Incarnation>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) readings: Vec<Reading>,
    /// By client: its Session as the broker has it.
    pub(crate) current: Vec<Option<usize>>,
    pub(crate) delayed: Vec<Option<Delayed>>,
    /// By client: what the store may know.
    pub(crate) trails: Vec<Trail>,
    /// Incarnations by what the store calls them.
    pub(crate) keys: BTreeMap<SessionKey, usize>,
    /// By client: what is known of its connections.
    pub(crate) known: Vec<Known>,
    /// A queue was full: messages may be missing.
    pub(crate) lossy: bool,
    /// A failing disk did not give a message back: the store still has it.
    pub(crate) damaged: bool,
    /// Publications a client refused after taking them: it no longer knows them when they come again.
    pub(crate) refused: BTreeSet<usize>,
}

impl Ledger {
    pub(crate) fn add_client(&mut self) {
        self.current.push(None);
        self.delayed.push(None);
        self.trails.push(Trail::default());
        self.known.push(Known::default());
    }

    /// The payload of the next publication: its number, and filler that shows when bytes are missing or mixed up.
    pub(crate) fn payload(&self, length: usize) -> Vec<u8> {
        let number = u32::try_from(self.publications.len()).unwrap_or(u32::MAX).to_be_bytes();
        let block = number.iter().cycle().zip(0u8..=255).map(|(a, b)| a ^ b);
        let mut payload: Vec<u8> = block.take(length.max(8)).collect();
        let block = payload.clone();
        while payload.len() < length {
            payload.extend_from_slice(&block[..block.len().min(length - payload.len())]);
        }
        payload
    }

    /// Which publication has this topic and payload.
    pub(crate) fn find(&self, topic: &str, payload: &[u8]) -> Result<usize, String> {
        let mut number = [0; 4];
        for (at, slot) in (0u8..).zip(&mut number) {
            *slot = payload.get(usize::from(at)).ok_or("a payload nobody published: too short")? ^ at;
        }
        let number = u32::from_be_bytes(number) as usize;
        match self.publications.get(number) {
            Some(known) if known.topic == topic && known.payload == payload => Ok(number),
            Some(known) if known.topic != topic => {
                Err(format!("message {number} was published to {}, not to {topic}", known.topic))
            }
            _ => Err(format!("a payload nobody published, on {topic}")),
        }
    }

    /// The broker said something of a connection. Checks what it may say.
    pub(crate) fn on_notice(
        &mut self,
        now: Time,
        notice: Notice,
        links: &mut [Link],
        fired: &dyn Fn(usize) -> Time,
    ) -> Result<(), String> {
        match notice {
            Notice::Connected { link, session_present } => {
                self.on_connected(now, link, session_present, links, fired)
            }
            Notice::Ended { link, cause } => self.on_ended(now, link, &cause, links),
            Notice::QueueFull => {
                self.lossy = true;
                Ok(())
            }
            Notice::Damaged => {
                (self.lossy, self.damaged) = (true, true);
                Ok(())
            }
            Notice::Recorded { client_id, key } => {
                let number = client_id.rsplit('-').next().and_then(|number| number.parse().ok());
                match number {
                    Some(client) if client_id.starts_with("client") => self.on_recorded(client, key),
                    _ => Ok(()),
                }
            }
        }
    }

    fn on_connected(
        &mut self,
        now: Time,
        link: LinkIx,
        session_present: bool,
        links: &mut [Link],
        fired: &dyn Fn(usize) -> Time,
    ) -> Result<(), String> {
        let entry = links.get_mut(link).ok_or("a connection nobody opened")?;
        let (client, greeting) = (entry.client, entry.greeting.clone());
        let timers = entry.at.map_or(Time::ZERO, |(shard, _)| fired(shard));
        let before = self.current[client].filter(|ix| self.incarnations[*ix].over.is_none());
        self.check_session_present(now, before, &greeting, session_present, timers)?;
        let incarnation = match before {
            Some(ix) if session_present => {
                let session = &mut self.incarnations[ix];
                (session.expiry, session.link, session.offline) = (greeting.expiry, link, None);
                ix
            }
            _ => {
                if let Some(ix) = before {
                    self.incarnations[ix].over = Some(now);
                }
                self.incarnations.push(Incarnation {
                    client,
                    expiry: greeting.expiry,
                    link,
                    offline: None,
                    over: None,
                    died: false,
                    gaps: Vec::new(),
                });
                self.incarnations.len() - 1
            }
        };
        self.current[client] = Some(incarnation);
        self.known[client].came = true;
        (entry.incarnation, entry.session_present) = (Some(incarnation), session_present);
        self.will_at_return(client, now, session_present, timers);
        let entry = &links[link];
        self.trace_connected(client, link, entry, !session_present);
        Ok(())
    }

    /// A delayed Will: cancelled by coming back in time, due by the end of the Session (5.0 [MQTT-3.1.3-9]).
    fn will_at_return(&mut self, client: usize, now: Time, session_present: bool, timers: Time) {
        let Some(Delayed { publication, due, void_at_return }) = self.delayed[client].take() else { return };
        let ends_session = !session_present && now < due && !void_at_return;
        if timers >= due || ends_session {
            self.take_will(publication, due.min(now), None);
        } else if now >= due {
            self.publications[publication].fate = Fate::Open; // late timers: both are right
            self.publications[publication].sent = due;
        } else if self.publications[publication].resends > 0 {
            self.publications[publication].fate = Fate::Open; // it was out before the broker died
        }
        if ends_session {
            let will_only = Point { will: Some(publication), due: Some(now), ..Point::default() };
            self.trails[client].points.push(will_only);
        }
    }

    /// A Session is there exactly if it was kept and its time is not over (3.1.1, 5.0 [MQTT-3.2.2-2] and -3).
    fn check_session_present(
        &self,
        now: Time,
        before: Option<usize>,
        greeting: &crate::link::Greeting,
        session_present: bool,
        timers: Time,
    ) -> Result<(), String> {
        let Some(session) = before.map(|ix| &self.incarnations[ix]) else {
            return if session_present { Err("a Session out of nowhere".into()) } else { Ok(()) };
        };
        if greeting.clean {
            return if session_present { Err("Clean Start found a Session".into()) } else { Ok(()) };
        }
        let offline = session.offline.ok_or("connected twice at a time")?;
        let expires = offline.plus_seconds(u64::from(session.expiry));
        if session_present && timers >= expires {
            Err(format!("a Session that ended at {expires} is there"))
        } else if !session_present && now < expires {
            Err(format!("the Session of client {} is lost before {expires}", session.client))
        } else {
            Ok(())
        }
    }

    fn on_ended(&mut self, now: Time, link: LinkIx, cause: &Ended, links: &mut [Link]) -> Result<(), String> {
        let entry = links.get(link).ok_or("a connection nobody opened")?;
        check_cause(now, entry, cause)?;
        let Some(incarnation) = entry.incarnation else { return Ok(()) };
        let session = &mut self.incarnations[incarnation];
        let said_goodbye = matches!(cause, Ended::ByClient | Ended::ByClientWithWill);
        if let Some(expiry) = entry.farewell.and_then(|farewell| farewell.expiry).filter(|_| said_goodbye) {
            session.expiry = expiry;
        }
        session.offline = Some(now);
        if session.expiry == 0 {
            session.over = Some(now);
        }
        let (client, expiry) = (session.client, session.expiry);
        let will = entry.greeting.will.map(|(publication, _)| publication);
        if let Some((publication, delay)) = entry.greeting.will
            && !matches!(cause, Ended::ByClient)
        {
            if delay == 0 || expiry == 0 {
                self.take_will(publication, now, Some(now));
            } else {
                let due = now.plus_seconds(u64::from(delay.min(expiry)));
                self.delayed[client] = Some(Delayed { publication, due, void_at_return: false });
            }
        }
        self.known[client].reason = Some(reason_of(cause));
        self.trace_ended(client, incarnation, cause, will);
        Ok(())
    }

    /// A Will is due. `acked`: when it surely was published; a timer may be noticed late.
    fn take_will(&mut self, publication: usize, due: Time, acked: Option<Time>) {
        let will = &mut self.publications[publication];
        (will.fate, will.sent, will.acked) = (Fate::Taken, due, acked);
    }

    /// Settles the delayed Wills at the end.
    pub(crate) fn close(&mut self, shard_of: &dyn Fn(usize) -> usize, fired: &dyn Fn(usize) -> Time) {
        for client in 0..self.delayed.len() {
            let Some(Delayed { publication, due, .. }) = self.delayed[client].take() else { continue };
            if fired(shard_of(client)) >= due {
                self.take_will(publication, due, None);
            } else {
                self.publications[publication].fate = Fate::Open;
            }
        }
    }

    /// The Session a client has in the broker.
    pub(crate) fn current(&self, client: usize) -> Option<usize> {
        self.current[client].filter(|ix| self.incarnations[*ix].over.is_none())
    }

    /// Subscriptions of a Session that match a topic.
    pub(crate) fn matching<'a>(
        &'a self,
        links: &'a [Link],
        incarnation: usize,
        topic: &'a str,
    ) -> impl Iterator<Item = &'a Subscription> {
        let mine = move |sub: &&Subscription| links[sub.link].incarnation == Some(incarnation);
        self.subscriptions.iter().filter(mine).filter(move |sub| matches(sub.filter, topic))
    }
}

/// Whether a connection may have ended for this reason.
fn check_cause(now: Time, link: &Link, cause: &Ended) -> Result<(), String> {
    let lived = now.since(link.opened);
    let right = match cause {
        Ended::ByClient => link.farewell.is_some_and(|farewell| !farewell.with_will),
        Ended::ByClientWithWill => link.farewell.is_some_and(|farewell| farewell.with_will),
        // A goodbye that arrived whole must have been understood.
        Ended::Lost => link.cut || link.farewell.is_none() || !link.up.is_empty(),
        Ended::KeepAliveTimeout => {
            link.greeting.keep_alive > 0 && lived.as_millis() >= 1500 * u128::from(link.greeting.keep_alive)
        }
        Ended::ConnectTimeout => link.incarnation.is_none() && lived.as_secs() >= 10,
        Ended::Rule(_) => link.vandal,
        Ended::TakenOver { .. } => true,
        Ended::LeftOut => link.greeting.version != ProtocolVersion::V5,
        _ => false,
    };
    if right { Ok(()) } else { Err(format!("connection of client {} ended: {cause:?}", link.client)) }
}
