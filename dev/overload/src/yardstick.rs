//! What the machine itself does to a round trip: an echo over loopback without a broker, in the neighbour's rhythm.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::neighbour::{EVERY, percentile};

pub(crate) struct Yardstick {
    stop: Arc<AtomicBool>,
    asker: JoinHandle<io::Result<Vec<Duration>>>,
}

impl Yardstick {
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let asker = TcpStream::connect(listener.local_addr()?)?;
        let (mut echo, _) = listener.accept()?;
        for socket in [&asker, &echo] {
            socket.set_nodelay(true)?;
        }
        // Ends with the asker's connection.
        thread::spawn(move || {
            let mut byte = [0];
            while echo.read_exact(&mut byte).and_then(|()| echo.write_all(&byte)).is_ok() {}
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Ok(Self { stop, asker: thread::spawn(move || ask(asker, &stopped)) })
    }

    /// The 99th percentile of its round trips.
    pub(crate) fn stop(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let times = self.asker.join().ok().and_then(Result::ok).unwrap_or_default();
        percentile(&times, 99)
    }
}

fn ask(mut socket: TcpStream, stopped: &AtomicBool) -> io::Result<Vec<Duration>> {
    let (begun, mut times, mut byte) = (Instant::now(), Vec::new(), [0]);
    while !stopped.load(Ordering::Relaxed) {
        let due = begun + EVERY * u32::try_from(times.len()).unwrap_or(u32::MAX);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        socket.write_all(&byte)?;
        socket.read_exact(&mut byte)?;
        times.push(due.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}
