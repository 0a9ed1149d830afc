//! The simulator's only source of chance: many independent streams from one seed.

/// A small generator (SplitMix64): the same seed gives the same numbers on every machine and in every version, which
/// is what `--seed` promises.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream at this place: the seed, then for example the number of the device and of its message. Streams of
    /// different places have nothing to do with each other.
    pub(crate) fn stream(place: &[u64]) -> Self {
        let mut random = Self(0);
        for step in place {
            random.0 = random.bits() ^ step.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        }
        random
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number from 0 up to, not including, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        // 53 bits are what the number holds.
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number from `low` to `high`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        // Rounding may go one step beyond.
        (low + self.unit() * (high - low)).clamp(low, high)
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bits = usize::try_from(self.bits() >> 33).unwrap_or(0);
        bits.checked_rem(bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_in_every_version() {
        // The generator's published test vector, and one stream as it has always been.
        let mut random = Random(1_234_567);
        assert_eq!([random.bits(), random.bits()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
        let mut random = Random::stream(&[7, 0, 1]);
        assert_eq!([random.bits(), random.bits()], [11_263_141_865_449_315_166, 1_337_950_266_673_932_337]);
    }

    #[test]
    fn streams_differ() {
        let first = |place: &[u64]| Random::stream(place).bits();
        let places: [&[u64]; 6] = [&[1, 2], &[2, 1], &[1, 2, 0], &[1], &[2], &[1, 3]];
        let mut bits: Vec<u64> = places.into_iter().map(first).collect();
        bits.sort_unstable();
        bits.dedup();
        assert_eq!(bits.len(), 6);
    }

    #[test]
    fn chances_are_what_they_say() {
        let mut random = Random::stream(&[1]);
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2300..2700).contains(&hits), "{hits}");
        assert!(!random.chance(0.0) && random.chance(1.0));
        assert_eq!(random.below(0), 0);
        assert!((0..100).all(|_| random.below(3) < 3));
    }
}
