//! Starts, changes and ends sinks. Each is a task of its own; one that changes does not touch the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use cork_broker::{Connector, Operator, config::sinks::Sink as SinkConfig};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};

use crate::{
    desk::Desk,
    figures::Figures,
    letter,
    letters::Locks,
    make,
    registry::Registry,
    room::Room,
    runner::{Runner, client_id, letters_client_id, replay_topic},
    saver::Saver,
    session::Session,
};

/// What it is told. When nobody can tell it anything any more it ends.
#[derive(Debug)]
pub(crate) enum Command {
    /// These sinks, and no others. The answer comes when all have their Sessions.
    Take(Vec<SinkConfig>, std::sync::mpsc::Sender<()>),
}

/// The broker, for its sinks.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The way in, past all rights.
    pub(crate) connector: Connector,
    /// Who is asked how much waits.
    pub(crate) operator: Operator,
    /// Its data directory, if it has one.
    pub(crate) folder: Option<PathBuf>,
    /// How often figures are shown; 0: never.
    pub(crate) sys_interval: Duration,
    /// Who reads dead letters.
    pub(crate) locks: Locks,
}

pub(crate) struct Supervisor {
    connector: Connector,
    operator: Operator,
    inbox: mpsc::UnboundedReceiver<Command>,
    registry: Registry,
    running: BTreeMap<String, Running>,
    sys_interval: Duration,
    locks: Locks,
}

struct Running {
    config: SinkConfig,
    /// The secrets it was started with, which may stand in files.
    secrets: make::Secrets,
    figures: Figures,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// Shows the figures.
    clerk: Option<JoinHandle<()>>,
}

impl Supervisor {
    pub(crate) fn new(place: &Place, registry: Registry, inbox: mpsc::UnboundedReceiver<Command>) -> Self {
        let Place { connector, operator, folder: _, sys_interval, locks } = place.clone();
        Self { connector, operator, inbox, registry, running: BTreeMap::new(), sys_interval, locks }
    }

    pub(crate) async fn run(mut self) {
        let mut desk = None;
        while let Some(Command::Take(sinks, done)) = self.inbox.recv().await {
            // Who has no sinks has no connection either.
            if desk.is_none() && !sinks.is_empty() {
                desk = Desk::open(&self.connector)
                    .map_err(|error| tracing::error!(target: "sink", %error, "no connection to the broker"))
                    .ok();
            }
            self.take(sinks, desk.as_ref()).await;
            // Who asked may be gone.
            let _ = done.send(());
        }
        for running in self.running.values() {
            running.stop.send_replace(true);
        }
        for (_, running) in std::mem::take(&mut self.running) {
            running.ended().await;
        }
        if let Some(desk) = desk {
            desk.close().await;
        }
    }

    async fn take(&mut self, sinks: Vec<SinkConfig>, desk: Option<&Desk>) {
        let names: BTreeSet<&String> = sinks.iter().map(|sink| &sink.name).collect();
        let gone: Vec<String> = self.registry.names().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            self.remove(&name, desk).await;
        }
        let Some(desk) = desk else { return };
        for sink in sinks {
            let secrets = make::Secrets::of(&sink).unwrap_or_default();
            match self.running.get(&sink.name) {
                Some(running) if running.config.says_what(&sink) && running.secrets == secrets => continue,
                Some(_) => self.stop(&sink.name).await,
                None => {}
            }
            let name = sink.name.clone();
            if let Err(error) = self.start(sink, secrets, desk).await {
                tracing::error!(target: "sink", sink = name, %error, "cannot be started");
            }
        }
    }

    async fn start(&mut self, sink: SinkConfig, secrets: make::Secrets, desk: &Desk) -> io::Result<()> {
        let target = make::target(&sink).map_err(io::Error::other)?;
        let before = self.registry.filters(&sink.name);
        let mut wanted: BTreeSet<String> = sink.filters.iter().cloned().collect();
        wanted.insert(replay_topic(&sink.name));
        // The file may say too much for a while: what is unwanted is given up again at each start.
        self.registry.note(&sink.name, Some(&wanted | &before))?;
        let changed = Arc::new(Notify::new());
        let figures = Figures::new(&changed);
        let (stop, stopped) = watch::channel(false);
        let mut runner = Runner {
            name: sink.name.clone(),
            connector: self.connector.clone(),
            filters: sink.filters.clone(),
            unwanted: before.difference(&wanted).cloned().collect(),
            batch_max: usize::from(sink.batch_max),
            batch_time: sink.batch_time,
            saver: Saver::new(sink.name.clone(), target, sink.timeout, sink.retry_max, figures.clone()),
            desk: desk.clone(),
            room: Room::new(self.operator.clone(), &letters_client_id(&sink.name)),
            figures: figures.clone(),
            stop: stopped,
            letters: self.locks.of(&sink.name),
        };
        // Now, so that nothing is published before.
        let session = runner.subscribe().await?;
        let task = tokio::spawn(runner.run(session));
        let clerk = (self.sys_interval > Duration::ZERO).then(|| {
            let show = desk.clone().show(sink.name.clone(), figures.clone(), changed, self.sys_interval);
            tokio::spawn(show)
        });
        tracing::info!(target: "sink", sink = sink.name, "saves {} to {}", sink.filters.join(", "), make::place(&sink));
        self.running.insert(sink.name.clone(), Running { config: sink, secrets, figures, stop, task, clerk });
        Ok(())
    }

    async fn stop(&mut self, name: &str) {
        if let Some(running) = self.running.remove(name) {
            running.stop.send_replace(true);
            running.ended().await;
        }
    }

    /// Ends a sink for good: its Session, its dead letters, its figures.
    async fn remove(&mut self, name: &str, desk: Option<&Desk>) {
        let figures = self.running.get(name).map(|running| running.figures.clone());
        self.stop(name).await;
        if let (Some(figures), Some(desk)) = (figures, desk) {
            desk.clear(name, &figures);
        }
        let mut waiting = 0;
        let filters = self.registry.filters(name).into_iter().collect();
        let letters = vec![letter::filter(name)];
        for (client_id, filters) in [(client_id(name), filters), (letters_client_id(name), letters)] {
            match Session::end(&self.connector, &client_id, filters).await {
                Ok(count) => waiting += count,
                // It stands in the registry still: the next start tries again.
                Err(error) => {
                    return tracing::error!(target: "sink", sink = name, %error, "its Session cannot be ended");
                }
            }
        }
        if let Err(error) = self.registry.note(name, None) {
            tracing::error!(target: "sink", sink = name, %error, "cannot be taken off the list of sinks");
        }
        tracing::warn!(target: "sink", sink = name, waiting, "is gone from the configuration; what waited for it is dropped");
    }
}

impl Running {
    async fn ended(self) {
        let Self { task, clerk, .. } = self;
        if task.await.is_err_and(|error| error.is_panic()) {
            tracing::error!(target: "sink", "a sink has panicked");
        }
        if let Some(clerk) = clerk {
            clerk.abort();
        }
    }
}
