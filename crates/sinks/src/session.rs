//! The Session of a sink: a connection within the program, driven by hand.
//!
//! What arrives is acknowledged one by one when the caller says so, and no more is read than the caller asks for: what is
//! not asked for waits in the broker, on its disk.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use cork_broker::{Connector, Facts};
use cork_client::{
    Property, Publish, QoS, ReasonCode, RetainHandling, SubscriptionOptions,
    machine::{AckKey, Event, Incoming, Machine, Request, Settings},
};
use cork_proto::Time;
use cork_sink::Row;
use cork_store::QUEUE_BYTES_ASKED_BY;
use tokio::net::UnixStream;

/// How to take up a Session.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) client_id: String,
    /// Filters it shall have.
    pub(crate) filters: Vec<String>,
    /// Filters it shall lose.
    pub(crate) unwanted: Vec<String>,
    /// Messages under way at most.
    pub(crate) receive_maximum: u16,
    /// Whether the broker drops what comes beyond `limits.queue_max_bytes`.
    pub(crate) is_limited: bool,
}

/// A message, and what acknowledging it needs.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) row: Row,
    pub(crate) receipt: Receipt,
}

/// What acknowledging a message needs; of a QoS 0 message nothing.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Receipt(Option<AckKey>);

/// A connected Session.
pub(crate) struct Session {
    machine: Machine,
    stream: UnixStream,
    start: Instant,
    inbox: VecDeque<Delivery>,
    read: Box<[u8]>,
    write: Vec<u8>,
    written: usize,
    /// Requests that are not answered.
    asked: usize,
}

const READ_BYTES: usize = 64 << 10;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What MQTT can say at most.
pub(crate) const PACKET_BYTES_MAX: u32 = 268_435_460;

impl Session {
    /// Connects and subscribes. What waits for the Session comes from then on.
    pub(crate) async fn open(connector: &Connector, opening: &Opening) -> io::Result<Self> {
        let mut session = Self::connect(connector, opening, true).await?;
        let options = SubscriptionOptions {
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
            ..SubscriptionOptions::with_qos(QoS::AtLeastOnce)
        };
        let filters = opening.filters.iter().map(|filter| (filter.clone(), options)).collect();
        session.request(Request::Subscribe { filters, properties: Default::default() })?;
        if !opening.unwanted.is_empty() {
            let filters = opening.unwanted.clone();
            session.request(Request::Unsubscribe { filters, properties: Default::default() })?;
        }
        while session.asked > 0 {
            let answered = tokio::time::timeout(ANSWER_TIMEOUT, session.step(true)).await;
            answered.map_err(|_| broken("the broker does not answer"))??;
        }
        Ok(session)
    }

    /// Ends a Session, with all that waits for it; how many messages that were.
    ///
    /// The broker counts no queue for others. So the Session is read to its end, which is marked by a message behind all
    /// others, and only then ended: a broker that is killed meanwhile has what was not read.
    pub(crate) async fn end(
        connector: &Connector,
        client_id: &str,
        unwanted: Vec<String>,
    ) -> io::Result<u64> {
        let marker = format!("{client_id}/end");
        let filters = vec![marker.clone()];
        let (client_id, receive_maximum) = (client_id.to_owned(), 1024);
        let opening = Opening { client_id, filters, unwanted, receive_maximum, is_limited: false };
        let mut session = Self::open(connector, &opening).await?;
        let publish = Publish::new(marker.clone(), "").qos(QoS::AtLeastOnce);
        session.machine.publish(session.now(), publish, None).map_err(|error| broken(&error.to_string()))?;
        let mut count = 0;
        loop {
            while let Some(Delivery { row, receipt }) = session.ready() {
                session.acknowledge(receipt);
                if *row.topic == *marker {
                    session.close().await?;
                    Self::connect(connector, &opening, false).await?.close().await?;
                    return Ok(count);
                }
                count += 1;
            }
            session.turn(true).await?;
        }
    }

    async fn connect(connector: &Connector, opening: &Opening, lasting: bool) -> io::Result<Self> {
        let stream = connector.connect()?;
        stream.set_nonblocking(true)?;
        let mut settings = Settings {
            client_id: opening.client_id.clone(),
            clean_start: !lasting,
            session_expiry: if lasting { u32::MAX } else { 0 },
            keep_alive: 0,
            receive_maximum: opening.receive_maximum,
            max_packet_size: PACKET_BYTES_MAX,
            // A letter that is passed over must not hold those behind it.
            pubacks_at_once: true,
            ..Settings::default()
        };
        settings.properties.push(Property::UserProperty(Facts::ASKED_BY, ""));
        if !opening.is_limited {
            let most = u64::MAX.to_string();
            settings.properties.push(Property::UserProperty(QUEUE_BYTES_ASKED_BY, &most));
        }
        let mut session = Self {
            machine: Machine::new(settings),
            stream: UnixStream::from_std(stream)?,
            start: Instant::now(),
            inbox: VecDeque::new(),
            read: vec![0; READ_BYTES].into(),
            write: Vec::new(),
            written: 0,
            asked: 0,
        };
        let now = session.now();
        session.machine.opened(now);
        while !session.machine.is_online() {
            let answered = tokio::time::timeout(ANSWER_TIMEOUT, session.step(true)).await;
            answered.map_err(|_| broken("the broker does not answer"))??;
        }
        Ok(session)
    }

