//! The well-behaved client beside the flood: one message to itself every 10 ms, at QoS 1 both ways.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cork_conform::wire::{self, V311};

use crate::client::{Client, Login};

pub(crate) const EVERY: Duration = Duration::from_millis(10);
/// How long what is under way at the end may take.
const LAST: Duration = Duration::from_secs(10);
const TOPIC: &str = "neighbour";
const QOS_1: u8 = 0x02;

pub(crate) struct Neighbour {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<()>,
    times: Arc<Mutex<Vec<Duration>>>,
}

/// What it noticed.
pub(crate) struct Noticed {
    /// From the moment each message was due to be sent, sorted.
    pub(crate) times: Vec<Duration>,
    pub(crate) lost: u64,
}

impl Noticed {
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        percentile(&self.times, percent)
    }
}

/// Of sorted times; without any, the worst there is.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or(Duration::MAX)
}

impl Neighbour {
    pub(crate) fn start(port: u16, users: bool) -> Self {
        let mut client =
            Client::connect(port, "neighbour", &Login::of(users)).expect("the neighbour gets in");
        client.subscribe(1, &[(TOPIC, 1)]).expect("it may subscribe");
        let (due, dues) = mpsc::channel::<Instant>();
        let mut writer = Client::new(client.socket.try_clone().expect("a second handle"));
        let (stop, times) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<Duration>>>::default());
        let (stopped, noted) = (Arc::clone(&stop), Arc::clone(&times));
        let sender = thread::spawn(move || {
            let (begun, mut sent) = (Instant::now(), 0u32);
            while !stopped.load(Ordering::Relaxed) {
                let when = begun + EVERY * sent;
                thread::sleep(when.saturating_duration_since(Instant::now()));
                let id = u16::try_from(sent % 60_000 + 1).expect("below 2^16");
                let packet = wire::publish(V311, QOS_1, TOPIC, Some(id), &sent.to_be_bytes());
                if due.send(when).is_err() || writer.send(&packet).is_err() {
                    break;
                }
                sent += 1;
            }
            u64::from(sent)
        });
        let receiver = thread::spawn(move || {
            // Ends when the sender has, and everything has come; or with the connection.
            while let Ok(when) = dues.recv() {
                if receive(&mut client).is_err() {
                    return;
                }
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(when.elapsed());
            }
        });
        Self { stop, sender, receiver, times }
    }

    /// Ends it, when all has come or would have come.
    pub(crate) fn stop(self) -> Noticed {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("it does not panic");
        let deadline = Instant::now() + LAST;
        while Instant::now() < deadline && !self.receiver.is_finished() {
            thread::sleep(EVERY);
        }
        let mut times = std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner));
        times.sort_unstable();
        let lost = sent - times.len() as u64;
        Noticed { times, lost }
    }
}

/// Takes the next message and acknowledges it.
fn receive(client: &mut Client) -> io::Result<()> {
    let packet = client.wait_for(0x30 | QOS_1)?;
    let id = 2 + 2 + TOPIC.len();
    client.send(&[0x40, 2, packet[id], packet[id + 1]])
}
