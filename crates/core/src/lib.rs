//! The Shard: sessions, routing, wills, retained messages, quotas; one deterministic machine per core.
#![forbid(unsafe_code)]
