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

/// Accepts any printable text that fits a line: for tasks, globals, results and datasets.
///
/// # Errors
/// When the name is empty, too long ([`limits::NAME_BYTES_MAX`]), or holds control or direction-changing characters.
pub fn check_name(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(refuse(what, name, "is empty"));
    }
    if name.len() > limits::NAME_BYTES_MAX {
        return Err(refuse(what, name, "is longer than 255 bytes"));
    }
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if name.chars().any(hidden) {
        return Err(refuse(what, name, "holds control or direction-changing characters"));
    }
    Ok(())
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

/// The known name nearest to `wanted`, when it is near enough to be a slip of the finger.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let reach = (wanted.chars().count() / 3).max(1);
    let scored = known.into_iter().map(|name| (distance(wanted, name), name));
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
    fn hidden_characters_are_refused_and_escaped() {
        let error = check_name("result", "a\u{202e}b").unwrap_err().to_string();
        assert_eq!(error, "result name `a\\u{202e}b` holds control or direction-changing characters");
        assert!(check_name("result", "résumé 2").is_ok());
    }

    #[test]
    fn the_nearest_name_is_a_slip_away_or_nothing() {
        assert_eq!(nearest("digit", ["digits", "mnist"]), Some("digits"));
        assert_eq!(nearest("agregator", ["worker", "aggregator"]), Some("aggregator"));
        assert_eq!(nearest("weights", ["digits"]), None);
    }
}
