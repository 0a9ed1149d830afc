//! The log as a whole, on disks that fail.

mod basics;
mod keeping;
