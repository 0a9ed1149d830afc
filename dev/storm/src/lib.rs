//! The deterministic simulation of the core: shards, connections and a crowd of clients on one thread, driven by one
//! seed.
//!
//! A storm has three parts. In the **chaos** clients of all versions connect, publish, subscribe, cut, come back, take
//! their own Sessions over, acknowledge late and out of order; bytes move in pieces of any size; the store, the access
//! port, the mail between shards and the timers answer when they like; the broker dies, by the power or by itself, and
//! starts again with what its store kept, with any number of shards; the disk runs full, or fails. In the **calm** everybody comes back and reads
//! everything. Then the ledger is compared with the promises (`checks`), and everybody leaves: nothing may be left.
//!
//! ```
//! let first = cork_storm::run(1).expect("seed 1 holds");
//! let again = cork_storm::run(1).expect("seed 1 holds");
//! assert_eq!(first.trace, again.trace);
//! ```
//!
//! `cargo run --profile storm -p cork-storm -- --seed N` repeats a storm, prints its options and, if it fails, what
//! happened last; `--log` tells everything that happens. `--plant NAME` plants a defect ([`Plant`]).
#![forbid(unsafe_code)]

mod actions;
mod checks;
mod client;
mod context;
mod coverage;
mod crash;
mod disk;
mod ledger;
mod link;
mod net;
mod node;
mod options;
mod past;
mod plant;
mod presence;
mod receive;
mod rng;
mod store;
mod trail;
mod world;

pub use context::Telling;
pub use coverage::Coverage;
pub use options::{Options, StoreKind};
pub use plant::Plant;
pub use rng::Rng;
pub use world::{Outcome, run, run_with};
