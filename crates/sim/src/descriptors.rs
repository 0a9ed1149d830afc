//! Open files: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::play::PlayError;

/// What a process needs beside its connections.
const OTHERS: u64 = 32;

/// Raises the limit as far as it must, and as far as this user may.
pub(crate) fn allow(connections: usize) -> Result<(), PlayError> {
    let needed = connections as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    if allowed < needed || setrlimit(Resource::Nofile, raised).is_err() {
        return Err(PlayError::Descriptors { needed: connections, allowed });
    }
    Ok(())
}
