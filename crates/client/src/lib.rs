//! An MQTT client for programs: 3.1.1 and 5.0, async on Tokio, and [`blocking`] without it.
//!
//! ```no_run
//! use cork_client::{Client, Options, Publish, QoS};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Options::new("mqtt://127.0.0.1")?).await?;
//! let mut kitchen = client.subscribe("sensors/kitchen/#").await?;
//!
//! let sent = client.publish(Publish::new("sensors/kitchen/temperature", "21.5").qos(QoS::AtLeastOnce)).await?;
//! sent.await?; // the server has it
//!
//! while let Some(message) = kitchen.next().await {
//!     println!("{} {:?}", message.topic(), message.payload());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - A task of its own reads and writes; nothing needs to be polled, and no method blocks it.
//! - [`Client::publish`] waits while the queue is full, [`Client::try_publish`] says so. The [`PublishHandle`] tells
//!   what became of the message.
//! - A [`Subscription`] is a bounded stream. QoS 1 and 2 messages are acknowledged when they are dropped.
//! - A lost connection comes back by itself; what was under way is sent again as the specification wants it, and
//!   subscriptions are renewed when the server lost the Session. [`Client::events`] tells about it.
//! - Errors say who ended what, and why.
//!
//! What is promised until when, every limit, and what was learned from the complaints about other libraries, is in
//! `docs/client.md`. `examples/` has programs to begin with.
//!
//! [`machine`] is the protocol without sockets, for other drivers.
#![forbid(unsafe_code)]

mod auth;
pub mod blocking;
mod client;
mod driver;
mod error;
mod event;
mod handle;
pub mod machine;
mod message;
mod options;
mod publish;
mod request;
mod route;
mod saver;
mod scram;
mod server;
mod shared;
mod store;
mod subscription;
mod tls;
mod transport;
mod websocket;

pub use auth::{Authentication, Exchange};
pub use bytes::Bytes;
pub use client::{Client, Disconnect};
pub use cork_net::{Remedy, TlsFailure};
pub use cork_packet::{
    Packet, Properties, PropertiesBuf, Property, PropertyError, PropertyId, ProtocolVersion, QoS, ReasonCode,
    RetainHandling, SubscriptionOptions,
};
pub use error::{ConnectError, Disconnected, PublishError, Refusal, SubscribeError};
pub use event::{Event, Events};
pub use handle::PublishHandle;
pub use machine::{Connected, Direction, Granted, Published, ServerLimits};
pub use message::Message;
pub use options::{Options, Parts, Reconnect, Version};
pub use publish::Publish;
pub use request::{RequestError, Requester};
pub use rustls::ClientConfig;
pub use scram::Scram;
pub use server::{Scheme, Server};
pub use store::FileStore;
pub use subscription::{Subscribe, Subscription};
pub use tls::{Tls, TlsVersion};
pub use transport::{Connecting, Connector, Transport};
