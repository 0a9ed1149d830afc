//! Simulated devices: what they measure, when they send it, when they lose their connection.
//!
//! A [`Scenario`] says it, from a file or a command line; [`Scenario::plan`] checks it and makes a [`Plan`] with every
//! device. [`Schedule`] turns that into steps, a machine without clock and sockets: the same seed gives the same steps.
//! [`play`] does them at their times over real connections, [`print()`] writes them down.
//!
//! ```
//! use cork_sim::{Action, HOUSE, Scenario, Schedule};
//! use std::{path::Path, sync::Arc};
//!
//! let plan = Scenario::parse(HOUSE, "house.toml", Path::new(""))?.plan("run", 7)?;
//! let first = Schedule::new(Arc::new(plan)).find_map(|step| match step.action {
//!     Action::Publish { topic, .. } => Some(topic),
//!     _ => None,
//! });
//! assert_eq!(first.as_deref(), Some("sensors/kitchen/temperature"));
//! # Ok::<(), cork_settings::error::ConfigErrors>(())
//! ```
#![forbid(unsafe_code)]

mod clock;
mod cut;
mod descriptors;
mod fleet;
mod model;
mod pattern;
mod payload;
mod play;
mod printer;
mod random;
mod reach;
mod replay;
mod scenario;
mod schedule;

pub use model::{MODELS, Model, Sample, TimeFormat};
pub use pattern::Pattern;
pub use payload::{Content, Value};
pub use play::{PlayError, Stop, Summary, play, print};
pub use replay::{CsvError, FILE_BYTES_MAX, Replay};
pub use scenario::{Broker, Group, HOUSE, Message, Outage, Plan, Scenario, Speed, Status, parse_jitter};
pub use schedule::{Action, Schedule, Step};
