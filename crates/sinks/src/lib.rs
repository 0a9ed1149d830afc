//! The sinks of a broker: what `[[sink]]` in a configuration asks for.
//!
//! A sink is a Session inside the broker that never ends. What its filters match is stored for it as for any other
//! client that is away, and acknowledged only when the target has confirmed it. So nothing gets lost when the target is
//! down or the broker is killed, and what comes twice is told by its id. One thread has all sinks:
//!
//! ```text
//! Session --rows--> batch --> target          confirmed: PUBACK for each
//!                               |
//!                               +--refused--> halved until the bad rows are alone --> $dead/<sink>/<topic>
//! ```
//!
//! ```no_run
//! use cork_broker::{Broker, Config};
//! use cork_sinks::Sinks;
//!
//! let config = Config::load("cork.toml".as_ref())?;
//! cork_sinks::judge(&config)?;
//! let broker = Broker::start(&config)?;
//! let sinks = Sinks::start(&broker)?;
//! // ...
//! sinks.stop();
//! broker.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `docs/sinks.md` is for operators.
#![forbid(unsafe_code)]

mod backoff;
mod batch;
mod desk;
mod figures;
mod letter;
mod letters;
mod make;
mod registry;
mod room;
mod runner;
mod saver;
mod session;
mod settle;
mod supervisor;

use std::{io, thread, time::Duration};

use cork_broker::{
    Broker, Config,
    config::{ConfigErrors, sinks::Sink as SinkConfig},
};
use tokio::{runtime::Builder, sync::mpsc};

use letters::Locks;
pub use letters::{LETTERS_MAX, Letter, Letters, LettersPage};
use registry::Registry;
use supervisor::{Command, Place, Supervisor};

/// The sinks of a running broker.
#[derive(Debug)]
pub struct Sinks {
    place: Place,
    /// `None` as long as there were none.
    running: Option<Running>,
    now: Vec<SinkConfig>,
}

#[derive(Debug)]
struct Running {
    commands: mpsc::UnboundedSender<Command>,
    thread: thread::JoinHandle<()>,
}

/// How long [`look`] waits for each target.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

impl Sinks {
    /// Starts what the broker's configuration asks for. Targets need not be there.
    ///
    /// # Errors
    /// The system gives no thread, or the list of known sinks in the data directory can't be read.
    pub fn start(broker: &Broker) -> io::Result<Self> {
        let config = broker.config();
        let place = Place {
            connector: broker.connector().inside(),
            operator: broker.operator(),
            folder: (!config.in_memory).then(|| config.data_dir.clone()),
            sys_interval: config.limits.sys_interval,
            locks: Locks::default(),
        };
        let mut sinks = Self { place, running: None, now: Vec::new() };
        sinks.take(&config.sinks)?;
        Ok(sinks)
    }

    /// Takes another configuration over: sinks that are the same go on undisturbed. Says what changed.
    ///
    /// # Errors
    /// As [`start`](Self::start), when these are the first sinks.
    pub fn reload(&mut self, config: &Config) -> io::Result<Vec<String>> {
        let changes = changes(&self.now, &config.sinks);
        self.take(&config.sinks)?;
        Ok(changes)
    }

    /// The way to the dead letters.
    #[must_use]
    pub fn letters(&self) -> Letters {
        Letters::new(self.place.connector.clone(), self.place.locks.clone())
    }

    fn take(&mut self, sinks: &[SinkConfig]) -> io::Result<()> {
        if self.running.is_none() {
            let registry = Registry::open(self.place.folder.as_deref())?;
            if sinks.is_empty() && registry.names().next().is_none() {
                return Ok(());
            }
            let (commands, inbox) = mpsc::unbounded_channel();
            let supervisor = Supervisor::new(&self.place, registry, inbox);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let thread = thread::Builder::new().name("sinks".to_owned());
            let thread = thread.spawn(move || runtime.block_on(supervisor.run()))?;
            self.running = Some(Running { commands, thread });
        }
        self.now = sinks.to_vec();
        let (done, answer) = std::sync::mpsc::channel();
        let command = Command::Take(sinks.to_vec(), done);
        let told = self.running.as_ref().is_some_and(|running| running.commands.send(command).is_ok());
        if told && answer.recv().is_ok() { Ok(()) } else { Err(io::Error::other("the sinks have ended")) }
    }

    /// Ends them: what is being saved gets a moment, everything else waits in the Sessions for the next start.
    pub fn stop(self) {
        let Some(Running { commands, thread }) = self.running else { return };
        drop(commands);
        if thread.join().is_err() {
            tracing::error!(target: "sink", "the thread of the sinks has panicked");
        }
    }
}

/// Whether the sinks of a configuration could be started by this program: that their kinds are built in, their files can
/// be read, their URLs understood.
///
/// # Errors
/// Everything that is wrong.
pub fn judge(config: &Config) -> Result<(), ConfigErrors> {
    let errors = config.sinks.iter().filter_map(|sink| make::target(sink).err());
    ConfigErrors::unless_empty(errors.collect())
}

/// Connects to the targets and says what it finds, a line for each sink, without changing anything: for `cork check`.
/// May block for some seconds for each target that does not answer.
///
/// # Errors
/// The system gives no runtime.
pub fn look(config: &Config) -> io::Result<Vec<String>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let lines = config.sinks.iter().filter_map(|sink| {
        let mut target = make::target(sink).ok()?;
        let opened =
            async { tokio::time::timeout(LOOK_TIMEOUT, target.open(cork_sink::Opening::Look)).await };
        let found = match runtime.block_on(opened) {
            Ok(Ok(missing)) if missing.is_empty() => "everything is there".to_owned(),
            Ok(Ok(missing)) => format!("would create {}", missing.join(", ")),
            Ok(Err(fault)) => format!("cannot be used now: {fault}"),
            Err(_) => "cannot be used now: no answer within 5 s".to_owned(),
        };
        Some(format!("sink {} ({}): {found}", sink.name, sink.target.as_str()))
    });
    Ok(lines.collect())
}

fn changes(old: &[SinkConfig], new: &[SinkConfig]) -> Vec<String> {
    let of = |sinks: &[SinkConfig], name: &str| sinks.iter().position(|sink| sink.name == name);
    let mut found = Vec::new();
    for sink in new {
        match of(old, &sink.name) {
            None => found.push(format!("sink {}: new", sink.name)),
            Some(at) if !old[at].says_what(sink) => found.push(format!("sink {}: changed", sink.name)),
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|sink| of(new, &sink.name).is_none());
    found.extend(gone.map(|sink| format!("sink {}: gone", sink.name)));
    found
}
