//! Brokers as commands: started by themselves on free ports of the loopback, waited for, ended with all they started.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Failure;
use crate::args::BenchArgs;
use crate::compare::interrupt::Group;
use crate::compare::parse;
use crate::compare::shapes::Door;

/// A broker, as the user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broker {
    pub(crate) name: String,
    pub(crate) command: String,
}

impl Broker {
    /// Reads `NAME=COMMAND`.
    ///
    /// # Errors
    /// One of both is missing.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        match text.split_once('=') {
            Some((name, command)) if !name.trim().is_empty() && command.contains("{port}") => {
                Ok(Self { name: name.trim().into(), command: command.trim().into() })
            }
            _ => Err(Failure::usage(format!(
                "--broker '{text}': write NAME=COMMAND with {{port}} in the command, for example \
                 'mosquitto=mosquitto -p {{port}}'"
            ))),
        }
    }

    /// Whether it can be measured there.
    pub(crate) fn has(&self, door: Door) -> bool {
        match door {
            Door::Plain => true,
            Door::Tls => self.command.contains("{tls_port}"),
            Door::WebSocket => self.command.contains("{ws_port}"),
        }
    }
}

/// A folder for everything that is needed while comparing; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) folder: PathBuf,
    /// The broker that runs.
    group: Group,
}

impl Workshop {
    /// Makes the folder, with a certificate in it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn new() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("cork-bench-{}", std::process::id()));
        let wrong =
            |error: &std::io::Error| Failure::system(&format!("cannot write {}", folder.display()), error);
        fs::create_dir_all(&folder).map_err(|error| wrong(&error))?;
        let workshop = Self { folder: folder.clone(), group: Group::default() };
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
            .map_err(|error| Failure::run(format!("cannot make a certificate: {error}")))?;
        fs::write(workshop.cert(), made.cert.pem()).map_err(|error| wrong(&error))?;
        fs::write(workshop.key(), made.signing_key.serialize_pem()).map_err(|error| wrong(&error))?;
        Ok(workshop)
    }

    /// See [`Group::end_with_this_process`].
    ///
    /// # Errors
    /// The system does not allow it.
    pub(crate) fn end_with_this_process(&self) -> Result<(), Failure> {
        self.group.end_with_this_process(self.folder.clone())
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // A rest in the folder for temporary files hurts nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A broker that runs; ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    group: Group,
    log: PathBuf,
    ports: [u16; 3],
}

impl Running {
    /// Starts it and waits until it answers a CONNECT at `door`.
    ///
    /// # Errors
    /// It does not start, ends at once, or does not answer within `patience`.
    pub(crate) fn start(
        broker: &Broker,
        door: Door,
        workshop: &Workshop,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let ports = [free_port()?, free_port()?, free_port()?];
        let data = workshop.folder.join("data");
        // What an earlier broker left there is not this one's.
        let _ = fs::remove_dir_all(&data);
        let wrong = |what: &str, error: &std::io::Error| {
            Failure::system(&format!("broker {}: {what}", broker.name), error)
        };
        fs::create_dir_all(&data).map_err(|error| wrong("cannot make its folder", &error))?;
        let log = workshop.folder.join("log");
        let file = File::create(&log).map_err(|error| wrong("cannot write its log", &error))?;
        let errors = file.try_clone().map_err(|error| wrong("cannot write its log", &error))?;
        let child = Command::new("sh")
            .arg("-c")
            .arg(fill_in(&broker.command, ports, &data, workshop))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .map_err(|error| wrong("cannot start a shell", &error))?;
        workshop.group.runs(child.id());
        let mut running = Self { child, group: workshop.group.clone(), log, ports };
        running.wait(broker, door, workshop, patience)?;
        Ok(running)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where to reach it, as options of `cork bench`.
    pub(crate) fn reach(&self, door: Door, workshop: &Workshop) -> Vec<String> {
        let [plain, tls, websocket] = self.ports;
        match door {
            Door::Plain => vec![format!("--url=mqtt://127.0.0.1:{plain}")],
            Door::Tls => {
                vec![format!("--url=mqtts://127.0.0.1:{tls}"), format!("--ca={}", workshop.cert().display())]
            }
            Door::WebSocket => vec![format!("--url=ws://127.0.0.1:{websocket}")],
        }
    }

    fn wait(
        &mut self,
        broker: &Broker,
        door: Door,
        workshop: &Workshop,
        patience: Duration,
    ) -> Result<(), Failure> {
        let probe = self.probe(door, workshop)?;
        let end = Instant::now() + patience;
        loop {
            let Err(failure) = crate::run(&probe) else { return Ok(()) };
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failure(broker, &format!("ended with {status} instead of serving")));
            }
            if Instant::now() > end {
                return Err(self.failure(broker, &format!("does not answer ({failure})")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A command line of one connection.
    fn probe(&self, door: Door, workshop: &Workshop) -> Result<BenchArgs, Failure> {
        let mut line: Vec<String> = ["connections", "-n", "1", "--deadline", "2s"].map(String::from).to_vec();
        line.extend(self.reach(door, workshop));
        parse(line)
    }

    /// What went wrong, with the end of the broker's own words.
    fn failure(&self, broker: &Broker, what: &str) -> Failure {
        let log =
            fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default();
        let words: Vec<&str> = log.lines().rev().take(5).collect();
        let words: Vec<&str> = words.into_iter().rev().collect();
        let said = if words.is_empty() {
            "it said nothing".into()
        } else {
            format!("it said:\n{}", words.join("\n"))
        };
        Failure::run(format!("broker {}: `{}` {what}; {said}", broker.name, broker.command))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.group.signal(Signal::TERM);
        let end = Instant::now() + PATIENCE_AT_THE_END;
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        // What it started may still be there.
        self.group.end();
        let _ = self.child.wait();
    }
}

const PATIENCE_AT_THE_END: Duration = Duration::from_secs(10);

/// A port that nobody uses now.
fn free_port() -> Result<u16, Failure> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Failure::system("no free port on 127.0.0.1", &error))
}

fn fill_in(command: &str, ports: [u16; 3], data: &Path, workshop: &Workshop) -> String {
    let [plain, tls, websocket] = ports;
    command
        .replace("{port}", &plain.to_string())
        .replace("{tls_port}", &tls.to_string())
        .replace("{ws_port}", &websocket.to_string())
        .replace("{data}", &data.display().to_string())
        .replace("{cert}", &workshop.cert().display().to_string())
        .replace("{key}", &workshop.key().display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_commands() {
        let broker = Broker::parse("a=b --port={port} --tls {tls_port}").unwrap();
        assert_eq!(
            (broker.name.as_str(), broker.command.as_str()),
            ("a", "b --port={port} --tls {tls_port}")
        );
        assert!(broker.has(Door::Tls) && !broker.has(Door::WebSocket));
        for wrong in ["a", "=b {port}", "a=b"] {
            assert!(Broker::parse(wrong).unwrap_err().to_string().contains("NAME=COMMAND"), "{wrong}");
        }
    }

    #[test]
    fn a_command_that_ends_is_told_with_its_last_words() {
        let workshop = Workshop::new().unwrap();
        let broker = Broker::parse("bad=echo no config >&2; exit 7 # {port}").unwrap();
        let failure =
            Running::start(&broker, Door::Plain, &workshop, Duration::from_secs(5)).unwrap_err().to_string();
        assert!(
            failure.contains("bad") && failure.contains("exit status: 7") && failure.contains("no config"),
            "{failure}"
        );
    }
}
