//! HTTP as a target: a webhook ([`Webhook`]), and the client that it and other sinks post with ([`Poster`]).
#![forbid(unsafe_code)]

mod poster;
mod webhook;

pub use poster::{Answer, Login, Poster};
pub use webhook::Webhook;
