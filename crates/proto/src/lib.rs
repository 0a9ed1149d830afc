//! One end of a Network Connection and the delivery state of a Session, without I/O.
#![forbid(unsafe_code)]
