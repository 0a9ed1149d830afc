//! How large payloads are.

use std::str::FromStr;

use crate::payload::{STAMP_LEN, fold};

/// One size, a range, or a mix of both with weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    parts: Vec<Part>,
    weights: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    min: usize,
    max: usize,
    weight: u64,
}

impl Sizes {
    /// The size, if all payloads have the same.
    pub(crate) fn only(&self) -> Option<usize> {
        match self.parts.as_slice() {
            [part] if part.min == part.max => Some(part.min),
            _ => None,
        }
    }

    /// The largest.
    pub(crate) fn max(&self) -> usize {
        self.parts.iter().map(|part| part.max).max().unwrap_or(STAMP_LEN)
    }

    /// The size of one message; the same for the same message in each run.
    pub(crate) fn of(&self, publisher: u32, sequence: u32) -> usize {
        let random = fold(fold(1, u64::from(publisher)), u64::from(sequence));
        let mut left = (random >> 32) % self.weights;
        for part in &self.parts {
            if left < part.weight {
                let span = (part.max - part.min + 1) as u64;
                return part.min + usize::try_from((random & 0xFFFF_FFFF) % span).unwrap_or(0);
            }
            left -= part.weight;
        }
        self.max()
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(Part::from_str).collect::<Result<Vec<_>, _>>()?;
        let weights = parts.iter().map(|part| part.weight).sum();
        Ok(Self { parts, weights })
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size; write for example 64, 16-256 or 64*9,4096");
        let (range, weight) = text.split_once('*').unwrap_or((text, "1"));
        let (min, max) = range.split_once('-').unwrap_or((range, range));
        let part = Self {
            min: min.parse().map_err(|_| wrong())?,
            max: max.parse().map_err(|_| wrong())?,
            weight: weight.parse().map_err(|_| wrong())?,
        };
        if part.min > part.max || part.weight == 0 || part.weight > 1_000_000 {
            return Err(wrong());
        }
        if part.min < STAMP_LEN {
            return Err(format!(
                "{} bytes are too few: each payload carries a stamp of {STAMP_LEN} bytes",
                part.min
            ));
        }
        if part.max > SIZE_MAX {
            return Err(format!("{} bytes are more than a packet of MQTT holds ({SIZE_MAX})", part.max));
        }
        Ok(part)
    }
}

/// Leaves room for the topic and the head in a packet of the largest size.
const SIZE_MAX: usize = 268_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_size() {
        let sizes: Sizes = "64".parse().unwrap();
        assert_eq!((sizes.only(), sizes.max(), sizes.of(3, 9)), (Some(64), 64, 64));
    }

    #[test]
    fn a_range_is_used_from_end_to_end() {
        let sizes: Sizes = "16-31".parse().unwrap();
        let mut seen = [0; 16];
        for sequence in 0..10_000 {
            seen[sizes.of(1, sequence) - 16] += 1;
        }
        assert!(seen.iter().all(|&count| (500..750).contains(&count)), "{seen:?}");
        assert_eq!(sizes.only(), None);
    }

    #[test]
    fn a_mix_has_its_shares() {
        let sizes: Sizes = "64*9,4096".parse().unwrap();
        let large = (0..10_000).filter(|&sequence| sizes.of(0, sequence) == 4096).count();
        assert!((900..1100).contains(&large), "{large}");
    }

    #[test]
    fn sizes_that_cannot_be() {
        for (text, why) in [
            ("8", "too few"),
            ("20-10", "no size"),
            ("x", "no size"),
            ("64*0", "no size"),
            ("999999999", "more than"),
        ] {
            assert!(text.parse::<Sizes>().unwrap_err().contains(why), "{text}");
        }
    }
}
