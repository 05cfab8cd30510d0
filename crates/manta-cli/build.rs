//! Lists the files of `examples/`, so that `manta demo` and `manta new` carry them in the binary, and every limit that is
//! built in, so that `manta limits` cannot forget one.
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The folders of `examples/` that are carried.
const CARRIED: [&str; 5] = ["digits", "federated", "hello", "statistics", "torch"];

fn main() -> io::Result<()> {
    let manifest_dir = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    let mut templates = String::from("&[\n");
    for name in CARRIED {
        let root = Path::new(&manifest_dir).join("../../examples").join(name);
        let table = table(&root)?;
        let _ = writeln!(templates, "    ({name:?}, {table}),");
        if name == "digits" {
            fs::write(out.join("example_files.rs"), table)?;
        }
    }
    templates.push_str("]\n");
    fs::write(out.join("templates.rs"), templates)?;
    fs::write(out.join("limits.rs"), limits(&Path::new(&manifest_dir).join("../manta-types/src/limits.rs"))?)
}

/// The constants of a file as Rust: name, value and what stands above it.
fn limits(source: &Path) -> io::Result<String> {
    println!("cargo::rerun-if-changed={}", source.display());
    let (mut list, mut about) = (String::from("vec![\n"), String::new());
    for line in fs::read_to_string(source)?.lines() {
        if let Some(words) = line.strip_prefix("/// ") {
            let space = if about.is_empty() { "" } else { " " };
            let _ = write!(about, "{space}{words}");
            continue;
        }
        if let Some((name, _)) = line.strip_prefix("pub const ").and_then(|rest| rest.split_once(':'))
            && !name.contains(['(', ' '])
        {
            let _ = writeln!(list, "    ({name:?}, &manta_types::limits::{name}, {about:?}),");
        }
        about.clear();
    }
    list.push_str("]\n");
    Ok(list)
}

/// A folder's files as Rust: path in the folder → content.
fn table(root: &Path) -> io::Result<String> {
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
        let name = file.strip_prefix(root).map_err(io::Error::other)?;
        let _ = writeln!(table, "    ({:?}, include_str!({:?})),", name, file.canonicalize()?);
    }
    table.push_str("]\n");
    Ok(table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "__pycache__" {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if matches!(path.extension().and_then(|ext| ext.to_str()), Some("py" | "md" | "txt" | "toml" | "csv")) {
            files.push(path);
        }
    }
    Ok(())
}
