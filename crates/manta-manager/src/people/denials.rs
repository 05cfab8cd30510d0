//! How many denials are named one by one: a stranger who knocks all day must not push others out of the audit log.
use manta_types::limits::DENIALS_PER_MINUTE_MAX;

const MINUTE_MS: u64 = 60_000;

/// The denials of this minute.
#[derive(Debug, Default)]
pub(super) struct Denials {
    minute: u64,
    named: u32,
    unnamed: u64,
}

/// What is written of a denial.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Noted {
    /// Whether it is named.
    pub(super) is_named: bool,
    /// How many before it were not named, and never will be.
    pub(super) unnamed: u64,
}

impl Denials {
    /// Counts one more.
    pub(super) fn note(&mut self, now_ms: u64) -> Noted {
        let minute = now_ms / MINUTE_MS;
        let mut unnamed = 0;
        if minute != self.minute {
            unnamed = self.unnamed;
            *self = Self { minute, named: 0, unnamed: 0 };
        }
        let is_named = self.named < DENIALS_PER_MINUTE_MAX;
        if is_named {
            self.named += 1;
        } else {
            self.unnamed += 1;
        }
        Noted { is_named, unnamed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_in_the_next_minute() {
        let mut denials = Denials::default();
        let named = (0..1000).filter(|n| denials.note(MINUTE_MS + n).is_named).count();
        assert_eq!(named, DENIALS_PER_MINUTE_MAX as usize);
        assert_eq!(denials.note(2 * MINUTE_MS), Noted { is_named: true, unnamed: 940 });
        assert_eq!(denials.note(2 * MINUTE_MS + 1), Noted { is_named: true, unnamed: 0 });
    }
}
