//! The log as a whole, on disks that fail.

mod basics;
mod damage;
mod faults;
mod full;
mod keeping;
mod model;
mod tools;
