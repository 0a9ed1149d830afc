//! The deterministic simulation of the core.
#![forbid(unsafe_code)]
