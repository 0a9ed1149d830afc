//! Between the generator and a real broker: a relay that spoils one of so many messages on their way to subscribers.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use cork_proto::split_packet;

/// What the relay does to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    Drop,
    Double,
    /// With the next one of the same connection.
    Swap,
    /// One bit of the payload.
    Corrupt,
    /// To another subscriber.
    Misroute,
}

/// The relay; it runs until the test ends.
pub(crate) struct Relay {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    fault: Fault,
    every: u64,
    broker: u16,
    /// Messages seen, and messages spoilt.
    seen: AtomicU64,
    spoilt: AtomicU64,
    /// The clients that have been sent a message.
    subscribers: Mutex<Vec<Arc<Mutex<TcpStream>>>>,
}

impl Relay {
    /// Spoils one message of `every` between the broker on port `broker` and its clients.
    pub(crate) fn start(broker: u16, fault: Fault, every: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            fault,
            every,
            broker,
            seen: AtomicU64::new(0),
            spoilt: AtomicU64::new(0),
            subscribers: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.carry(&client));
            }
        });
        Self { port, shared }
    }

    /// How many messages were spoilt.
    pub(crate) fn spoilt(&self) -> u64 {
        self.shared.spoilt.load(Relaxed)
    }
}

impl Shared {
    fn carry(&self, client: &TcpStream) {
        let broker = TcpStream::connect(("127.0.0.1", self.broker)).unwrap();
        for end in [client, &broker] {
            end.set_nodelay(true).unwrap();
        }
        let (mut from_client, mut to_broker) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
        thread::spawn(move || {
            // The end of either side ends both.
            let _ = std::io::copy(&mut from_client, &mut to_broker);
            let _ = to_broker.shutdown(Shutdown::Both);
        });
        self.to_client(broker, client);
        let _ = client.shutdown(Shutdown::Both);
    }

    fn to_client(&self, mut broker: TcpStream, client: &TcpStream) {
        let client = Arc::new(Mutex::new(client.try_clone().unwrap()));
        let (mut buffer, mut kept, mut held) = (vec![0; 64 * 1024], Vec::new(), Vec::new());
        let mut known = false;
        broker.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        loop {
            let got = match broker.read(&mut buffer) {
                Ok(0) => return,
                Ok(got) => got,
                // Nothing follows what is held back, so it goes as it is.
                Err(_) => {
                    let _ = client.lock().unwrap().write_all(&std::mem::take(&mut held));
                    continue;
                }
            };
            kept.extend_from_slice(&buffer[..got]);
            let mut rest = kept.as_slice();
            let mut out = Vec::new();
            while let Some(packet) = split_packet(&mut rest, usize::MAX).unwrap() {
                if packet[0] >> 4 != 3 {
                    out.extend_from_slice(packet);
                    continue;
                }
                if !known {
                    known = true;
                    self.subscribers.lock().unwrap().push(Arc::clone(&client));
                }
                self.message(packet, &client, &mut held, &mut out);
            }
            kept = rest.to_vec();
            if client.lock().unwrap().write_all(&out).is_err() {
                return;
            }
        }
    }

    fn message(&self, packet: &[u8], client: &Arc<Mutex<TcpStream>>, held: &mut Vec<u8>, out: &mut Vec<u8>) {
        let spoil = self.seen.fetch_add(1, Relaxed) % self.every == self.every - 1;
        if !held.is_empty() {
            out.extend_from_slice(packet);
            out.append(held);
            self.spoilt.fetch_add(1, Relaxed);
            return;
        }
        if !spoil {
            out.extend_from_slice(packet);
            return;
        }
        match self.fault {
            Fault::Nothing => {
                out.extend_from_slice(packet);
                return;
            }
            Fault::Swap => {
                held.extend_from_slice(packet);
                return;
            }
            Fault::Drop => {}
            Fault::Double => out.extend_from_slice(&packet.repeat(2)),
            Fault::Corrupt => {
                let mut broken = packet.to_vec();
                // Anywhere in the last 40 bytes, which are payload: stamp or filler.
                let at = broken.len() - 1 - usize::try_from(self.spoilt.load(Relaxed) % 40).unwrap();
                broken[at] ^= 0x10;
                out.extend_from_slice(&broken);
            }
            Fault::Misroute => {
                let others = self.subscribers.lock().unwrap();
                let Some(other) = others.iter().find(|other| !Arc::ptr_eq(other, client)) else {
                    out.extend_from_slice(packet);
                    return;
                };
                other.lock().unwrap().write_all(packet).unwrap();
            }
        }
        self.spoilt.fetch_add(1, Relaxed);
    }
}
