//! One thread per shard: sockets, mailboxes, timers, group commit.
#![forbid(unsafe_code)]
