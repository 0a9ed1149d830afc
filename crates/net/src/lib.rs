//! Listeners, TCP and WebSocket, turned into one kind of byte stream.
#![forbid(unsafe_code)]
