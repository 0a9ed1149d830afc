//! Subscription index, shared subscription groups and the retained set: pure data structures.
#![forbid(unsafe_code)]
