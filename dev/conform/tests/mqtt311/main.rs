//! Every server statement of MQTT 3.1.1, each with a test: `mqtt311_<id>_<what it says>`.
//!
//! A test asserts its own statement only. Where the standard says one thing twice, once for all packets and once for
//! one of them, the test for the one packet first looks whether the others obey: if none does, the general statement is
//! the broken one, and its test fails instead.
#![forbid(unsafe_code)]

mod conformance;
mod connack;
mod connect;
mod encoding;
mod publish;
mod qos;
mod retain;
mod session;
mod subscribe;
mod support;
mod topics;
mod websocket;
mod will;
