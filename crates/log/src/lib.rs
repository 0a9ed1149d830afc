//! The durable store: one append-only log, behind the port `cork_store`.
//!
//! Everything that must survive is a record; records are written in commits, each of which holds as a whole or not at
//! all; a commit is durable before anybody is told so. The log is cut into segments, so that space comes back from its
//! old end: what is still needed there is written again at the new end, a little with each commit. In memory there is
//! only where things lie. The bytes are described in `docs/design/store.md`.
//!
//! [`Log`] does this without threads, on any [`Disk`]. [`Keeper`] gives it threads and is what a broker uses.
#![forbid(unsafe_code)]

mod ahead;
mod books;
mod check;
mod clean;
mod disk;
mod error;
mod export;
pub(crate) mod fetch;
mod few;
mod format;
mod group;
mod handle;
mod index;
mod keeper;
mod log;
mod message;
mod open;
mod options;
mod queue;
mod record;
mod restore;
mod retained;
mod segment;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod snapshot;
mod walk;
mod wire;

#[cfg(test)]
mod tests;

pub use check::{CheckReport, Repaired, check, repair};
pub use disk::{Disk, DiskFile, RealDisk, RealFile};
pub use error::{Cut, Damage, OpenError};
pub use export::{ImportError, export, import};
pub use fetch::LocatedRetained;
pub use format::FORMAT_VERSION;
pub use group::Op;
pub use keeper::{Keeper, LOG_FOLDER};
pub use log::{Log, OpenReport, Stats};
pub use open::Wants;
pub use options::{Durability, Options};
pub use restore::Located;
