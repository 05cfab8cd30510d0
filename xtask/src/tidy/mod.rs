//! `cargo xtask tidy`: cheap checks of what no compiler checks. Each finding is one line: where, what, and the limit.

mod layers;
mod purity;
mod sizes;
mod text;

use crate::checkout::Checkout;
use crate::failure::Failure;
use std::fs;
use std::path::Path;

/// Where the project's own files are.
const FOLDERS: [&str; 10] =
    ["crates", "xtask", "python", "tests", "examples", "benches", "docs", "changelog", ".ci", ".cargo"];
/// Names of folders that hold what tools have made.
const MADE: [&str; 6] = ["target", "__pycache__", "node_modules", "dist", ".venv", ".hypothesis"];

/// A text file of the checkout.
struct Source {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').map_or(false, |(_, found)| found == extension)
    }

    fn is_generated(&self) -> bool {
        self.path.split('/').any(|part| part == "generated")
    }
}

/// Runs every check, and fails with all that they found.
pub(crate) fn run(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    if let Some(word) = arguments.first() {
        return Err(Failure::usage(format!("`cargo xtask tidy` takes no arguments, and got `{word}`")));
    }
    let sources = read_all(checkout.root())?;
    let mut findings = Vec::new();
    findings.extend(sizes::check(&sources));
    findings.extend(text::check(&sources));
    findings.extend(layers::check(&sources));
    findings.extend(purity::check(&sources));
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        eprintln!("    {} files are tidy", sources.len());
        return Ok(());
    }
    Err(Failure::new(format!("tidy found {} thing(s) to put right", findings.len()))
        .hint("CONTRIBUTING.md gives the rules"))
}

fn read_all(root: &Path) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for folder in FOLDERS {
        let dir = root.join(folder);
        if dir.is_dir() {
            read_folder(root, &dir, &mut sources)?;
        }
    }
    let here = fs::read_dir(root).map_err(|error| Failure::io("read the checkout", &error))?;
    for entry in here.flatten() {
        read_file(root, &entry.path(), &mut sources);
    }
    Ok(sources)
}

fn read_folder(root: &Path, dir: &Path, sources: &mut Vec<Source>) -> Result<(), Failure> {
    let entries = fs::read_dir(dir).map_err(|error| Failure::io(format!("read `{}`", dir.display()), &error))?;
    for entry in entries.flatten() {
        let kind = entry.file_type().map_err(|error| Failure::io(format!("read `{}`", dir.display()), &error))?;
        let name = entry.file_name();
        if kind.is_dir() {
            let made = MADE.iter().any(|made| name == *made) || name.to_string_lossy().ends_with("_cache");
            if !made {
                read_folder(root, &entry.path(), sources)?;
            }
        } else if kind.is_file() {
            read_file(root, &entry.path(), sources);
        }
    }
    Ok(())
}

/// Takes a file up if it is text; data files are nobody's prose or code.
fn read_file(root: &Path, path: &Path, sources: &mut Vec<Source>) {
    let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
    if let (Some(relative), true, Ok(text)) = (relative, path.is_file(), fs::read_to_string(path)) {
        sources.push(Source { path: relative.to_string(), text });
    }
}
