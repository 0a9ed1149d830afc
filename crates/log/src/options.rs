//! What an operator, or a test, can choose.

use std::time::Duration;

/// What an acknowledgement relies on.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the disk: it survives a power cut.
    #[default]
    Always,
    /// With the operating system, and on the disk after this time: it survives the end of the process, and a power cut
    /// takes no more than what came in this time.
    Interval(Duration),
    /// With the operating system, which writes when it likes: it survives the end of the process.
    None,
}

/// How a log is kept.
#[derive(Copy, Clone, Debug)]
pub struct Options {
    /// What an acknowledgement relies on.
    pub durability: Durability,
    /// Length of a segment. A commit that is longer gets a segment of its own length.
    pub segment_bytes: u64,
    /// Segments made ahead. They are what a full disk leaves for records that free space, too.
    pub spare_segments: usize,
    /// So much larger than what is needed in it the log may always be; else it is at most twice as large.
    pub slack_bytes: u64,
    /// Bytes that are looked through with one commit to give space back.
    pub clean_slice_bytes: u64,
    /// Bytes that one commit gathers at most, unless one batch has more.
    pub group_bytes_max: usize,
    /// From so many bytes that are needed on, the store counts as full, until a sixteenth of them is free again. Looked at
    /// twice a second. `None`: what the disk has.
    pub live_bytes_max: Option<u64>,
    /// Of retained messages a start gives back so many bytes; of the others only that they are there.
    pub retained_bytes_max: u64,
    /// For tests: what randomness begins with.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Always,
            segment_bytes: 16 << 20,
            spare_segments: 2,
            slack_bytes: 64 << 20,
            clean_slice_bytes: 256 << 10,
            group_bytes_max: 4 << 20,
            live_bytes_max: None,
            retained_bytes_max: u64::MAX,
            seed: None,
        }
    }
}
