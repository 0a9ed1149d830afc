//! Any text as a rights file, in both forms: nothing panics, and what is taken answers every question.
#![no_main]

use cork_access::{Acl, Action, Subject};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let forms = [Acl::from_toml(text, "acl.toml"), Acl::from_mosquitto(text, "acl")];
    for form in forms {
        let acl = match form {
            Ok(acl) => acl,
            Err(errors) => {
                assert!(!errors.0.is_empty(), "a refusal has a reason");
                continue;
            }
        };
        let topics = text.split(['\n', ' ', '\'', '"']).filter(|topic| !topic.is_empty()).take(20);
        for topic in topics.chain(["a", "$SYS/a", "+/a"]) {
            for user in [None, Some("ann"), Some("a/b"), Some("$SYS"), Some("+")] {
                let who = Subject { user, client_id: topic };
                for action in [Action::Read, Action::Write] {
                    assert_eq!(acl.allows(who, action, topic), acl.explain(who, action, topic).allowed);
                }
                assert_eq!(acl.allows_filter(who, topic), acl.explain_filter(who, topic).allowed);
            }
        }
    }
});
