//! Names that people give: nodes, clusters, tasks, globals, results, datasets.
use std::fmt;
use std::sync::Arc;

use crate::limits;

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} name `{name}` {problem}")]
pub struct NameError {
    /// What the name is for.
    pub what: &'static str,
    /// The name, escaped and cut for printing.
    pub name: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

fn refuse(what: &'static str, name: &str, problem: &'static str) -> NameError {
    NameError { what, name: name.chars().take(64).flat_map(char::escape_debug).collect(), problem }
}

/// Accepts 1 to 63 lower-case letters, digits, `.`, `_` and `-`, beginning and ending with a letter or digit.
///
/// # Errors
/// When the name is anything else; the error says which rule was broken.
pub fn check_label(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(refuse(what, name, "is empty"));
    }
    if name.len() > 63 {
        return Err(refuse(what, name, "is longer than 63 characters"));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !name.chars().all(|c| plain(c) || matches!(c, '-' | '_' | '.')) {
        return Err(refuse(what, name, "may hold only a-z, 0-9, `-`, `_` and `.`"));
    }
    if !name.starts_with(plain) || !name.ends_with(plain) {
        return Err(refuse(what, name, "must begin and end with a letter or digit"));
    }
    Ok(())
}

/// A text from outside, fit to stand in a sentence: what cannot be seen is escaped, and what is beyond so many characters
/// is cut.
pub fn printable(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == chars_max {
            out.push('…');
            break;
        }
        if is_hidden(c) { out.extend(c.escape_debug()) } else { out.push(c) }
    }
    out
}

/// Accepts any printable text that fits a line: for tasks, globals, results and datasets.
///
/// # Errors
/// When the name is empty, too long ([`limits::NAME_BYTES_MAX`]), begins or ends with a space, holds characters that
/// cannot be seen, or is not in composed form (NFC), so that two names that look the same are the same.
pub fn check_name(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(refuse(what, name, "is empty"));
    }
    if name.len() > limits::NAME_BYTES_MAX {
        return Err(refuse(what, name, "is longer than 255 bytes"));
    }
    if name.chars().any(is_hidden) {
        return Err(refuse(what, name, "holds control or direction-changing characters"));
    }
    if name.trim() != name {
        return Err(refuse(what, name, "begins or ends with a space"));
    }
    if !unicode_normalization::is_nfc(name) {
        return Err(refuse(
            what,
            name,
            "is not in composed form (Unicode NFC); write its accents as one with their letters",
        ));
    }
    Ok(())
}

/// Whether a character cannot be seen or changes the order of others: controls, formats (category Cf), line and
/// paragraph separators.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
                | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}'
        )
}

/// Like [`check_name`], and also safe as one path component.
///
/// # Errors
/// As [`check_name`], or when the name is `.`, `..` or holds a slash.
pub fn check_component(what: &'static str, name: &str) -> Result<(), NameError> {
    check_name(what, name)?;
    if name.contains(['/', '\\']) || name == "." || name == ".." {
        return Err(refuse(what, name, "may not hold slashes or be `.` or `..`"));
    }
    Ok(())
}

/// The name of a node: unique in its cluster, immutable, and what results are keyed by. Clones share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// Checks and wraps a node's name.
    ///
    /// # Errors
    /// When the name breaks a rule of [`check_label`].
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_label("node", name)?;
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for NodeName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

crate::text_form!(NodeName);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Steps that the search for a near name may take: whoever asks may choose the names, too.
const NEAREST_STEPS_MAX: usize = 1 << 20;

/// The known name nearest to `wanted`, when it is near enough to be a slip of the finger; none for what is too long to
/// be a name at all. Where there are very many long names, only the first are looked at.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if wanted.len() > limits::NAME_BYTES_MAX {
        return None;
    }
    let reach = (wanted.chars().count() / 3).max(1);
    let near = known.into_iter().filter(|name| name.len().abs_diff(wanted.len()) <= 4 * reach);
    let mut steps = 0_usize;
    let looked_at = near.take_while(|name| {
        steps = steps.saturating_add((wanted.len() + 1) * (name.len() + 1));
        steps <= NEAREST_STEPS_MAX
    });
    let scored = looked_at.map(|name| (distance(wanted, name), name));
    scored.filter(|(far, _)| *far <= reach).min().map(|(_, name)| name)
}

/// Levenshtein's edit distance, in characters, ignoring ASCII case.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().map(|c| c.to_ascii_lowercase()).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substitute = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_plain_labels() {
        for good in ["node-1", "a", "eu.west_2-b", "0"] {
            assert!(NodeName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "é", &"x".repeat(64)] {
            assert!(NodeName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_search_for_a_near_name_ends_however_many_there_are() {
        let names: Vec<String> = (0..100_000).map(|n| format!("{}{n}", "x".repeat(200))).collect();
        let wanted = format!("{}y", "x".repeat(200));
        assert!(nearest(&wanted, names.iter().map(String::as_str)).is_some());
        let behind = names.iter().map(String::as_str).chain(["worker"]);
        assert_eq!(nearest("workr", behind), Some("worker"), "what cannot be near costs nothing");
    }

    #[test]
    fn hidden_characters_are_refused_and_escaped() {
        let error = check_name("result", "a\u{202e}b").unwrap_err().to_string();
        assert_eq!(error, "result name `a\\u{202e}b` holds control or direction-changing characters");
        assert!(check_name("result", "résumé 2").is_ok());
        for hidden in ["a\0", "a\u{61c}b", "a\u{ad}b", "a\u{2066}b", "a\u{2063}b", "a\u{e0041}", "a\u{feff}", "a\u{85}"]
        {
            assert!(check_name("result", hidden).unwrap_err().problem.starts_with("holds control"), "{hidden:?}");
        }
    }

    #[test]
    fn texts_from_outside_become_one_plain_line() {
        assert_eq!(printable("say \"é\"", 64), "say \"é\"");
        assert_eq!(printable("a\n\u{202e}b\0", 64), "a\\n\\u{202e}b\\0");
        assert_eq!(printable("abcd", 3), "abc…");
    }

    #[test]
    fn names_that_look_the_same_are_the_same() {
        for (written, problem) in [
            ("re\u{301}sume\u{301}", "is not in composed form"),
            ("\u{212b}ngstr\u{f6}m", "is not in composed form"),
            (" update", "begins or ends with a space"),
            ("update\u{a0}", "begins or ends with a space"),
            (" ", "begins or ends with a space"),
        ] {
            let error = check_name("result", written).unwrap_err();
            assert!(error.problem.starts_with(problem), "{written:?}: {error}");
        }
    }

    #[test]
    fn the_nearest_name_is_a_slip_away_or_nothing() {
        assert_eq!(nearest("digit", ["digits", "mnist"]), Some("digits"));
        assert_eq!(nearest("agregator", ["worker", "aggregator"]), Some("aggregator"));
        assert_eq!(nearest("weights", ["digits"]), None);
        let long = "x".repeat(256);
        assert_eq!(nearest(&long, [long.as_str()]), None, "the comparison's cost has a bound");
    }
}
