//! What `cork pub`, `cork sub` and `cork rr` share: flags, the connection they make, errors and exit codes.

mod args;
mod connection;
mod expand;
mod fault;
mod printer;
mod shared;
mod url;

pub(crate) use args::{Colour, ConnectionArgs, MessageArgs, OutputArgs};
pub(crate) use connection::{Setup, bytes, publish_properties, qos, set_up};
pub(crate) use expand::{expand, tidy_up};
pub(crate) use fault::{Failure, refuse, report};
pub(crate) use printer::Printer;
pub(crate) use shared::{Signals, Tool, again, drive};
