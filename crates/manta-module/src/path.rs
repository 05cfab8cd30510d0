//! Which paths a bundle may hold: those that mean the same file on every node and never leave the bundle's folder.

/// Bytes of a path in a bundle; below the 255 of a file name times a sane depth, and so far below every system's limit.
pub const PATH_BYTES_MAX: usize = 1024;
/// Bytes of one component of a path, as file systems have it.
const COMPONENT_BYTES_MAX: usize = 255;

/// Why a path may not be in a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than [`PATH_BYTES_MAX`] in all or 255 bytes in one part.
    #[error("is too long: 1024 bytes in all and 255 in each part are the limit")]
    TooLong,
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
}

/// Accepts a relative path of plain parts, safe to join below a folder.
///
/// # Errors
/// The first rule that the path breaks.
pub fn check_path(path: &str) -> Result<(), PathProblem> {
    if path.is_empty() {
        return Err(PathProblem::Empty);
    }
    if path.len() > PATH_BYTES_MAX || path.split('/').any(|part| part.len() > COMPONENT_BYTES_MAX) {
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
    Ok(())
}

/// Two paths that a system without case would take for one, or of which one is a folder of the other's name.
pub(crate) fn collision<'a>(paths: impl Iterator<Item = &'a str>) -> Option<(&'a str, &'a str)> {
    let mut folded: Vec<(String, &str)> = paths.map(|path| (path.to_ascii_lowercase(), path)).collect();
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
        for good in ["worker.py", "sub/a.py", "a b/é.txt", "..hidden", "a..b/c"] {
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
        ] {
            assert_eq!(check_path(bad), Err(problem), "{bad:?}");
        }
        assert_eq!(check_path(&"x".repeat(256)), Err(PathProblem::TooLong));
        assert_eq!(check_path(&"x/".repeat(600)), Err(PathProblem::TooLong));
    }

    #[test]
    fn case_twins_and_a_file_that_is_also_a_folder_collide() {
        assert_eq!(collision(["a/B.py", "a/b.py"].into_iter()), Some(("a/B.py", "a/b.py")));
        assert_eq!(collision(["lib", "lib-x", "lib/a.py"].into_iter()), Some(("lib", "lib/a.py")));
        assert_eq!(collision(["LIB", "lib/a.py"].into_iter()), Some(("LIB", "lib/a.py")));
        assert_eq!(collision(["a.py", "b.py", "lib/a.py"].into_iter()), None);
    }
}
