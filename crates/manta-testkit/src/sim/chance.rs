//! Seeded chance for the simulation (SplitMix64).

/// A source of chance that depends on its seed alone.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// A source of that seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `[low, high)`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low)
    }

    /// True once in `n` times; never where `n` is 0.
    pub fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.number().is_multiple_of(n)
    }

    /// True in so many of a thousand times.
    pub fn permille(&mut self, n: u64) -> bool {
        n > 0 && self.number() % 1000 < n
    }

    /// One of some values.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.index(values.len())]
    }

    /// A position in something of that length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.number() % length as u64).expect("a position is less than a length")
    }

    /// An instant after `mean`, on average: from half of it to one and a half.
    pub fn about(&mut self, mean: u64) -> u64 {
        self.between(mean / 2, mean + mean / 2 + 1)
    }
}
