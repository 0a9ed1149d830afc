//! Playing a plan: each step at its time, until the end or until somebody stops it.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use cork_client::ConnectError;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    fleet::Fleet,
    printer::Printer,
    scenario::{Plan, Speed},
    schedule::{Schedule, Step},
};

/// Steps without waiting, after which the connections get their turn.
const STEPS_AT_ONCE: u32 = 64;

/// What was sent, for the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Devices.
    pub devices: usize,
    /// Messages handed to a connection, without status messages.
    pub sent: u64,
    /// Their payloads, in bytes.
    pub bytes: u64,
    /// Messages that were due, but had no connection and no room to wait for one.
    pub missed: u64,
    /// Messages the broker refused.
    pub refused: u64,
    /// Connections that were lost on purpose.
    pub outages: u64,
    /// Connections that were lost otherwise.
    pub losses: u64,
    /// Time it took.
    pub time: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { devices, sent, bytes, .. } = self;
        let plural = |number: u64| if number == 1 { "" } else { "s" };
        write!(
            f,
            "sent {sent} message{} ({bytes} bytes) from {devices} device{}",
            plural(*sent),
            plural(*devices as u64)
        )?;
        write!(f, " in {:.1} s", self.time.as_secs_f64())?;
        let more = [
            (self.outages, "planned outage", "s"),
            (self.losses, "lost connection", "s"),
            (self.missed, "not sent for want of a connection", ""),
            (self.refused, "refused by the broker", ""),
        ];
        for (number, what, ending) in more {
            if number > 0 {
                write!(f, "; {number} {what}{}", if number == 1 { "" } else { ending })?;
            }
        }
        Ok(())
    }
}

/// Ends a simulation in order: devices say goodbye, what is on its way arrives.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    is_stopped: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// From any thread, at any time.
    pub fn stop(&self) {
        self.inner.is_stopped.store(true, Relaxed);
        self.inner.notify.notify_one();
    }

    fn is_stopped(&self) -> bool {
        self.inner.is_stopped.load(Relaxed)
    }

    /// What the future gives, or `None` if it is stopped before.
    pub(crate) async fn or<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let (mut future, mut stopped) = (pin!(future), pin!(self.inner.notify.notified()));
        poll_fn(|cx| {
            if self.is_stopped() || stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

/// Why nothing is simulated.
#[derive(Debug)]
pub enum PlayError {
    /// The system does not even let a runtime start.
    System(io::Error),
    /// The broker lets a device not in, for good; or the options make no sense.
    Connect(ConnectError),
    /// Stopped before the broker could be reached, with why it could not.
    NotReached(Option<ConnectError>),
    /// Each connection is an open file, and the system allows too few.
    Descriptors {
        /// Connections.
        needed: usize,
        /// Open files.
        allowed: u64,
    },
    /// What is printed cannot be written.
    Output(io::Error),
}

impl fmt::Display for PlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => write!(f, "the system refuses: {error}"),
            Self::Connect(error) => error.fmt(f),
            Self::NotReached(Some(error)) => write!(f, "nothing was sent: {error}"),
            Self::NotReached(None) => {
                f.write_str("nothing was sent: stopped before all devices were connected")
            }
            Self::Descriptors { needed, allowed } => write!(
                f,
                "{needed} connections need as many open files, and the system allows {allowed}; raise `ulimit -Hn`, or \
                 let devices share connections"
            ),
            Self::Output(error) => write!(f, "cannot write: {error}"),
        }
    }
}

impl std::error::Error for PlayError {}

/// Where steps go.
enum Stage<'p> {
    Broker(Box<Fleet>),
    Print(Printer<'p>),
}

/// Connects the devices of a plan and has them do what they are to do, on this thread. Time begins when all are
/// connected. `say` gets what a person wants to know meanwhile, a line at a time.
///
/// # Errors
/// The broker refuses a device, or was never reached until `stop`.
pub fn play(
    plan: Plan,
    stop: &Stop,
    say: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Summary, PlayError> {
    let plan = Arc::new(plan);
    runtime()?.block_on(async {
        let fleet = Fleet::launch(Arc::clone(&plan), stop, Arc::new(say)).await?;
        perform(plan, stop, Stage::Broker(Box::new(fleet))).await
    })
}

/// Writes what a plan would send, line by line: seconds since the start, topic, payload. A line that begins with `#`
/// says who comes and goes.
///
/// # Errors
/// What is written cannot be.
pub fn print(plan: Plan, stop: &Stop, out: &mut dyn io::Write) -> Result<Summary, PlayError> {
    let plan = Arc::new(plan);
    let printer = Printer::new(Arc::clone(&plan), out);
    runtime()?.block_on(perform(plan, stop, Stage::Print(printer)))
}

fn runtime() -> Result<tokio::runtime::Runtime, PlayError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PlayError::System)
}

async fn perform(plan: Arc<Plan>, stop: &Stop, mut stage: Stage<'_>) -> Result<Summary, PlayError> {
    let start = Instant::now();
    let mut at_once = 0;
    for step in Schedule::new(Arc::clone(&plan)) {
        let due = match plan.speed {
            Speed::Max => start,
            Speed::Times(times) => {
                start + Duration::try_from_secs_f64(step.at.as_secs_f64() / times).unwrap_or(FAR)
            }
        };
        at_once += 1;
        if due > Instant::now() {
            at_once = 0;
            if stop.or(sleep_until(due)).await.is_none() {
                break;
            }
        } else if at_once % STEPS_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
        if stop.is_stopped() || !stage.act(&step, stop).await? {
            break;
        }
    }
    let mut summary = stage.end().await?;
    summary.devices = plan.devices.len();
    summary.time = start.elapsed();
    Ok(summary)
}

/// Beyond every run, and still in the range of clocks.
const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Stage<'_> {
    /// Does one step; false when it is time to end.
    async fn act(&mut self, step: &Step, stop: &Stop) -> Result<bool, PlayError> {
        match self {
            Self::Broker(fleet) => fleet.act(step, stop).await,
            Self::Print(printer) => printer.act(step).map_err(PlayError::Output),
        }
    }

    async fn end(self) -> Result<Summary, PlayError> {
        match self {
            Self::Broker(fleet) => Ok(fleet.end().await),
            Self::Print(printer) => printer.end().map_err(PlayError::Output),
        }
    }
}
