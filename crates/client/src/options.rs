//! Where to connect, as whom, and how.

use std::{io, net::IpAddr, os::unix::net::UnixStream, sync::Arc, time::Duration};

use bytes::Bytes;
use cork_packet::{Packet, Property, ProtocolVersion};

use crate::{
    Authentication, ConnectError, FileStore, Publish, Tls,
    machine::{Direction, Settings, Will},
    publish::set,
    server::Server,
    transport::{Connector, Pipes, Sockets},
};

/// The protocol versions to try.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// MQTT 5.0.
    V5,
    /// MQTT 3.1.1.
    V311,
    /// 5.0 first; 3.1.1 when the server does not know 5.0.
    #[default]
    Auto,
}

/// When to come again after a connection is lost, or could not be made.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Reconnect {
    /// The first wait. Each wait is drawn between half and the whole of what stands here, doubled each time.
    pub min: Duration,
    /// The longest wait.
    pub max: Duration,
    /// Attempts in a row that may fail, `None` for any number.
    pub attempts: Option<u32>,
}

impl Default for Reconnect {
    /// From half a second to half a minute, without end.
    fn default() -> Self {
        Self { min: Duration::from_millis(500), max: Duration::from_secs(30), attempts: None }
    }
}

impl Reconnect {
    /// The wait before the next attempt, after `failures` in a row.
    #[must_use]
    pub fn wait(&self, failures: u32) -> Duration {
        let doubled = self.min.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.max);
        let half = doubled / 2;
        let mut random = [0; 4];
        // Without randomness the whole wait is as good.
        if getrandom::fill(&mut random).is_err() {
            return doubled;
        }
        half + half.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
    }
}

/// Everything a client is told before it connects.
///
/// ```
/// use cork_client::{Options, Publish, QoS};
///
/// let options = Options::new("mqtt://ann:secret@127.0.0.1:1883")?
///     .client_id("lamp")
///     .session_expiry(3600)
///     .will(Publish::new("lamp/status", "gone").qos(QoS::AtLeastOnce).retain(true));
/// # let _ = options;
/// # Ok::<(), cork_client::ConnectError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) servers: Vec<Server>,
    pub(crate) version: Version,
    pub(crate) settings: Settings,
    pub(crate) reconnect: Option<Reconnect>,
    pub(crate) connect_timeout: Duration,
    pub(crate) limits: Limits,
    pub(crate) manual_acks: bool,
    pub(crate) tls: Tls,
    pub(crate) bind: Option<IpAddr>,
    pub(crate) store: Option<FileStore>,
    pub(crate) connector: Option<Arc<dyn Connector>>,
}

/// Limits of what is kept in memory.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Limits {
    /// Publications that wait to be sent.
    pub(crate) queue_messages_max: usize,
    /// Their bytes.
    pub(crate) queue_bytes_max: usize,
    /// Encoded bytes that wait for the transport before `publish` waits.
    pub(crate) send_bytes_max: usize,
    /// Messages in a subscription's buffer before reading stops.
    pub(crate) buffer_messages_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_messages_max: 1000,
            queue_bytes_max: 16 * 1024 * 1024,
            send_bytes_max: 256 * 1024,
            buffer_messages_max: 1024,
        }
    }
}

/// Options, taken apart.
#[derive(Debug)]
pub struct Parts {
    /// For the machine.
    pub settings: Settings,
    /// Servers, in the order of trying.
    pub servers: Vec<Server>,
    /// Makes connections to them.
    pub connector: Arc<dyn Connector>,
}

