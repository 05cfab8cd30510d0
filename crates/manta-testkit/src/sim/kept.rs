//! Seeds that once failed; they run in every check, for ever.
use std::sync::LazyLock;

/// The seeds of `kept_seeds.txt`: a number a line, with what it found behind it.
pub static KEPT_SEEDS: LazyLock<Vec<u64>> = LazyLock::new(|| parse(include_str!("kept_seeds.txt")));

fn parse(text: &str) -> Vec<u64> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let seed = |line: &str| line.split_whitespace().next().and_then(|word| word.parse().ok());
    lines.map(|line| seed(line).unwrap_or_else(|| panic!("`{line}` begins with no seed"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_seed_with_what_it_found() {
        assert_eq!(parse("# why\n\n12  a lease\n7 another\n"), [12, 7]);
        let _ = &*KEPT_SEEDS;
    }
}
