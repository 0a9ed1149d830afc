//! The store port: records, tickets and the volatile store.
#![forbid(unsafe_code)]
