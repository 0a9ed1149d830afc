//! The HTTP server beside the broker, as far as the configuration wants one.

use std::{io, net::SocketAddr};

use cork_broker::{
    Broker, Config,
    config::{ConfigError, ConfigErrors, Origin, Scheme},
};
use cork_http::{PlannedListeners, Server, Surroundings};

/// The server, once an `http://` listener was wanted.
pub(crate) struct Dashboard {
    server: Option<Server>,
    around: Surroundings,
}

/// Why it is not there.
#[derive(Debug)]
pub(crate) enum DashboardError {
    /// A listener that was named cannot be opened.
    Listen(ConfigErrors),
    /// No threads or descriptors left.
    Start(io::Error),
}

impl std::fmt::Display for DashboardError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listen(errors) => errors.fmt(f),
            Self::Start(error) => write!(f, "the HTTP server does not start: {error}"),
        }
    }
}

impl std::error::Error for DashboardError {}

impl DashboardError {
    /// The same as a fault of the configuration.
    pub(crate) fn of_config(self) -> ConfigErrors {
        match self {
            Self::Listen(errors) => errors,
            Self::Start(_) => ConfigErrors(vec![ConfigError {
                origin: Origin::Default,
                key: "listener.url".to_owned(),
                message: self.to_string(),
            }]),
        }
    }
}

impl Dashboard {
    /// One that nobody wanted yet.
    pub(crate) const fn new(around: Surroundings) -> Self {
        Self { server: None, around }
    }

    /// Listens as the configuration says from now on.
    pub(crate) fn follow(&mut self, config: &Config, broker: &Broker) -> Result<(), DashboardError> {
        let planned = self.plan(config, broker)?;
        self.apply(planned);
        Ok(())
    }

    /// Opens what a configuration wants, without listening there yet.
    pub(crate) fn plan(
        &mut self,
        config: &Config,
        broker: &Broker,
    ) -> Result<PlannedListeners, DashboardError> {
        let wanted = config.listeners.iter().any(|listener| listener.url.scheme.is_http());
        let server = match &self.server {
            Some(server) => server,
            None if !wanted => return Ok(PlannedListeners::default()),
            None => {
                let server = Server::start(broker.operator(), self.around.clone());
                self.server.insert(server.map_err(DashboardError::Start)?)
            }
        };
        server.plan(config).map_err(DashboardError::Listen)
    }

    /// Listens there, and nowhere else.
    pub(crate) fn apply(&self, planned: PlannedListeners) {
        let warnings = self.server.as_ref().map(|server| server.apply(planned));
        for warning in warnings.into_iter().flatten() {
            tracing::warn!(target: "net", "{warning}");
        }
    }

    /// Where it listens.
    pub(crate) fn addresses(&self) -> Vec<(Scheme, SocketAddr)> {
        self.server.as_ref().map(Server::addresses).unwrap_or_default()
    }
}
