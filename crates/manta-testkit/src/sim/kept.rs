//! Seeds that once failed; they run in every check, with the rule that they found wanting and without it.
use std::sync::LazyLock;

use super::bug::Bug;

/// The seeds of `kept_seeds.txt`.
pub static KEPT_SEEDS: LazyLock<Vec<KeptSeed>> = LazyLock::new(|| parse(include_str!("kept_seeds.txt")));

/// A seed that holds now, and fails where the bug is planted that it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptSeed {
    /// The seed.
    pub seed: u64,
    /// What it found.
    pub bug: Bug,
}

fn parse(text: &str) -> Vec<KeptSeed> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let kept = |line: &str| {
        let mut words = line.split_whitespace();
        Some(KeptSeed { seed: words.next()?.parse().ok()?, bug: Bug::from_name(words.next()?)? })
    };
    lines.map(|line| kept(line).unwrap_or_else(|| panic!("`{line}` begins with no seed and bug"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_seed_with_the_bug_that_it_found() {
        let kept = [KeptSeed { seed: 12, bug: Bug::NoFence }, KeptSeed { seed: 7, bug: Bug::OldState }];
        assert_eq!(parse("# why\n\n12  no-fence\n7 old-state words\n"), kept);
        assert!(!KEPT_SEEDS.is_empty());
    }
}
