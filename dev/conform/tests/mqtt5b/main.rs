//! MQTT 5.0, the second half: acknowledgements, SUBSCRIBE to AUTH (3.4 to 3.15), operational behaviour (4), WebSocket
//! (6). One test a statement, named by it; `beyond` holds what follows from the text without a number of its own.
#![forbid(unsafe_code)]

mod acks;
mod auth;
mod beyond;
mod beyond_mqtt31;
mod beyond_shared;
mod common;
mod disconnect;
mod errors;
mod flow;
mod ping;
mod qos;
mod qos2;
mod shared;
mod state;
mod subscribe;
mod topics;
mod unsubscribe;
mod websocket;
