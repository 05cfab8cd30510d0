//! Limits on the length of files: past them, a file holds more than one thing.

use super::Source;

/// The lines a Rust file may have, without its inline tests, and those tests.
const RUST_LINES_MAX: usize = 800;
const INLINE_TESTS_LINES_MAX: usize = 400;
const PYTHON_LINES_MAX: usize = 600;
const ADR_LINES_MAX: usize = 60;
const CRATE_README_LINES_MAX: usize = 60;
const README_LINES_MAX: usize = 120;
const CONTRIBUTING_LINES_MAX: usize = 150;

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !source.is_generated()) {
        if source.is("rs") {
            let (code, tests) = without_inline_tests(&source.text);
            findings.extend(too_long(source, "lines without inline tests", code, RUST_LINES_MAX));
            findings.extend(too_long(source, "lines of inline tests", tests, INLINE_TESTS_LINES_MAX));
        } else if let Some(max) = limit(source) {
            findings.extend(too_long(source, "lines", source.text.lines().count(), max));
        }
    }
    findings.extend(crates_without_readme(sources));
    findings
}

fn limit(source: &Source) -> Option<usize> {
    let parts: Vec<&str> = source.path.split('/').collect();
    match parts.as_slice() {
        _ if source.is("py") => Some(PYTHON_LINES_MAX),
        ["docs", "adr", _] => Some(ADR_LINES_MAX),
        ["crates", _, "README.md"] => Some(CRATE_README_LINES_MAX),
        ["README.md"] => Some(README_LINES_MAX),
        ["CONTRIBUTING.md"] => Some(CONTRIBUTING_LINES_MAX),
        _ => None,
    }
}

fn too_long(source: &Source, what: &str, lines: usize, max: usize) -> Option<String> {
    (lines > max).then(|| format!("{}: {lines} {what}, at most {max}", source.path))
}

/// Lines of code and lines of the `mod tests` that ends the file.
fn without_inline_tests(text: &str) -> (usize, usize) {
    let lines: Vec<&str> = text.lines().collect();
    let starts =
        |at: &usize| lines[*at] == "#[cfg(test)]" && lines.get(at + 1).map_or(false, |next| next.ends_with('{'));
    match (0..lines.len()).find(starts) {
        Some(at) => (at, lines.len() - at),
        None => (lines.len(), 0),
    }
}

fn crates_without_readme(sources: &[Source]) -> Vec<String> {
    let manifests = sources.iter().filter_map(|source| source.path.strip_suffix("/Cargo.toml"));
    let has = |dir: &str| sources.iter().any(|source| source.path == format!("{dir}/README.md"));
    let crates = manifests.filter(|dir| dir.starts_with("crates/") && !has(dir));
    crates.map(|dir| format!("{dir}: has no README.md")).collect()
}

#[cfg(test)]
mod tests {
    use super::{check, Source};

    fn findings(path: &str, text: String) -> Vec<String> {
        check(&[Source { path: path.to_string(), text }])
    }

    #[test]
    fn inline_tests_do_not_count_as_code() {
        let text = format!("{}#[cfg(test)]\nmod tests {{\n{}", "x\n".repeat(790), "y\n".repeat(300));
        assert!(findings("crates/a/src/b.rs", text).is_empty());
    }

    #[test]
    fn long_files_are_named_with_their_limit() {
        assert_eq!(
            findings("crates/a/src/b.rs", "x\n".repeat(801)),
            ["crates/a/src/b.rs: 801 lines without inline tests, at most 800"]
        );
        assert_eq!(findings("python/a.py", "x\n".repeat(601)), ["python/a.py: 601 lines, at most 600"]);
        assert!(findings("crates/a/src/generated/b.rs", "x\n".repeat(2000)).is_empty());
    }

    #[test]
    fn a_crate_without_readme_is_named() {
        assert_eq!(findings("crates/a/Cargo.toml", String::new()), ["crates/a: has no README.md"]);
    }
}
