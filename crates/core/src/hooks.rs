//! Places where a program that embeds the broker may look on, and have a say.
//!
//! Hooks are called by the shard in the middle of its work, on its thread: what they take, every client of the shard
//! waits for. They get what is there by reference and must not block. A shard without hooks pays one branch where one
//! would be called.
//!
//! What a hook decides is part of the shard's behaviour: with hooks that always decide alike, a shard stays the
//! deterministic machine it is.

use std::borrow::Cow;

use cork_store::{Proof, Publisher};

use crate::{board::Board, conn::SessionIx, presence};

pub use cork_packet::{Connect, Properties, ProtocolVersion, QoS, ReasonCode, SubscriptionOptions};

pub use crate::{event::Ended, peer::Peer};

/// What a program wants to be asked and told. One value serves all shards, so it is called by several threads at once.
///
/// Every method has a default that changes nothing. Users and rights are asked before: a hook is asked only about what
/// they allow.
#[expect(unused_variables, reason = "the names say what a hook is given")]
pub trait Hooks: Send + Sync {
    /// Somebody logs in: user and rights are found good, nothing has happened yet. `connect` is the packet as it came.
    ///
    /// # Errors
    /// A refusal is answered in CONNACK, with its text for 5.0, and the connection closed.
    fn connect(&self, client: &Client<'_>, connect: &Connect<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    /// A client publishes, or the broker publishes its Will. Topic and payload may be replaced; rights are not asked again
    /// for what stands there then.
    ///
    /// One that the store has no space for is asked about again when it is read again.
    ///
    /// # Errors
    /// A refusal is answered with its Reason Code in PUBACK or PUBREC of 5.0; elsewhere the message is dropped. Its
    /// text goes to the log, once for each connection.
    fn publish(&self, client: &Client<'_>, publication: &mut Publication<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    /// A client subscribes to a filter, as it wrote it: with `$share/` if it is shared. Asked for each filter of a
    /// SUBSCRIBE, not for subscriptions that were kept over a restart.
    ///
    /// # Errors
    /// A refusal is the filter's code in SUBACK. Its text goes to the log, once for each connection.
    fn subscribe(
        &self,
        client: &Client<'_>,
        filter: &str,
        options: SubscriptionOptions,
    ) -> Result<(), Refusal> {
        Ok(())
    }

    /// A message is about to go out to a client. Whether it may. One that may not is over for this client: of a shared
    /// subscription, nobody else gets it either.
    ///
    /// Asked once for each message and client, when its turn has come; not again when it is repeated to a client that
    /// did not acknowledge it, unless the broker was started anew between the two.
    fn deliver(&self, client: &Client<'_>, delivery: &Delivery<'_>) -> bool {
        true
    }

    /// The connection of a client that was let in has ended. Told for each [`connect`](Self::connect) that was granted,
    /// unless the broker ends without saying goodbye.
    ///
    /// After [`Ended::TakenOver`] the client is there still: its new connection was granted just before.
    fn disconnect(&self, client: &Client<'_>, why: &Ended) {}
}

/// Who it is about.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// Client Identifier, the assigned one if it gave none.
    pub client_id: &'a str,
    /// User Name.
    pub user_name: Option<&'a str>,
    /// Whether the user database, a certificate or the program itself vouches for the User Name.
    pub proven: bool,
    /// Where it connects from; `None` if it has no connection, as when its Will is published.
    pub peer: Option<&'a Peer>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(publisher: &'a Publisher, peer: Option<&'a Peer>) -> Self {
        Self {
            client_id: &publisher.client_id,
            user_name: publisher.user_name.as_deref(),
            proven: publisher.proof != Proof::Nobody,
            peer,
        }
    }
}

/// A message that a client publishes.
#[derive(Clone, Debug)]
pub struct Publication<'a> {
    /// Topic Name. One that is none, or that is the broker's own, makes the publication refused (0x83).
    pub topic: Cow<'a, str>,
    /// Payload. One that is longer than the longest packet makes the publication refused (0x83).
    pub payload: Cow<'a, [u8]>,
    qos: QoS,
    retain: bool,
    properties: Properties<'a>,
    will: bool,
}

