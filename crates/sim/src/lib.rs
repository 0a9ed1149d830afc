//! Simulated devices: what they measure, when they send it, when they lose their connection.
#![forbid(unsafe_code)]

mod clock;
mod model;
mod pattern;
mod payload;
mod random;
mod replay;
mod scenario;
mod schedule;

pub use model::{MODELS, Model, Sample, TimeFormat};
pub use pattern::Pattern;
pub use payload::{Content, Value};
pub use replay::{CsvError, FILE_BYTES_MAX, Replay};
pub use scenario::{
    Broker, Group, HOUSE, Message, Outage, Plan, Scenario, Speed, Status, default_client_id, parse_jitter,
};
pub use schedule::{Action, Schedule, Step};
