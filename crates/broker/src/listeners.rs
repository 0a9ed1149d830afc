//! From listeners as they are configured to sockets that are open, at the start and at each reload.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use cork_net::{Address, Listen, TlsAcceptor, Transport, Wrap};
use cork_runtime::{CertificateCheck, PreparedListeners, Runtime};

use crate::{
    config::{Config, ConfigError, ConfigErrors, Host, Listener, Scheme},
    tls::{Certificates, Planned},
};

/// The listeners of a running broker.
#[derive(Debug)]
pub(crate) struct Listeners {
    certificates: Certificates,
    check: CertificateCheck,
    addresses: Vec<(Scheme, Address)>,
}

/// A change that can't fail any more.
pub(crate) struct PlannedListeners {
    wanted: Vec<Listen>,
    schemes: Vec<Scheme>,
    sockets: PreparedListeners,
    certificates: Vec<Planned>,
    /// Listeners that go on with other certificates.
    pub(crate) renewed: Vec<String>,
}

impl std::fmt::Debug for PlannedListeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlannedListeners").field("schemes", &self.schemes).finish_non_exhaustive()
    }
}

impl Listeners {
    pub(crate) fn new(check: CertificateCheck) -> io::Result<Self> {
        let changed = check.clone();
        let certificates = Certificates::start(move || changed.run())?;
        Ok(Self { certificates, check, addresses: Vec::new() })
    }

    pub(crate) fn addresses(&self) -> &[(Scheme, Address)] {
        &self.addresses
    }

    /// Reads certificates and opens sockets, as far as they are not there yet. Nothing changes.
    pub(crate) fn plan(&self, config: &Config, runtime: &Runtime) -> Result<PlannedListeners, ConfigErrors> {
        let (mut wanted, mut schemes, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        let (mut certificates, mut renewed) = (Vec::new(), Vec::new());
        for (at, listener) in config.listeners.iter().enumerate() {
            if listener.url.scheme.is_http() {
                continue; // the program's own affair
            }
            let earlier = &config.listeners[..at];
            let nth = earlier.iter().filter(|other| other.url == listener.url).count();
            let planned = self.certificates.plan(listener, nth).map_err(|problems| {
                let message: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
                of_listener(listener, message.join("; "))
            })?;
            let acceptor = planned.as_ref().map(|planned| Arc::clone(&planned.acceptor));
            renewed
                .extend(planned.iter().filter(|planned| planned.changes()).map(|_| listener.url.to_string()));
            certificates.extend(planned);
            for listen in listens(config, listener, acceptor)
                .map_err(|error| of_listener(listener, error.to_string()))?
            {
                wanted.push(listen);
                schemes.push(listener.url.scheme);
                owners.push(listener);
            }
        }
        let sockets = runtime
            .prepare(&wanted)
            .map_err(|error| of_listener(owners[error.wanted], error.error.to_string()))?;
        Ok(PlannedListeners { wanted, schemes, sockets, certificates, renewed })
    }

    /// Does it. Who is connected with a certificate that would not be accepted any more is disconnected.
    pub(crate) fn apply(&mut self, planned: PlannedListeners, runtime: &mut Runtime) {
        let PlannedListeners { wanted, schemes, sockets, certificates, renewed } = planned;
        self.certificates.apply(certificates);
        runtime.apply(sockets, &wanted);
        self.addresses = schemes.into_iter().zip(runtime.addresses()).collect();
        let of_retired = self.certificates.look_at_retired();
        if of_retired || !renewed.is_empty() {
            self.check.run();
        }
    }
}

/// Opens a non-blocking listening socket for a server of the program's own, as the broker does for itself: one for
/// `[::]` takes IPv6 only.
///
/// # Errors
/// Those of the system.
pub fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    cork_net::bind(address).map(TcpListener::from)
}

/// The sockets a listener stands for.
fn listens(config: &Config, listener: &Listener, tls: Option<Arc<TlsAcceptor>>) -> io::Result<Vec<Listen>> {
    let url = &listener.url;
    let transport = match url.scheme {
        Scheme::Ws | Scheme::Wss => Transport::WebSocket,
        Scheme::Mqtt | Scheme::Mqtts | Scheme::Unix | Scheme::Http | Scheme::Https => Transport::Tcp,
    };
    let wrap = Wrap { transport, tls, proxy: listener.proxy };
    let addresses = match &url.host {
        Host::Path(path) => {
            vec![Address::Unix { path: path.clone(), mode: listener.mode.unwrap_or(SOCKET_MODE) }]
        }
        Host::Localhost | Host::Ip(_) | Host::Name(_) => {
            config.addresses(listener)?.into_iter().map(Address::Net).collect()
        }
    };
    Ok(addresses.into_iter().map(|address| Listen { wrap: wrap.clone(), address }).collect())
}

fn of_listener(listener: &Listener, message: String) -> ConfigErrors {
    ConfigErrors(vec![ConfigError {
        origin: listener.origin.clone(),
        key: listener.key().to_owned(),
        message,
    }])
}

/// Socket files: for owner and group, since whoever may write to one may connect.
const SOCKET_MODE: u32 = 0o660;
