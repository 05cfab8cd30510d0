//! Where a file of a wheel goes, by the format of wheels.

use crate::beneath::Inner;

/// What becomes of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is made at this path.
    At(Inner),
    /// It is made in `bin`, where it can be run.
    Script(Inner),
    /// It is left out: headers, and the signatures that nobody checks.
    Nowhere,
}

/// Places a path of a wheel whose data is in `<data>`.
///
/// # Errors
/// Why it cannot be placed, to follow the path in a sentence.
pub(super) fn place(path: &str, data: &str) -> Result<Place, &'static str> {
    if path.contains('\\') {
        return Err("holds a backslash");
    }
    if path.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    if path.split('/').any(|part| part.is_empty() || part == ".") {
        return Err("holds `.` or an empty part");
    }
    let inner = |path: &str| Inner::parse(path.as_bytes());
    let Some(below) = path.strip_prefix(data).and_then(|rest| rest.strip_prefix('/')) else {
        return inner(path).map(Place::At);
    };
    match below.split_once('/') {
        Some(("purelib" | "platlib" | "data", rest)) => inner(rest).map(Place::At),
        Some(("scripts", rest)) => inner(&format!("bin/{rest}")).map(Place::Script),
        Some(("headers", rest)) => inner(rest).map(|_| Place::Nowhere),
        _ => Err("is in no part of a wheel's data that is known"),
    }
}

/// The name by which a file in a directory of packages makes something importable, if it does.
pub(super) fn module_of(path: &Inner) -> Option<String> {
    let path = path.as_path().to_str()?;
    let name = match path.split_once('/') {
        Some((folder, _)) => folder,
        None => {
            let stem = path.strip_suffix(".py").or_else(|| path.strip_suffix(".so"))?;
            stem.split('.').next()?
        }
    };
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_') && name != "bin";
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_where_the_format_says() {
        let at = |path: &str| Place::At(Inner::parse(path.as_bytes()).unwrap());
        let placed = |path: &str| place(path, "a-1.data");
        assert_eq!(placed("a/__init__.py"), Ok(at("a/__init__.py")));
        assert_eq!(placed("a-1.data/purelib/b.py"), Ok(at("b.py")));
        assert_eq!(placed("a-1.data/data/share/x"), Ok(at("share/x")));
        assert_eq!(placed("a-1.data/scripts/run"), Ok(Place::Script(Inner::parse(b"bin/run").unwrap())));
        assert_eq!(placed("a-1.data/headers/a.h"), Ok(Place::Nowhere));
        for bad in [
            "../a",
            "a/../../b",
            "/etc/passwd",
            "a//b",
            "a\\b",
            "./a",
            "a-1.data/purelib/../../../x",
            "a-1.data/scripts/../../x",
            "a-1.data/other/x",
            "a\nb",
        ] {
            assert!(placed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn modules_are_told_from_metadata() {
        let of = |path: &str| module_of(&Inner::parse(path.as_bytes()).unwrap());
        assert_eq!(of("numpy/core/x.py").as_deref(), Some("numpy"));
        assert_eq!(of("six.py").as_deref(), Some("six"));
        assert_eq!(of("_cffi.cpython-311-x86_64-linux-gnu.so").as_deref(), Some("_cffi"));
        for none in ["six-1.17.dist-info/RECORD", "bin/f2py", "numpy.libs/x.so", "x.pth"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