impl<'a> Publication<'a> {
    pub(crate) fn of_client(publish: &cork_packet::Publish<'a>, topic: &'a str) -> Self {
        Self {
            topic: Cow::Borrowed(topic),
            payload: Cow::Borrowed(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.properties,
            will: false,
        }
    }

    pub(crate) fn of_will(message: &'a cork_store::Message) -> Self {
        Self {
            topic: Cow::Borrowed(message.topic()),
            payload: Cow::Borrowed(message.payload()),
            qos: message.qos,
            retain: message.retain,
            properties: Properties::default(),
            will: true,
        }
    }

    /// QoS it was published with.
    #[must_use]
    pub const fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether it is to be retained.
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.retain
    }

    /// Properties of its PUBLISH; none for a Will.
    #[must_use]
    pub const fn properties(&self) -> &Properties<'a> {
        &self.properties
    }

    /// Whether it is a Will.
    #[must_use]
    pub const fn is_will(&self) -> bool {
        self.will
    }
}

/// A message for one client.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// Topic Name.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// QoS of this delivery.
    pub qos: QoS,
    /// Whether it is told to be a retained message.
    pub retain: bool,
    /// Client Identifier of who published it; empty: the broker itself.
    pub from: &'a str,
}

/// That a hook does not want something, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    code: ReasonCode,
    why: Cow<'static, str>,
}

impl Refusal {
    /// The client may not do this (0x87).
    #[must_use]
    pub fn not_authorized(why: impl Into<Cow<'static, str>>) -> Self {
        Self { code: ReasonCode::NOT_AUTHORIZED, why: why.into() }
    }

    /// The client has used up what it may (0x97).
    #[must_use]
    pub fn quota_exceeded(why: impl Into<Cow<'static, str>>) -> Self {
        Self { code: ReasonCode::QUOTA_EXCEEDED, why: why.into() }
    }

    /// Anything else (0x83).
    #[must_use]
    pub fn other(why: impl Into<Cow<'static, str>>) -> Self {
        Self { code: ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR, why: why.into() }
    }

    /// The code a 5.0 client is answered with.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        self.code
    }

    /// Why, for people.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl Board {
    /// Asks about a publication; what it says of topic and payload is then to be used.
    pub(crate) fn ask_publish(
        &self,
        publisher: &Publisher,
        peer: Option<&Peer>,
        publication: &mut Publication<'_>,
    ) -> Result<(), Refusal> {
        let Some(hooks) = &self.hooks else { return Ok(()) };
        let before = publication.clone();
        hooks.publish(&Client::new(publisher, peer), publication)?;
        let Publication { topic, payload, .. } = publication;
        let limits = &self.config.limits;
        if *topic != before.topic {
            let deepest = limits.topic_levels_max;
            let too_deep = deepest != 0 && cork_packet::levels(topic) > deepest;
            if cork_packet::validate_name(topic).is_err() || too_deep || is_the_brokers(topic) {
                return Err(Refusal::other("a hook made the topic one that nobody may publish to"));
            }
        }
        let bytes = topic.len() + payload.len();
        // One that came so long was within what its client was promised.
        if bytes > before.topic.len() + before.payload.len() && bytes > limits.packet_bytes_max as usize {
            return Err(Refusal::other("a hook made the message longer than the longest packet"));
        }
        Ok(())
    }

    /// Asks whether a connection's client may get a message that is about to go out; one that may not is counted.
    #[inline]
    pub(crate) fn is_withheld<'a>(
        &mut self,
        six: SessionIx,
        delivery: impl FnOnce() -> Delivery<'a>,
    ) -> bool {
        self.hooks.is_some() && self.ask_deliver(six, &delivery())
    }

    #[cold]
    fn ask_deliver(&mut self, six: SessionIx, delivery: &Delivery<'_>) -> bool {
        let (Some(hooks), Some(session)) = (&self.hooks, self.sessions.get(six as usize)) else {
            return false;
        };
        let client = Client::new(&session.publisher, self.peer_of(session.conn));
        let withheld = !hooks.deliver(&client, delivery);
        self.stats.denied_delivery += u64::from(withheld);
        withheld
    }

    /// Where the connection in a slot comes from.
    pub(crate) fn peer_of(&self, index: u32) -> Option<&Peer> {
        self.conns.get(index as usize).and_then(Option::as_ref).map(|conn| &conn.peer)
    }
}

/// Topics that only the broker publishes to.
fn is_the_brokers(topic: &str) -> bool {
    presence::concerns(topic) || matches!(topic.split('/').next(), Some("$SYS" | "$dead"))
}
