//! What a run needs of this machine: descriptors, a CPU, a number to be known by.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Failure;
use crate::payload::fold;

/// Makes sure that `connections` can be open at a time.
///
/// # Errors
/// The hard limit of descriptors is too low.
pub(crate) fn prepare(connections: usize) -> Result<(), Failure> {
    let needed = connections as u64 + SPARE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(Failure::run(format!(
            "{connections} connections need {needed} descriptors, and this process may have {}; \
             raise the hard limit (`ulimit -Hn`) or open fewer",
            limit.maximum.unwrap_or(0)
        )));
    }
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum.or(Some(needed)), ..limit })
        .map_err(|error| Failure::system("cannot raise the number of descriptors", &error.into()))
}

/// Descriptors for everything but connections.
const SPARE: u64 = 64;

/// Binds this thread to a CPU, if one is named.
///
/// # Errors
/// There is no such CPU.
pub(crate) fn pin(core: Option<usize>) -> Result<(), Failure> {
    let Some(core) = core else { return Ok(()) };
    let there_is_none = || {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Failure::usage(format!(
            "--core {core}: there is no such CPU for this process; it has {cores}, counted from 0"
        ))
    };
    if core >= CpuSet::MAX_CPU {
        return Err(there_is_none());
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|_| there_is_none())
}

/// A number that tells this run from others on the same broker.
pub(crate) fn run_id() -> u16 {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, crate::units::nanos);
    let [a, b, ..] = fold(now, u64::from(std::process::id())).to_be_bytes();
    u16::from_be_bytes([a, b])
}
