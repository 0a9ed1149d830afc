//! What the process takes of the machine, as Linux tells it.

use std::{fs, path::Path};

use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};
use serde::Serialize;
use utoipa::ToSchema;

/// What the process takes of the machine.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Process {
    /// Cores in use over the last second; 1.0: one core busy.
    pub(crate) cpu: f64,
    /// Processor time since the start, user and system.
    pub(crate) cpu_seconds: f64,
    /// Resident memory.
    pub(crate) memory_bytes: u64,
    /// Open files, sockets among them.
    pub(crate) open_files: u64,
    /// How many there may be; null: any number.
    pub(crate) open_files_max: Option<u64>,
}

impl Process {
    /// Now; `cpu` is for the caller to say.
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name may have spaces; what follows its bracket has none.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let (pages, page) = (number(21), rustix::param::page_size());
        // The same file counts processor time in hundredths of a second: a broker with little to do would use none, or 1 %.
        let used = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            cpu: 0.0,
            #[expect(clippy::cast_precision_loss, reason = "seconds of centuries fit")]
            cpu_seconds: used.tv_sec as f64 + used.tv_nsec as f64 / 1e9,
            memory_bytes: pages * page as u64,
            open_files: fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
            open_files_max: getrlimit(Resource::Nofile).current,
        }
    }
}

/// Bytes of all files in a folder, and what is free beside them.
pub(crate) fn folder_bytes(folder: &Path) -> (u64, u64) {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                // Preallocated segments take what they were given.
                Ok(metadata) => bytes += std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
                Err(_) => {}
            }
        }
    }
    let free = rustix::fs::statvfs(folder).map_or(0, |about| about.f_bavail * about.f_frsize);
    (bytes, free)
}
