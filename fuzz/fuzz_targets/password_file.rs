//! Any text as a password file: nothing panics, a refusal has a reason, and what is taken has users.
#![no_main]

use cork_access::PasswordFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match PasswordFile::parse(text, "passwords", false) {
        Ok(file) => {
            assert_eq!(file.user_names().len(), file.user_count());
            assert!(file.user_count() > 0);
            assert!(file.user_names().iter().all(|name| text.contains(name)));
        }
        Err(errors) => assert!(!errors.0.is_empty()),
    }
});
