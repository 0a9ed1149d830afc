//! Reading what people write into TOML files: every fault is found and told with its file, line and key, a misspelt
//! key with the one that was probably meant, and sizes and times carry their units.
//!
//! It knows no file system and none of the keys: who reads a document asks for them one by one.
//!
//! ```
//! use cork_settings::{read::Findings, values::duration};
//! use std::time::Duration;
//!
//! let findings = Findings::new("evry = '3s'", "house.toml");
//! let mut section = findings.parse();
//! let every = section.read("every", duration(Duration::ZERO..=Duration::MAX));
//! section.finish();
//! let (errors, _) = findings.finish();
//! assert_eq!(every, None);
//! assert!(errors[0].to_string().starts_with("house.toml:1: key `evry`: unknown key; did you mean `every`?"));
//! ```
#![forbid(unsafe_code)]

pub mod error;
pub mod read;
pub mod units;
pub mod values;
