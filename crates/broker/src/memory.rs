//! `memory`: one number, and how it is divided.
//!
//! Shares that only the operator's number bounds are cut to a part of it; what is left over is for what grows with the
//! number of Sessions, subscriptions, topics and queued messages. When that and the shares come near the number, the
//! shards hear of it and let go of what they can, see [`Pressure`].

use cork_core::{Limits, Pressure};

/// Parts of the number: a sixteenth each.
const PARTS: u64 = 16;

/// Cuts what a shard may keep in memory to its part of `memory`.
pub(crate) fn cut(limits: &mut Limits, memory: u64, shards: u64) {
    let part = |parts: u64| memory / PARTS * parts / shards;
    let size = |parts: u64| usize::try_from(part(parts)).unwrap_or(usize::MAX);
    limits.output_bytes_total_max = limits.output_bytes_total_max.min(size(2));
    limits.output_bytes_max = limits.output_bytes_max.min(size(1));
    limits.heads_bytes_max = limits.heads_bytes_max.min(part(1));
    limits.unstored_bytes_max = limits.unstored_bytes_max.min(size(1));
    limits.login_bytes_total_max = limits.login_bytes_total_max.min(size(1));
    // Every shard knows all of them, and they share the contents.
    limits.retained_bytes_max = retained_bytes(memory);
    limits.queue_bytes_total_max = limits.queue_bytes_total_max.min(part(4));
}

/// Of retained messages that may stay in memory.
pub(crate) const fn retained_bytes(memory: u64) -> u64 {
    memory / PARTS * 3
}

/// From so much of the number on, in hundredths, each level holds; it ends three hundredths below.
const LEVELS: [(Pressure, u64); 3] = [(Pressure::Short, 94), (Pressure::Tight, 88), (Pressure::Lean, 75)];
const BACK: u64 = 3;

/// How near `resident` bytes are to `memory`, after it was `before`.
pub(crate) fn pressure(resident: u64, memory: u64, before: Pressure) -> Pressure {
    let hundredths = resident.saturating_mul(100) / memory.max(1);
    let holds =
        |(level, from): &&(Pressure, u64)| hundredths >= if *level <= before { *from - BACK } else { *from };
    LEVELS.iter().find(holds).map_or(Pressure::None, |(level, _)| *level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_one_after_the_other_and_do_not_flutter() {
        let mut level = Pressure::None;
        let mut seen = Vec::new();
        for resident in [74, 75, 73, 71, 88, 86, 84, 94, 91, 90, 60] {
            level = pressure(resident, 100, level);
            seen.push(level);
        }
        use Pressure::{Lean, None, Short, Tight};
        assert_eq!(seen, [None, Lean, Lean, None, Tight, Tight, Lean, Short, Short, Tight, None]);
    }

    #[test]
    fn the_shares_are_less_than_the_whole() {
        for memory in [8_000_000, 256_000_000, 64 << 30] {
            for shards in [1, 4] {
                let mut limits = Limits::default();
                cut(&mut limits, memory, shards);
                let shares = limits.output_bytes_total_max as u64
                    + limits.heads_bytes_max
                    + limits.unstored_bytes_max as u64
                    + limits.login_bytes_total_max as u64;
                assert!(shares * shards + limits.retained_bytes_max <= memory / 2, "{memory}, {shards}");
            }
        }
    }
}
