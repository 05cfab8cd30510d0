//! Chance from a seed, and stable hashes: the same on every machine and in every run.
use manta_types::AttemptId;
use uuid::Uuid;

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, good enough for ids and jitter, not for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A version 7 UUID (RFC 9562 §5.7) with the given wall clock.
    pub(crate) fn attempt_id(&mut self, wall_ms: u64) -> AttemptId {
        let time = u128::from(wall_ms & 0xffff_ffff_ffff) << 80;
        let random_a = u128::from(self.next() & 0x0fff) << 64;
        let random_b = u128::from(self.next() & 0x3fff_ffff_ffff_ffff);
        AttemptId::from_uuid(Uuid::from_u128(time | 0x7 << 76 | random_a | 0x2 << 62 | random_b))
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stable 64-bit hash of some parts (FNV-1a over length-prefixed parts, then mixed).
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |byte: u8| state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for part in parts {
        (part.len() as u64).to_le_bytes().into_iter().for_each(&mut eat);
        part.iter().copied().for_each(&mut eat);
    }
    mix(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempt_ids_are_version_7_and_differ() {
        let mut random = Random::new(1);
        let (first, second) = (random.attempt_id(1_700_000_000_000), random.attempt_id(1_700_000_000_000));
        assert_ne!(first, second);
        assert_eq!(first.uuid().get_version_num(), 7);
        assert_eq!(first.uuid().get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn hashes_tell_parts_apart() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_eq!(hash(&[b"ab"]), hash(&[b"ab"]));
    }
}
