//! What the command line tools are made of.
#![forbid(unsafe_code)]

pub mod explain;
pub mod format;
pub mod line;
pub mod message;
pub mod moment;
pub mod packets;
pub mod payload;
pub mod properties;
pub mod template;
pub mod value;
pub mod view;
