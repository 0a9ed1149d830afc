//! The broker under test: the real binary as a process of its own.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Which broker.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cork,
    /// Mosquitto with the safest settings it has: saving after every change.
    Mosquitto,
}

/// A broker that can be started, killed and started again.
#[derive(Debug)]
pub(crate) struct Broker {
    kind: Kind,
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    port: u16,
    child: Option<Child>,
}

/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(30);

impl Broker {
    /// Writes a configuration into `folder`, for data in `data`. `settings` are further lines for Corkboard's file.
    pub(crate) fn new(
        kind: Kind,
        binary: &Path,
        folder: &Path,
        data: &Path,
        settings: &str,
    ) -> Result<Self, String> {
        let wrong = |error| format!("cannot prepare the broker in {}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(wrong)?;
        let port = free_port().map_err(wrong)?;
        let (data, port_text) = (data.display(), port.to_string());
        let text = match kind {
            Kind::Cork => format!(
                "data_dir = \"{data}\"\n{settings}\n[[listener]]\nurl = \"mqtt://127.0.0.1:{port_text}\"\n"
            ),
            Kind::Mosquitto => format!(
                "listener {port_text} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\n\
                 persistence_location {data}/\nautosave_on_changes true\nautosave_interval 1\n\
                 max_queued_messages 0\n"
            ),
        };
        let config = folder.join("broker.conf");
        fs::write(&config, text).map_err(wrong)?;
        let log = folder.join("broker.log");
        File::create(&log).map_err(wrong)?;
        Ok(Self { kind, binary: binary.to_owned(), config, log, port, child: None })
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Its process; 0 when it does not run.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// The command line.
    fn arguments(&self) -> Vec<String> {
        let config = self.config.display().to_string();
        match self.kind {
            Kind::Cork => vec!["serve".to_owned(), "--config".to_owned(), config],
            Kind::Mosquitto => vec!["-c".to_owned(), config],
        }
    }

    /// Starts it and waits until it takes connections; says how long that took.
    pub(crate) fn start(&mut self) -> Result<Duration, String> {
        let begun = Instant::now();
        let log = File::options().append(true).open(&self.log).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let child = Command::new(&self.binary)
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.binary.display()))?;
        self.child = Some(child);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = self.ended() {
                return Err(format!("the broker ended at its start ({status}):\n{}", self.last_words()));
            }
            if begun.elapsed() > START_MAX {
                return Err(format!("the broker takes no connections:\n{}", self.last_words()));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(begun.elapsed())
    }

    /// How it ended, if it did by itself.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status.to_string())
    }

    /// SIGKILL, without waiting for the end.
    pub(crate) fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
        }
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill_and_wait(&mut self) {
        self.kill();
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// SIGTERM: whether it has ended within this time.
    pub(crate) fn terminate(&mut self, within: Duration) -> bool {
        let pid = self.pid().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let begun = Instant::now();
        while self.ended().is_none() {
            if begun.elapsed() > within {
                self.kill_and_wait();
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill_and_wait();
    }
}

/// A port below those that the system gives to others: nobody takes it while the broker is down.
fn free_port() -> std::io::Result<u16> {
    let first = u16::try_from(std::process::id() % 12_000).unwrap_or(0);
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut ports = (0..12_000).map(|step| 20_000 + (first + step) % 12_000);
    ports.find(free).ok_or_else(|| std::io::Error::other("no port from 20000 to 31999 is free"))
}
