//! Which paths a bundle may hold: those that mean the same file on every system and never leave the bundle's folder.
use unicode_normalization::UnicodeNormalization;

/// Bytes of a path in a bundle; so that it fits every system's limit below whatever folder it is put.
pub const PATH_BYTES_MAX: usize = 240;
/// Parts of a path in a bundle.
pub const PATH_DEPTH_MAX: usize = 16;
/// Names that some systems keep for devices, whatever follows after a dot.
const RESERVED: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Why a path may not be in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("is too long: {PATH_BYTES_MAX} bytes are the limit")]
    TooLong,
    /// More parts than [`PATH_DEPTH_MAX`].
    #[error("is too deep: {PATH_DEPTH_MAX} parts are the limit")]
    TooDeep,
    /// It begins with a slash.
    #[error("is absolute; only paths relative to the module are allowed")]
    Absolute,
    /// A `.`, `..` or empty part.
    #[error("holds `.`, `..` or an empty part")]
    Climbs,
    /// A backslash, which other systems read as a separator.
    #[error("holds a backslash")]
    Backslash,
    /// NUL, line ends and other control characters.
    #[error("holds a control character")]
    Control,
    /// A character that means something else in a path of another system.
    #[error("holds one of `:`, `<`, `>`, `\"`, `|`, `?`, `*`, which other systems do not allow in a name")]
    Special,
    /// A device's name.
    #[error("holds a name that other systems keep for a device")]
    Reserved,
    /// A part that ends in a dot or space, which other systems drop.
    #[error("holds a part that begins or ends with a space, or ends with a dot")]
    Trimmed,
}

/// Accepts a relative path of plain parts, safe to join below a folder.
///
/// # Errors
/// The first rule that the path breaks.
pub fn check_path(path: &str) -> Result<(), PathProblem> {
    if path.is_empty() {
        return Err(PathProblem::Empty);
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(PathProblem::TooLong);
    }
    if path.starts_with('/') {
        return Err(PathProblem::Absolute);
    }
    if path.contains('\\') {
        return Err(PathProblem::Backslash);
    }
    if path.chars().any(char::is_control) {
        return Err(PathProblem::Control);
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(PathProblem::Climbs);
    }
    if path.contains([':', '<', '>', '"', '|', '?', '*']) {
        return Err(PathProblem::Special);
    }
    if path.split('/').count() > PATH_DEPTH_MAX {
        return Err(PathProblem::TooDeep);
    }
    path.split('/').try_for_each(check_part)
}

fn check_part(part: &str) -> Result<(), PathProblem> {
    if part.starts_with(' ') || part.ends_with([' ', '.']) {
        return Err(PathProblem::Trimmed);
    }
    let stem = part.split('.').next().unwrap_or(part).trim_end().to_ascii_lowercase();
    let is_port = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt")).is_some_and(|rest| {
        let mut rest = rest.chars();
        rest.next().is_some_and(|digit| matches!(digit, '0'..='9' | '¹' | '²' | '³')) && rest.next().is_none()
    });
    if is_port || RESERVED.contains(&stem.as_str()) { Err(PathProblem::Reserved) } else { Ok(()) }
}

/// The path as a system sees it that has no case and composes accents: two that fold alike are one file there.
pub(crate) fn fold(path: &str) -> String {
    path.nfc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

/// Two paths that some systems would take for one, or of which one is a folder of the other's name.
pub(crate) fn collision<'a>(paths: impl Iterator<Item = &'a str>) -> Option<(&'a str, &'a str)> {
    let mut folded: Vec<(String, &str)> = paths.map(|path| (fold(path), path)).collect();
    // A folder sorts next to what lies in it once the separator sorts before every other character.
    folded.sort_by(|a, b| a.0.split('/').cmp(b.0.split('/')));
    folded.windows(2).find_map(|pair| {
        let ((first, one), (second, other)) = (&pair[0], &pair[1]);
        let inside = second.strip_prefix(first.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        inside.then_some((*one, *other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_relative_paths_are_accepted() {
        for good in ["worker.py", "sub/a.py", "a b/é.txt", "..hidden", "a..b/c", "console.py", "com10/x", "model.pth"]
        {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn hostile_paths_are_refused_with_the_rule_they_break() {
        for (bad, problem) in [
            ("", PathProblem::Empty),
            ("/etc/passwd", PathProblem::Absolute),
            ("../up", PathProblem::Climbs),
            ("a/../b", PathProblem::Climbs),
            ("a//b", PathProblem::Climbs),
            ("a/", PathProblem::Climbs),
            ("./a", PathProblem::Climbs),
            ("..\\up", PathProblem::Backslash),
            ("a\0b", PathProblem::Control),
            ("a\nb", PathProblem::Control),
            ("c:/x", PathProblem::Special),
            ("a.txt:stream", PathProblem::Special),
            ("sub/NUL", PathProblem::Reserved),
            ("aux.py", PathProblem::Reserved),
            ("lib/Com1.tar.gz", PathProblem::Reserved),
            ("com¹", PathProblem::Reserved),
            ("a./b", PathProblem::Trimmed),
            ("a /b", PathProblem::Trimmed),
        ] {
            assert_eq!(check_path(bad), Err(problem), "{bad:?}");
        }
        assert_eq!(check_path(&"x".repeat(241)), Err(PathProblem::TooLong));
        assert_eq!(check_path(&format!("{}x", "x/".repeat(16))), Err(PathProblem::TooDeep));
    }

    #[test]
    fn twins_and_a_file_that_is_also_a_folder_collide() {
        assert_eq!(collision(["a/B.py", "a/b.py"].into_iter()), Some(("a/B.py", "a/b.py")));
        assert_eq!(collision(["lib", "lib-x", "lib/a.py"].into_iter()), Some(("lib", "lib/a.py")));
        assert_eq!(collision(["LIB", "lib/a.py"].into_iter()), Some(("LIB", "lib/a.py")));
        assert_eq!(collision(["e\u{301}.py", "\u{e9}.py"].into_iter()), Some(("e\u{301}.py", "\u{e9}.py")));
        assert_eq!(collision(["STRASSE", "straße"].into_iter()).map(|_| ()), Some(()));
        assert_eq!(collision(["a.py", "b.py", "lib/a.py"].into_iter()), None);
    }
}