impl Options {
    /// For the server at `url`: `mqtt://`, `mqtts://`, `ws://`, `wss://` with `[user[:password]@]host[:port]`, or
    /// `unix:///path`. The ports are 1883, 8883, 80 and 443 unless named; user and password may be percent-encoded.
    ///
    /// # Errors
    /// [`ConnectError::Options`] says what is wrong with the URL.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        let (server, user, password) = Server::parse(url)?;
        let mut options = Self::to(server);
        options.settings.user_name = user;
        options.settings.password = password.map(Bytes::from);
        Ok(options)
    }

    /// For a broker in the same program, without a socket that anybody else could see: `open` gives this client's end of
    /// a new pipe, as `Broker::connector` of `cork-broker` makes them. It is called for each connection, so also after
    /// one was lost.
    ///
    /// ```
    /// # fn example(broker: &cork_broker::Broker) -> Result<(), cork_client::ConnectError> {
    /// let connector = broker.connector();
    /// let options = cork_client::Options::in_process(move || connector.connect());
    /// let client = cork_client::blocking::Client::connect(options)?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn in_process(open: impl Fn() -> io::Result<UnixStream> + Send + Sync + 'static) -> Self {
        Self::to(Server::IN_PROCESS).connector(Pipes(Box::new(open)))
    }

    fn to(server: Server) -> Self {
        Self {
            servers: vec![server],
            version: Version::default(),
            settings: Settings::default(),
            reconnect: Some(Reconnect::default()),
            connect_timeout: Duration::from_secs(10),
            limits: Limits::default(),
            manual_acks: false,
            tls: Tls::new(),
            bind: None,
            store: None,
            connector: None,
        }
    }

    /// Adds a server to try when the ones before it cannot be reached. User and password in its URL are not used.
    ///
    /// # Errors
    /// As [`Options::new`].
    pub fn server(mut self, url: &str) -> Result<Self, ConnectError> {
        self.servers.push(Server::parse(url)?.0);
        Ok(self)
    }

    /// The Client Identifier. Without one a 5.0 server chooses it; for 3.1.1 a random one is made.
    #[must_use]
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.settings.client_id = client_id.into();
        self
    }

    /// The version to speak; [`Version::Auto`] unless said otherwise.
    #[must_use]
    pub const fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// User Name and Password, in place of what the URL says.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<Bytes>) -> Self {
        self.settings.user_name = Some(user.into());
        self.settings.password = Some(password.into());
        self
    }

    /// The User Name alone.
    #[must_use]
    pub fn user_name(mut self, user: impl Into<String>) -> Self {
        self.settings.user_name = Some(user.into());
        self
    }

    /// Whether the first connection begins a new Session (the default), or resumes one that the server may have.
    /// Connections after it resume the Session in any case, if it outlives a connection.
    #[must_use]
    pub const fn clean_start(mut self, clean_start: bool) -> Self {
        self.settings.clean_start = clean_start;
        self
    }

    /// Seconds the server keeps the Session when there is no connection: 0 (the default) ends it with the
    /// connection, `u32::MAX` never. 3.1.1 knows only whether.
    #[must_use]
    pub const fn session_expiry(mut self, seconds: u32) -> Self {
        self.settings.session_expiry = seconds;
        self
    }

    /// Keep Alive in seconds; 60 unless said otherwise, 0 for none. A 5.0 server may set another one.
    #[must_use]
    pub const fn keep_alive(mut self, seconds: u16) -> Self {
        self.settings.keep_alive = seconds;
        self
    }

    /// Seconds to wait for an answer to PINGREQ before the connection counts as lost; 10 unless said otherwise.
    #[must_use]
    pub const fn ping_timeout(mut self, seconds: u16) -> Self {
        self.settings.ping_timeout = seconds;
        self
    }

    /// What the server publishes when this client goes without DISCONNECT.
    #[must_use]
    pub fn will(mut self, publish: Publish) -> Self {
        let delay = self.settings.will.map_or(0, |will| will.delay);
        self.settings.will = Some(Will { publish, delay });
        self
    }

    /// Seconds the server waits before it publishes the Will (5.0). Set the Will first.
    #[must_use]
    pub fn will_delay(mut self, seconds: u32) -> Self {
        if let Some(will) = &mut self.settings.will {
            will.delay = seconds;
        }
        self
    }

    /// Most QoS 1 and 2 messages the server may have under way to this client (Receive Maximum); 1024 unless said
    /// otherwise. In 3.1.1, which cannot say it, reading stops instead.
    #[must_use]
    pub const fn receive_maximum(mut self, messages: u16) -> Self {
        self.settings.receive_maximum = if messages == 0 { 1 } else { messages };
        self
    }

    /// Most QoS 1 and 2 publications under way to the server; the server's Receive Maximum holds, too. 1024 unless
    /// said otherwise, but 20 for QoS 2 in 3.1.1, where no server can say what it takes.
    #[must_use]
    pub const fn inflight_max(mut self, messages: u16) -> Self {
        self.settings.inflight_max = if messages == 0 { 1 } else { messages };
        self.settings.inflight_qos2_v311_max = self.settings.inflight_max;
        self
    }

    /// Largest packet taken from the server, in bytes; 16 MiB unless said otherwise. A larger one ends the
    /// connection.
    #[must_use]
    pub const fn max_packet_size(mut self, bytes: u32) -> Self {
        self.settings.max_packet_size = bytes;
        self
    }

    /// Whether to use Topic Aliases where the server allows them; they are by default. Also whether the server may.
    #[must_use]
    pub const fn topic_aliases(mut self, on: bool) -> Self {
        self.settings.topic_aliases = on;
        self.settings.topic_alias_maximum = if on { 64 } else { 0 };
        self
    }

    /// Whom `mqtts://` and `wss://` trust, and who this client is to them.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// Adds a Property to CONNECT: User Properties, Request Response Information, Request Problem Information.
    #[must_use]
    pub fn connect_property(mut self, property: Property<'_>) -> Self {
        set(&mut self.settings.properties, property);
        self
    }

    /// Enhanced authentication (5.0 4.12), as with [`Scram`](crate::Scram).
    #[must_use]
    pub fn authentication(mut self, method: impl Authentication + 'static) -> Self {
        self.settings.authentication = Some(Arc::new(method));
        self
    }

    /// When to come again; `None` for never.
    #[must_use]
    pub fn reconnect(mut self, reconnect: impl Into<Option<Reconnect>>) -> Self {
        self.reconnect = reconnect.into();
        self
    }

    /// How long one attempt may take, from name look-up to CONNACK; 10 seconds unless said otherwise.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Most publications that wait to be sent, by number and by bytes; 1000 and 16 MiB unless said otherwise. Beyond
    /// that `publish` waits and `try_publish` says so.
    #[must_use]
    pub fn queue(mut self, messages: usize, bytes: usize) -> Self {
        self.limits.queue_messages_max = messages.max(1);
        self.limits.queue_bytes_max = bytes.max(1);
        self
    }

    /// Messages in the buffer of a subscription before the client stops reading; 1024 unless said otherwise. One
    /// read of the socket may go beyond it.
    #[must_use]
    pub fn buffer(mut self, messages: usize) -> Self {
        self.limits.buffer_messages_max = messages.max(1);
        self
    }

    /// Acknowledges a message only when the program says so ([`Message::ack`](crate::Message::ack)). Otherwise a
    /// message is acknowledged when it is dropped, that is, when the program is done with it.
    #[must_use]
    pub const fn manual_acks(mut self, manual: bool) -> Self {
        self.manual_acks = manual;
        self
    }

    /// Keeps publications that are not finished, and what QoS 2 has to remember, in a file: the next run of the
    /// program goes on with them, under the Client Identifier that stands in the file. A Session that the file knows
    /// is resumed whatever `clean_start` says.
    #[must_use]
    pub fn store(mut self, store: FileStore) -> Self {
        self.store = Some(store);
        self.settings.records = true;
        self
    }

    /// Shows every packet, both ways, to `observer`. It runs inside the client and must not block or call it.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(Direction, &Packet<'_>) + Send + Sync + 'static) -> Self {
        self.settings.observer = Some(Arc::new(observer));
        self
    }

    /// What makes this client's connections unless [`Options::connector`] says otherwise: sockets, with TLS and
    /// WebSocket. To be wrapped, or to be shared by many clients, which then read their certificates once.
    ///
    /// # Errors
    /// That a certificate cannot be used.
    pub fn sockets(&self) -> Result<Arc<dyn Connector>, ConnectError> {
        Ok(Arc::new(Sockets::new(self.tls.clone(), self.bind, &self.servers)?))
    }

    /// Makes connections with `connector` instead of sockets, as to a broker in the same program.
    #[must_use]
    pub fn connector(mut self, connector: impl Connector + 'static) -> Self {
        self.connector = Some(Arc::new(connector));
        self
    }

    /// The local address to connect from; the system's choice otherwise. Servers with addresses of the other family
    /// cannot be reached then.
    #[must_use]
    pub const fn bind(mut self, address: IpAddr) -> Self {
        self.bind = Some(address);
        self
    }

    /// What a driver of one's own needs in place of a [`Client`](crate::Client): settings for a
    /// [`Machine`](crate::machine::Machine), the servers, and what makes connections to them.
    ///
    /// # Errors
    /// A certificate or key that can't be used, or what CONNECT cannot say.
    pub fn into_parts(self) -> Result<Parts, ConnectError> {
        self.settings.check()?;
        let connector = match self.connector {
            Some(connector) => connector,
            None => Arc::new(Sockets::new(self.tls, self.bind, &self.servers)?),
        };
        Ok(Parts { settings: self.settings, servers: self.servers, connector })
    }

    /// The version of the first attempt.
    pub(crate) const fn first_version(&self) -> ProtocolVersion {
        match self.version {
            Version::V5 | Version::Auto => ProtocolVersion::V5,
            Version::V311 => ProtocolVersion::V311,
        }
    }
}
