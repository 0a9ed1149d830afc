//! MQTT 5.0, chapters 1 to 3.3: a test for each normative statement that binds a server.
//!
//! A test is named by its statement. Where a statement can only be seen through another one (a Will must be stored
//! before it can be published), the test speaks of all cases that occur, not of how many there are: the missing case
//! is the other statement's affair. `beyond` has what the chapters ask without giving it a number.
#![forbid(unsafe_code)]

mod beyond;
mod beyond_will;
mod connack;
mod connect;
mod connect_payload;
mod encoding;
mod publish;
mod publish_properties;
mod steps;
mod will;
