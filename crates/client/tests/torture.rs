//! Nothing lost, QoS 2 never twice, although the connection is cut ten times and the client's process killed ten
//! times.
//!
//! A program of its own, because it starts itself again as the process to be killed. `TORTURE_COUNT` messages go each
//! way of the matrix (default 3000), against a broker in this program, and for `TORTURE_BROKERS=mosquitto,cork`
//! against Debian's mosquitto and the binary that `CORK_BIN` names.

#![allow(clippy::unwrap_used, reason = "a test fails that way")]

mod common;

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use common::Relay;
use cork_client::{Client, FileStore, Options, Publish, QoS, Reconnect, Subscribe, Version};

/// Cuts, and kills, on the way.
const TIMES: u32 = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let [mode, port, topic, qos, version, count, store] = &arguments[..]
        && mode == "publish"
    {
        let job = Job {
            topic: topic.clone(),
            qos: QoS::from_bits(qos.parse().unwrap()).unwrap(),
            version: if version == "5" { Version::V5 } else { Version::V311 },
            count: count.parse().unwrap(),
        };
        return runtime.block_on(publish(&job, port.parse().unwrap(), Path::new(store)));
    }
    // What `cargo test FILTER` and nextest ask of every test.
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            println!("torture: test");
        }
        return;
    }
    if arguments.iter().any(|argument| !argument.starts_with('-') && !"torture".contains(argument)) {
        return;
    }
    let count = std::env::var("TORTURE_COUNT").map_or(3000, |count| count.parse().unwrap());
    let brokers = std::env::var("TORTURE_BROKERS").unwrap_or_else(|_| "inside".into());
    let folder = std::env::temp_dir().join(format!("cork-torture-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in brokers.split(',') {
        let broker = Broker::start(name, &folder);
        for version in [Version::V5, Version::V311] {
            for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let job = Job { topic: format!("{version:?}-{}", qos.bits()), qos, version, count };
                let start = Instant::now();
                let doubled = runtime.block_on(torture(&job, broker.port, &folder));
                let qos = qos.bits();
                println!(
                    "{name}, {version:?}, QoS {qos}: {count} messages, none lost, {doubled} twice, {:.1?}",
                    start.elapsed()
                );
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// What is published.
struct Job {
    topic: String,
    qos: QoS,
    version: Version,
    count: u32,
}

impl Job {
    fn options(&self, port: u16) -> Options {
        let reconnect = Reconnect {
            min: Duration::from_millis(10),
            max: Duration::from_millis(100),
            attempts: Some(200),
        };
        Options::new(&format!("mqtt://127.0.0.1:{port}"))
            .unwrap()
            .version(self.version)
            .session_expiry(600)
            .clean_start(false)
            .reconnect(reconnect)
    }
}

/// The process that is killed: goes on where the one before it was stopped.
async fn publish(job: &Job, port: u16, store: &Path) {
    let options =
        job.options(port).client_id(format!("sender-{}", job.topic)).store(FileStore::new(store.join("log")));
    let client = Client::start(options).unwrap();
    for n in client.accepted()..u64::from(job.count) {
        client.publish(Publish::new(job.topic.as_str(), n.to_string()).qos(job.qos)).await.unwrap();
    }
    client.flush().await.unwrap();
    client.disconnect().await;
}

/// Returns how many messages came twice.
async fn torture(job: &Job, port: u16, folder: &Path) -> u32 {
    let relay = Relay::to(port).await;
    let options = job.options(relay.port).client_id(format!("receiver-{}", job.topic));
    let receiver = Client::connect(options).await.unwrap();
    let mut messages = receiver.subscribe(Subscribe::new(job.topic.as_str()).qos(job.qos)).await.unwrap();
    let store = folder.join(format!("{}-{port}", job.topic));
    std::fs::create_dir_all(&store).unwrap();
    let mut sender = Sender::spawn(job, relay.port, &store);
    let mut seen = vec![0u32; job.count as usize];
    let (mut got, mut cuts, mut kills) = (0, 0, 0);
    while got < job.count {
        let next = tokio::time::timeout(Duration::from_secs(60), messages.next()).await;
        let Ok(Some(message)) = next else {
            let missing = seen.iter().position(|times| *times == 0);
            panic!("{}: {got} of {} came, {missing:?} is missing", job.topic, job.count);
        };
        let n: usize = str::from_utf8(message.payload()).unwrap().parse().unwrap();
        seen[n] += 1;
        got += u32::from(seen[n] == 1);
        if got > job.count / (TIMES + 1) * (cuts + 1) && cuts < TIMES {
            cuts += 1;
            relay.cut();
        }
        if got > job.count / (TIMES + 1) * kills + job.count / (2 * TIMES + 2) && kills < TIMES {
            kills += 1;
            sender.kill();
            sender = Sender::spawn(job, relay.port, &store);
        }
    }
    assert!(sender.ended().await.success(), "the sender does not end well");
    let late = tokio::time::timeout(Duration::from_millis(300), messages.next()).await;
    let doubled = seen.iter().map(|times| times - 1).sum::<u32>() + u32::from(late.is_ok());
    assert_eq!((cuts, kills), (TIMES, TIMES));
    assert!(job.qos == QoS::AtLeastOnce || doubled == 0, "{}: {doubled} came twice", job.topic);
    receiver.disconnect().await;
    doubled
}

struct Sender(Child);

impl Sender {
    fn spawn(job: &Job, port: u16, store: &Path) -> Self {
        let version = if job.version == Version::V5 { "5" } else { "3" };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["publish", &port.to_string(), &job.topic, &job.qos.bits().to_string(), version]);
        Self(command.arg(job.count.to_string()).arg(store).spawn().unwrap())
    }

    /// Waits for its end; the relay goes on meanwhile.
    async fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "the sender does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server; ends with its value.
struct Broker {
    port: u16,
    process: Option<Child>,
    _inside: Option<common::Server>,
}

impl Broker {
    fn start(name: &str, folder: &Path) -> Self {
        if name == "inside" {
            let inside = common::Server::new();
            return Self { port: *inside.ports.last().unwrap(), process: None, _inside: Some(inside) };
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = if name == "mosquitto" {
            let config = folder.join("mosquitto.conf");
            let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
            std::fs::write(&config, text).unwrap();
            let mut command = Command::new(mosquitto());
            command.arg("-c").arg(config);
            command
        } else {
            let mut command = Command::new(std::env::var("CORK_BIN").expect("CORK_BIN names the binary"));
            command.args(["serve", "--listen", &format!("mqtt://127.0.0.1:{port}"), "--durability", "none"]);
            command.arg("--data-dir").arg(folder.join("cork"));
            command
        };
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "{name} does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, process: Some(process), _inside: None }
    }
}

fn mosquitto() -> PathBuf {
    let sbin = PathBuf::from("/usr/sbin/mosquitto");
    if sbin.exists() { sbin } else { PathBuf::from("mosquitto") }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