    fn request(&mut self, request: Request) -> io::Result<()> {
        self.asked += 1;
        self.machine.request(request, 0).map_err(|error| broken(&error.to_string()))
    }

    /// What has arrived already.
    pub(crate) fn ready(&mut self) -> Option<Delivery> {
        self.inbox.pop_front()
    }

    /// Reads, if `wanted`, and in any case sends what is to be sent; returns when something was done. May be dropped at
    /// any time.
    pub(crate) async fn turn(&mut self, wanted: bool) -> io::Result<()> {
        if wanted && !self.inbox.is_empty() { Ok(()) } else { self.step(wanted).await }
    }

    async fn step(&mut self, wanted: bool) -> io::Result<()> {
        self.send()?;
        let is_sending = self.written < self.write.len();
        let due = self.machine.next_timeout();
        let now = self.now();
        let wait = due.map_or(Duration::from_secs(3600), |due| due.since(now));
        tokio::select! {
            ready = self.stream.readable(), if wanted => {
                ready?;
                self.receive()
            }
            ready = self.stream.writable(), if is_sending => {
                ready?;
                self.send()
            }
            () = tokio::time::sleep(wait) => {
                let now = self.now();
                if !wanted {
                    self.machine.reading_paused(now);
                }
                self.machine.handle_timeout(now);
                self.note()
            }
        }
    }

    /// Acknowledges. It goes out with the next turn.
    pub(crate) fn acknowledge(&mut self, receipt: Receipt) {
        if let Some(key) = receipt.0 {
            self.machine.ack(key, ReasonCode::SUCCESS);
        }
    }

    /// Says DISCONNECT; the Session stays, or ends, as it was opened.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.machine.disconnect(ReasonCode::SUCCESS, cork_client::Properties::EMPTY);
        self.send()?;
        while self.written < self.write.len() {
            let ready = tokio::time::timeout(ANSWER_TIMEOUT, self.stream.writable()).await;
            ready.map_err(|_| broken("the broker does not read"))??;
            self.send()?;
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        match self.stream.try_read(&mut self.read) {
            Ok(0) => Err(broken("the broker closed the connection")),
            Ok(count) => {
                let now = self.now();
                self.machine.handle_bytes(now, &self.read[..count]);
                self.note()
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        loop {
            if self.written == self.write.len() {
                self.write.clear();
                self.written = 0;
                self.machine.transmit(&mut self.write);
                if self.write.is_empty() {
                    return Ok(());
                }
            }
            match self.stream.try_write(&self.write[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            let now = self.now();
            self.machine.transmitted(now);
        }
    }

    /// Sees to what the machine has to say.
    fn note(&mut self) -> io::Result<()> {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Message(incoming) => {
                    let receipt = Receipt(incoming.ack);
                    match row(&incoming) {
                        Some(row) => self.inbox.push_back(Delivery { row, receipt }),
                        None => return Err(broken("a message came without its facts")),
                    }
                }
                Event::Subscribed(_, granted) => {
                    self.asked -= 1;
                    if let Some(code) = granted.codes.iter().find(|code| code.is_error()) {
                        return Err(broken(&format!("the broker refuses a filter: {code}")));
                    }
                }
                Event::Unsubscribed(..) => self.asked -= 1,
                Event::Ended(why) => return Err(broken(&why.to_string())),
                _ => {}
            }
        }
        Ok(())
    }

    fn now(&self) -> Time {
        Time::from_micros(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("machine", &self.machine).finish_non_exhaustive()
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}

/// A message with its facts, which are its last two User Properties.
fn row(incoming: &Incoming) -> Option<Row> {
    let properties = incoming.properties.as_properties();
    let mut pairs: Vec<(&str, &str)> = properties.user_properties().collect();
    let (who, id) = (pairs.pop()?, pairs.pop()?);
    let facts = Facts::from_pairs(id, who)?;
    Some(Row {
        id: facts.id.to_string().into(),
        time: i64::try_from(facts.id.arrived.0).unwrap_or(i64::MAX),
        topic: (*incoming.topic).into(),
        payload: Bytes::clone(&incoming.payload),
        qos: facts.qos.bits(),
        retain: incoming.retain,
        client_id: facts.client_id.into(),
        user: facts.user_name.map(Into::into),
        content_type: properties.content_type().map(Into::into),
        user_properties: pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
    })
}

/// Microseconds since 1970-01-01 UTC.
pub(crate) fn wall_time() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX)
}
