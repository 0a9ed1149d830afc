//! Who may in and what they may do: password file, rights.
#![forbid(unsafe_code)]
