//! The two lowest layers are given time, seeds and bytes: they reach for no clock, randomness, thread, file or network.

use super::layers;
use super::Source;

/// The highest layer that must stay pure.
const PURE_LAYER_MAX: u32 = 1;
/// What a pure crate's sources do not name.
const IMPURE: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env::",
    "SystemTime::now",
    "Instant::now",
    "tokio::",
    "getrandom",
];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let is_pure = |name: &str| layers::layer_of(sources, name).map_or(false, |layer| layer <= PURE_LAYER_MAX);
    let crate_of = |source: &Source| Some(source.path.strip_prefix("crates/")?.split_once("/src/")?.0.to_string());
    let pure = sources.iter().filter(|source| source.is("rs") && crate_of(source).map_or(false, |name| is_pure(&name)));
    pure.flat_map(impurities).collect()
}

fn impurities(source: &Source) -> Vec<String> {
    let code = source.text.lines().take_while(|line| *line != "#[cfg(test)]").enumerate();
    let finding = |(number, line): (usize, &str)| {
        let line = line.trim_start();
        let word = IMPURE.iter().find(|word| !line.starts_with("//") && line.contains(**word))?;
        Some(format!("{}:{}: `{word}` in a pure layer: have the caller pass what it gives", source.path, number + 1))
    };
    code.filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::{check, Source};

    fn findings(layer: u32, text: &str) -> usize {
        let source = |path: &str, text: String| Source { path: path.to_string(), text };
        let manifest = format!("[package.metadata.manta]\nlayer = {layer}\n");
        check(&[source("crates/a/Cargo.toml", manifest), source("crates/a/src/b.rs", text.to_string())]).len()
    }

    #[test]
    fn only_the_lowest_layers_are_pure() {
        assert_eq!(findings(1, "let now = Instant::now();\n"), 1);
        assert_eq!(findings(2, "let now = Instant::now();\n"), 0);
    }

    #[test]
    fn comments_and_tests_may_name_what_the_code_may_not() {
        assert_eq!(findings(0, "/// Unlike std::fs.\n#[cfg(test)]\nmod tests { use std::fs; }\n"), 0);
    }
}
