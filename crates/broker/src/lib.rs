//! The API that programs embed: Broker and Config.
#![forbid(unsafe_code)]
