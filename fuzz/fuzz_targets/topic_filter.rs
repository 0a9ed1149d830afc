//! Two strings, separated by a line break, as Topic Filter and Topic Name: the checks and the matcher agree.
#![no_main]

use cork_packet::{levels, matches, split_share, validate_filter, validate_name};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (filter, name) = input.split_once('\n').unwrap_or((input, "a/b"));
    if let Ok(Some((share, inner))) = split_share(filter) {
        assert!(!share.is_empty() && !share.contains(['+', '#', '/', '\0']));
        assert_eq!(validate_filter(inner), Ok(()));
        assert_eq!(validate_filter(filter), Ok(()));
    }
    let filter_is_valid = validate_filter(filter).is_ok();
    if validate_name(filter).is_ok() {
        assert!(filter_is_valid, "every name is a filter");
        assert!(matches(filter, filter));
    }
    if !filter_is_valid || validate_name(name).is_err() {
        return;
    }
    let matched = matches(filter, name);
    if !filter.contains(['+', '#']) {
        assert_eq!(matched, filter == name);
    } else if matched && !filter.ends_with('#') {
        assert_eq!(levels(filter), levels(name));
    } else if matched {
        assert!(levels(filter) <= levels(name) + 1);
    }
});
