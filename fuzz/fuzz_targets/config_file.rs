//! Any text as a configuration file: nothing panics, and every fault has its place.
#![no_main]

use cork_broker::config::{Config, Origin};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lines = text.split('\n').count();
    if let Err(errors) = Config::from_toml(text, "cork.toml") {
        assert!(!errors.0.is_empty());
        for error in &errors.0 {
            let Origin::File { line, .. } = &error.origin else { panic!("{error}") };
            assert!((1..=lines).contains(line), "{error}");
            assert!(!error.message.is_empty());
        }
    }
});
