//! A broker for a test.

use std::net::SocketAddr;

use cork_net::Address;
use cork_runtime::Connector;

use crate::{Broker, Config, config::Shards, hooks::Hooks};

/// A broker for a unit test: on a free port of the loopback, in memory, gone with its value. Everybody may in. Tests
/// may run as many as they like beside each other.
///
/// ```
/// use cork_broker::TestBroker;
/// use std::{io::{Read, Write}, net::TcpStream};
///
/// let broker = TestBroker::start();
/// let mut client = TcpStream::connect(broker.address())?;
/// client.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a")?; // CONNECT
/// let mut connack = [0; 4];
/// client.read_exact(&mut connack)?;
/// assert_eq!(connack, [0x20, 2, 0, 0]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct TestBroker {
    broker: Broker,
    address: SocketAddr,
}

impl TestBroker {
    /// Starts one.
    ///
    /// # Panics
    /// It does not start: no ports, threads or descriptors are left.
    #[must_use]
    pub fn start() -> Self {
        Self::of(Broker::start(&Self::config()))
    }

    /// Starts one with hooks.
    ///
    /// # Panics
    /// As [`TestBroker::start`].
    #[must_use]
    pub fn start_with(hooks: impl Hooks + 'static) -> Self {
        Self::of(Broker::start_with(&Self::config(), hooks))
    }

    /// Starts one after `change` made its configuration another, as with users or limits.
    ///
    /// # Panics
    /// As [`TestBroker::start`], or the configuration makes no sense.
    #[must_use]
    pub fn configured(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Self::config();
        change(&mut config);
        Self::of(Broker::start(&config))
    }

    fn config() -> Config {
        let mut config = Config::in_memory();
        config.shards = Shards::Fixed(1);
        config.listen("mqtt://127.0.0.1:0").expect("this is a URL");
        config
    }

    fn of(started: Result<Broker, crate::StartError>) -> Self {
        let broker = started.unwrap_or_else(|error| panic!("the test's broker does not start: {error}"));
        let address = broker.addresses().iter().find_map(|(_, address)| match address {
            Address::Net(address) => Some(*address),
            Address::Unix { .. } => None,
        });
        Self { broker, address: address.expect("it listens on the loopback") }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as clients are told it: `mqtt://127.0.0.1:12345`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Connects clients without its port; see [`Broker::connector`].
    #[must_use]
    pub fn connector(&self) -> Connector {
        self.broker.connector()
    }

    /// The broker itself.
    pub fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }
}
