//! The HTTP API, metrics and the dashboard's files, for whoever operates a broker. `docs/http-api.md` is its contract.
//!
//! One thread of its own with a small Tokio runtime serves everything; the shards are asked by message, and messages
//! come and go through MQTT connections within the program, with the caller's own rights. Nothing here is waited for by
//! a shard.
//!
//! ```no_run
//! use cork_broker::{Broker, Config};
//! use cork_http::{Server, Surroundings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::default();
//! let broker = Broker::start(&config)?;
//! let server = Server::start(broker.operator(), Surroundings::default())?;
//! for problem in server.listen(&config)? {
//!     eprintln!("{problem}");
//! }
//! println!("http://{}", server.addresses()[0].1);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod app;
mod assets;
mod backup;
mod bans;
mod boards;
mod client;
mod explain;
mod extract;
mod filters;
mod guard;
mod history;
mod host;
mod keep;
mod kept;
mod letters;
mod links;
mod logbook;
mod login;
mod manage;
mod message;
mod messages;
mod metrics;
mod operate;
mod overview;
mod places;
mod problem;
mod process;
mod publish;
mod refused;
mod retained;
mod rights;
mod routes;
mod sampler;
mod serve;
mod server;
mod sessions;
mod subscriptions;
mod time;
mod tokens;
mod told;
mod trace;
mod user;
mod users;

pub use host::{Host, Letter, LettersPage};
pub use logbook::{Keep, LogBook, LogLine};
pub use server::{PlannedListeners, Server, Surroundings};
