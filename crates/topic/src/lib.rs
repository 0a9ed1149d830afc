//! Subscription index, shared subscription groups and the retained set: pure data structures.
//!
//! Keys and values are the caller's: nothing here knows what a Session or a message is. Topic Names and Topic
//! Filters come in as `&str` that the caller has validated (5.0 section 4.7); text that is not a valid filter
//! is stored and compared, never a reason to panic.
//!
//! Topics come from peers that nobody trusts. Look-ups are keyed with a secret seed the caller hands in, cost and
//! memory are linear in the bytes of what is stored, and no result depends on the order of a hash table.
//!
//! ```
//! use cork_topic::SubscriptionIndex;
//!
//! let mut index = SubscriptionIndex::new(0x5eed);
//! let kitchen = index.insert("home/+/temperature", 7, "qos 1");
//! index.insert("home/#", 9, "qos 0");
//!
//! let mut receivers = Vec::new();
//! assert_eq!(index.matches("home/kitchen/temperature", &mut receivers), 2);
//! receivers.sort();
//! assert_eq!(receivers, [(7, "qos 1"), (9, "qos 0")]);
//!
//! index.remove(kitchen.id, 7);
//! assert_eq!(index.find("home/+/temperature"), None);
//! ```
#![forbid(unsafe_code)]

pub mod retained;
pub mod share;
pub mod subscriptions;

#[cfg(test)]
mod testing;

pub use retained::{Retained, RetainedSet, Scan};
pub use share::ShareGroup;
pub use subscriptions::{FilterId, Inserted, Removed, SubscriptionIndex};
