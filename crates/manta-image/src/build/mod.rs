//! Builds curated images of a Python of this machine: the interpreter, its library, some of its packages and the system libraries
//! that they load, and nothing else. What is written is an archive that Docker runs, too.
//!
//! The same interpreter and packages give the same bytes: files are sorted, have one owner and no times, and compiled Python is
//! believed without looking at times.

mod archive;
mod interpreter;
mod libraries;
mod stage;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::{ImageError, ImageName};
use interpreter::Interpreter;
use stage::Stage;

/// Curated images and the distributions that each is made of, beside what those require.
pub const CURATED: [(&str, &[&str]); 4] =
    [("latest", &[]), ("numpy", &["numpy"]), ("sklearn", &["scikit-learn"]), ("pytorch", &["torch"])];

/// What an archive was made of.
#[derive(Debug)]
pub struct Built {
    /// The interpreter's version.
    pub python: String,
    /// Distributions and their versions.
    pub packages: BTreeMap<String, String>,
}

/// Builds the curated image `name` of the interpreter `python`, using the empty directory `work`, and writes it to `archive`.
///
/// # Errors
/// One sentence: that no such image is curated, or what the interpreter lacks.
pub fn build(name: &ImageName, python: &Path, work: &Path, archive: &Path) -> Result<Built, ImageError> {
    let refuse = |problem: String| ImageError::Build { name: name.to_string(), problem };
    let Some((_, wanted)) = CURATED.iter().find(|(curated, _)| *curated == name.as_str()) else {
        return Err(refuse(format!("it is not one of {}", CURATED.map(|(curated, _)| curated).join(", "))));
    };
    let interpreter = Interpreter::ask(python, wanted).map_err(refuse)?;
    let failed = |error: io::Error| refuse(error.to_string());
    let stage = Stage::new(work, &interpreter).map_err(failed)?;
    stage.add_interpreter().map_err(failed)?;
    stage.add_packages().map_err(failed)?;
    stage.compile().map_err(refuse)?;
    let has_others = libraries::add(&stage).map_err(failed)?;
    stage.add_system().map_err(failed)?;
    let built = Built { python: interpreter.version_text(), packages: interpreter.package_versions() };
    archive::write(archive, name, &stage, &built, has_others).map_err(ImageError::file(archive))?;
    Ok(built)
}

/// Where something lies in an image, relative to its root.
fn inside(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}
