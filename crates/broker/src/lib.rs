//! The API that programs embed: [`Broker`] and [`Config`].
//!
//! ```
//! use cork_broker::{Broker, Config, Overrides};
//!
//! let folder = std::env::temp_dir().join(format!("cork-doc-{}", std::process::id()));
//! let mut config = Config::default();
//! let listen = vec!["mqtt://127.0.0.1:0".to_owned()];
//! config.apply(&Overrides { listen, data_dir: Some(folder.clone()), ..Overrides::default() })?;
//! let broker = Broker::start(&config)?;
//! println!("listening on {:?}", broker.addresses());
//! broker.shutdown();
//! # std::fs::remove_dir_all(folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod broker;
pub mod config;
mod data_dir;
mod listeners;
mod reload;
pub mod store;
mod tls;

pub use broker::{Broker, StartError};
pub use config::{Config, Overrides};
pub use cork_access::{Acl, Action, Decision, Subject, passwd};
pub use cork_net::Address;
pub use reload::Reload;
