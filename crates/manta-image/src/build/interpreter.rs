//! What an interpreter consists of, as it tells itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// Prints what [`Interpreter`] reads.
const QUESTION: &str = include_str!("question.py");
/// The oldest Python that tasks run on.
const VERSION_MIN: (u32, u32, u32) = (3, 9, 0);

/// An interpreter with some of its packages.
#[derive(Debug, Deserialize)]
pub(super) struct Interpreter {
    pub(super) version: (u32, u32, u32),
    /// The program itself, not an environment's link to it.
    pub(super) executable: PathBuf,
    pub(super) prefix: PathBuf,
    /// The directory of the standard library.
    pub(super) library: PathBuf,
    /// Where it looks for packages.
    sites: Vec<PathBuf>,
    pub(super) packages: BTreeMap<String, Package>,
    missing: Vec<String>,
    loose: Vec<String>,
}

/// An installed distribution.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    version: String,
    /// Where each file lies on this machine, and in a directory of packages.
    pub(super) files: Vec<(PathBuf, PathBuf)>,
}

impl Interpreter {
    /// Asks an interpreter about itself and about distributions with all that they require.
    ///
    /// # Errors
    /// Why no image can be made of it, in words.
    pub(super) fn ask(python: &Path, distributions: &[&str]) -> Result<Self, String> {
        let shown = python.display();
        let output = Command::new(python)
            .args(["-I", "-B", "-c", QUESTION])
            .args(distributions)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("`{shown}` cannot be run: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "`{shown}` is no working Python: {}",
                said.lines().last().unwrap_or("it said nothing")
            ));
        }
        let told: Self = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("`{shown}` says what cannot be understood: {error}"))?;
        if told.version < VERSION_MIN {
            return Err(format!("`{shown}` is Python {}; tasks need 3.9 or newer", told.version_text()));
        }
        if !told.missing.is_empty() {
            return Err(format!("`{shown}` lacks the package {}", told.missing.join(", ")));
        }
        if !told.loose.is_empty() {
            let loose = told.loose.join(", ");
            return Err(format!("`{shown}` has {loose} installed without a list of files, as in development"));
        }
        Ok(told)
    }

    pub(super) fn version_text(&self) -> String {
        format!("{}.{}.{}", self.version.0, self.version.1, self.version.2)
    }

    /// `python3.11`.
    pub(super) fn name(&self) -> String {
        format!("python{}.{}", self.version.0, self.version.1)
    }

    pub(super) fn package_versions(&self) -> BTreeMap<String, String> {
        self.packages.iter().map(|(name, package)| (name.clone(), package.version.clone())).collect()
    }

    /// The prefix that it has in an image: the system's stays, any other becomes `/usr/local`.
    pub(super) fn new_prefix(&self) -> PathBuf {
        PathBuf::from(if self.prefix == Path::new("/usr") { "/usr" } else { "/usr/local" })
    }

    /// A path below its prefix, as it is in an image.
    pub(super) fn moved(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.prefix) {
            Ok(rest) => self.new_prefix().join(rest),
            Err(_) => path.to_owned(),
        }
    }

    /// Where packages lie in an image.
    pub(super) fn site(&self) -> PathBuf {
        let site = self.sites.first().cloned().unwrap_or_else(|| self.library.join("site-packages"));
        self.moved(&site)
    }
}
