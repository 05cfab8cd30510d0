//! What every source file begins with, and what none may hold.

use super::Source;

/// Words for work left undone, written apart so that this file does not hold them.
const UNFINISHED: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
/// The one crate with hand-written `unsafe`.
const UNSAFE_HOME: &str = "crates/manta-sandbox/";

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        findings.extend(unfinished(source));
        if source.is("rs") && !source.is_generated() {
            findings.extend(undescribed(source, "//!", "its first line is not `//!`, which says what the file is for"));
            findings.extend(unsafe_outside_its_home(source));
        }
        if source.is("py") && !source.text.trim().is_empty() {
            findings.extend(undescribed(
                source,
                "\"\"\"",
                "it does not open with a docstring, which says what the file is for",
            ));
        }
    }
    findings
}

fn undescribed(source: &Source, opening: &str, message: &str) -> Option<String> {
    let mut lines = source.text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.find(|line| !is_python_comment(source, line)).unwrap_or_default();
    let first = first.strip_prefix('r').filter(|_| source.is("py")).unwrap_or(first);
    (!first.starts_with(opening)).then(|| format!("{}: {message}", source.path))
}

/// Comments may stand before a docstring: an interpreter line, or the inline metadata of a script.
fn is_python_comment(source: &Source, line: &str) -> bool {
    source.is("py") && line.starts_with('#')
}

fn unfinished(source: &Source) -> Vec<String> {
    let is_word = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            let joined = |c: Option<char>| c.map_or(false, |c| c.is_alphanumeric() || c == '_');
            !joined(line[..at].chars().next_back()) && !joined(line[at + word.len()..].chars().next())
        })
    };
    let finding = |(number, line): (usize, &str)| {
        let word = UNFINISHED.iter().find(|word| is_word(line, word))?;
        Some(format!("{}:{}: {word} without an issue: do it, or file it", source.path, number + 1))
    };
    source.text.lines().enumerate().filter_map(finding).collect()
}

fn unsafe_outside_its_home(source: &Source) -> Option<String> {
    if !source.path.starts_with("crates/") || source.path.starts_with(UNSAFE_HOME) {
        return None;
    }
    let parts: Vec<&str> = source.path.split('/').collect();
    let is_crate_root = match parts.as_slice() {
        [_, _, "src", file] => matches!(*file, "lib.rs" | "main.rs"),
        [_, _, "src", "bin", _] | [_, _, "src", "bin", _, "main.rs"] => true,
        _ => false,
    };
    if is_crate_root && !source.text.contains("#![forbid(unsafe_code)]") {
        return Some(format!(
            "{}: lacks `#![forbid(unsafe_code)]`; hand-written unsafe lives in manta-sandbox alone",
            source.path
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{check, Source, UNFINISHED};

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&[Source { path: path.to_string(), text: text.to_string() }])
    }

    #[test]
    fn files_open_with_what_they_are_for() {
        assert!(findings("crates/a/src/b.rs", "//! Things.\n").is_empty());
        assert_eq!(findings("crates/a/src/b.rs", "use x;\n").len(), 1);
        assert!(findings("python/a.py", "#!/usr/bin/env python3\n# /// script\n\"\"\"Things.\"\"\"\n").is_empty());
        assert_eq!(findings("python/a.py", "import x\n").len(), 1);
    }

    #[test]
    fn work_left_undone_is_found_as_a_word() {
        let word = UNFINISHED[0];
        assert_eq!(
            findings("docs/a.md", &format!("x\n{word}: y\n")),
            [format!("docs/a.md:2: {word} without an issue: do it, or file it")]
        );
        assert!(findings("docs/a.md", &format!("{word}S\n")).is_empty());
    }

    #[test]
    fn crate_roots_forbid_unsafe() {
        assert_eq!(findings("crates/a/src/lib.rs", "//! A.\n").len(), 1);
        assert!(findings("crates/a/src/lib.rs", "//! A.\n#![forbid(unsafe_code)]\n").is_empty());
        assert!(findings("crates/manta-sandbox/src/lib.rs", "//! S.\n").is_empty());
    }
}
