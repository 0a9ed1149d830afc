//! What was published, kept on disk in compressed columns, and asked for later.
//!
//! A [`Vault`] has a shelf for each [`Rule`]: segments of sealed blocks, oldest first, and an open part, in which each
//! message is at once. It knows no shards and no threads. The [`Engine`] puts two threads around it and is the
//! [`cork_store::History`] of each shard. Rights are the asker's matter.
//!
//! ```
//! use std::sync::Arc;
//! use cork_history::{Rule, Rules, SeriesQuery, Vault};
//! use cork_store::{Message, MessageId, Publisher, WallTime};
//!
//! let folder = std::env::temp_dir().join(format!("cork-history-doc-{}", std::process::id()));
//! let rule = Rule { filter: "sensor/#".into(), keep: std::time::Duration::from_secs(60), max_bytes: 1_000_000 };
//! let rules = Rules { rules: vec![rule], retained_bytes: 0 };
//! let (vault, _) = Vault::open(&folder, &rules, false)?;
//! let id = MessageId { arrived: WallTime(5_000_000), shard: 0, epoch: 0 };
//! let message = Message::new(id, "sensor/1", &[], b"21.5", Arc::new(Publisher::default()));
//! vault.append(&[Arc::new(message)])?;
//! let query = SeriesQuery {
//!     filter: "sensor/+".into(), field: None, since: 0, until: u64::MAX, step: None, series_max: 10, points_max: 10,
//! };
//! let answer = vault.series(&query, WallTime(6_000_000), |_| true);
//! assert_eq!(answer.series[0].points[0].last, 21.5);
//! # std::fs::remove_dir_all(folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod block;
mod engine;
mod found;
mod number;
mod open_part;
mod options;
mod page;
mod query;
mod segment;
mod shelf;
mod vault;
mod wire;

pub use engine::{Counters, Engine, WAITING_BYTES_MAX, Wake, wall};
pub use number::{fields, plain};
pub use options::{OpenError, Rule, Rules};
pub use page::Cache;
pub use query::{Point, Series, SeriesAnswer, SeriesQuery};
pub use vault::{Lacking, Report, Vault};

#[cfg(test)]
mod tests;
