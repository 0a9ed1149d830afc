//! What a broker asks of a cluster; Alone answers at once.
#![forbid(unsafe_code)]
