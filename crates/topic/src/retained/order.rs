//! The order of topics: as lists of levels, so `/` is below every other byte and a topic below what extends it.

use std::cmp::Ordering;

/// A string to search for, in two parts, so that the front of a topic and a piece of a filter need no copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key<'a> {
    head: &'a [u8],
    tail: &'a [u8],
}

impl<'a> Key<'a> {
    pub(super) fn of(topic: &'a str) -> Self {
        Self::of_bytes(topic.as_bytes())
    }

    pub(super) const fn of_bytes(head: &'a [u8]) -> Self {
        Self { head, tail: b"" }
    }

    pub(super) fn joined(head: &'a [u8], tail: &'a [u8]) -> Self {
        Self { head, tail }
    }

    /// Lies after `topic` and everything below it, and before all that follows: no topic has a smaller byte than this
    /// one except `/`.
    pub(super) fn after_subtree(topic: &'a [u8]) -> Self {
        Self { head: topic, tail: b"\0" }
    }

    pub(super) fn compare(&self, topic: &[u8]) -> Ordering {
        let same = self.common_prefix(topic);
        self.rank_at(same).cmp(&topic.get(same).map(|byte| rank(*byte)))
    }

    pub(super) fn common_prefix(&self, topic: &[u8]) -> usize {
        let same = common_prefix(self.head, topic);
        if same < self.head.len() { same } else { same + common_prefix(self.tail, &topic[same..]) }
    }

    pub(super) fn rank_at(&self, at: usize) -> Option<u8> {
        self.head.get(at).or_else(|| self.tail.get(at.checked_sub(self.head.len())?)).map(|byte| rank(*byte))
    }

    /// See [`window`].
    pub(super) fn window(&self, at: usize) -> u64 {
        let Some(head) = self.head.get(at..) else {
            return window(self.tail, at - self.head.len());
        };
        if self.tail.is_empty() || head.len() >= WINDOW {
            return window(self.head, at);
        }
        // What the head leaves empty is zero.
        window(self.head, at) | window(self.tail, 0) >> (8 * head.len())
    }
}

const WINDOW: usize = 8;

/// Eight bytes from `at` on as a number that never orders two topics wrongly that agree before `at`.
pub(super) fn window(topic: &[u8], at: usize) -> u64 {
    let rest = topic.get(at..).unwrap_or_default();
    let mut bytes = [b'/'; WINDOW];
    match rest.first_chunk() {
        Some(chunk) => bytes = *chunk,
        None => bytes[..rest.len()].copy_from_slice(rest),
    }
    u64::from_be_bytes(bytes.map(rank))
}

/// The place of a byte in the order of topics. The end of a topic and `/` share 0 in a [`window`]; only a full
/// comparison tells them apart.
fn rank(byte: u8) -> u8 {
    match byte {
        b'/' => 0,
        0..b'/' => byte + 1,
        _ => byte,
    }
}

/// How many bytes two strings have in common at the front.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let mut same = 0;
    for (a, b) in words {
        let different = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if different != 0 {
            return same + different.trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_levels(a: &str, b: &str) -> Ordering {
        a.split('/').cmp(b.split('/'))
    }

    proptest! {
        #[test]
        fn order_is_that_of_level_lists(a in "[ab/\0.0]{0,20}", b in "[ab/\0.0]{0,20}", cut in 0usize..20) {
            prop_assert_eq!(Key::of(&a).compare(b.as_bytes()), by_levels(&a, &b));
            let (head, tail) = a.as_bytes().split_at(cut.min(a.len()));
            prop_assert_eq!(Key::joined(head, tail).compare(b.as_bytes()), by_levels(&a, &b));
        }

        #[test]
        fn windows_respect_the_order(a in "[ab/.]{0,20}", b in "[ab/.]{0,20}", cut in 0usize..20) {
            let same = common_prefix(a.as_bytes(), b.as_bytes());
            prop_assert_eq!(same, a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count());
            let (head, tail) = a.as_bytes().split_at(cut.min(a.len()));
            for at in 0..=same {
                let (left, right) = (window(a.as_bytes(), at), window(b.as_bytes(), at));
                prop_assert_eq!(left, Key::joined(head, tail).window(at));
                prop_assert!(left == right || left.cmp(&right) == by_levels(&a, &b));
            }
        }

        #[test]
        fn a_subtree_ends_before_its_end_key(a in "[ab/.]{0,6}", b in "[ab/.]{0,8}") {
            let below = b == a || b.strip_prefix(&a).is_some_and(|rest| rest.starts_with('/'));
            let expected = if below || by_levels(&b, &a).is_lt() { Ordering::Greater } else { Ordering::Less };
            prop_assert_eq!(Key::after_subtree(a.as_bytes()).compare(b.as_bytes()), expected);
        }
    }
}
