//! How a message that goes round in a circle is noticed: each link that passes it on leaves a mark, a User Property of
//! 5.0, and a message that bears this broker's mark already is not passed on.

use cork_packet::{Properties, PropertiesBuf, Property};

/// The name of the User Property.
pub(crate) const NAME: &str = "cork-hop";

/// More brokers than this in a row are a mistake.
pub(crate) const HOPS_MAX: usize = 16;

/// Whether a message with these properties has been where `marks` stand for, or has come too far.
pub(crate) fn is_circle(properties: &Properties<'_>, marks: &[&str]) -> bool {
    let mut hops = 0;
    for (name, value) in properties.user_properties() {
        if name == NAME {
            hops += 1;
            if hops >= HOPS_MAX || marks.contains(&value) {
                return true;
            }
        }
    }
    false
}

/// The bytes of a mark, to stand behind other properties.
pub(crate) fn encoded(mark: &str) -> Vec<u8> {
    let mut properties = PropertiesBuf::default();
    properties.push(Property::UserProperty(NAME, mark));
    properties.as_properties().raw().to_vec()
}

/// A mark nobody else has.
pub(crate) fn new_mark() -> String {
    // Without randomness the time at least differs from broker to broker.
    let random = getrandom::u64().unwrap_or_else(|_| {
        let since_1970 =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::from(since_1970.subsec_nanos()) ^ since_1970.as_secs().rotate_left(32)
    });
    format!("{random:016x}")
}

#[cfg(test)]
mod tests {
    use cork_packet::PropertyPlace;

    use super::*;

    fn circle(hops: &[&str], marks: &[&str]) -> bool {
        let mut raw = encoded("other").repeat(0);
        for hop in hops {
            raw.extend(encoded(hop));
        }
        is_circle(&Properties::decode(&raw, PropertyPlace::PublishToServer).unwrap(), marks)
    }

    #[test]
    fn own_marks_and_too_many_are_a_circle() {
        assert!(!circle(&[], &["a"]));
        assert!(!circle(&["b", "c"], &["a"]));
        assert!(circle(&["b", "a"], &["a"]));
        assert!(circle(&["b", "s"], &["a", "s"]));
        assert!(circle(&["b"; HOPS_MAX], &["a"]) && !circle(&["b"; HOPS_MAX - 1], &["a"]));
    }

    #[test]
    fn marks_differ() {
        assert_ne!(new_mark(), new_mark());
    }
}
