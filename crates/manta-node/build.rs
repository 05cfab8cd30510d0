//! Embeds `manta.light`, which every task imports, into the agent.
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../python/manta").canonicalize()?;
    println!("cargo:rerun-if-changed={}", package.join("__init__.py").display());
    println!("cargo:rerun-if-changed={}", package.join("light").display());
    let mut files = vec![package.join("__init__.py")];
    collect(&package.join("light"), &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        let name = Path::new("manta").join(file.strip_prefix(&package)?);
        writeln!(table, "    ({:?}, include_bytes!({:?})),", name.display().to_string(), file.display().to_string())?;
    }
    table.push_str("]\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("light_files.rs"), table)?;
    Ok(())
}

/// Adds the Python sources under a directory; compiled and hidden files stay out.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "__pycache__") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|ext| ext == "py") {
            files.push(path);
        }
    }
    Ok(())
}
