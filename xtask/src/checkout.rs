//! Where the checkout is, and the places that the chores may write to: the checkout itself and the user's cache directory.

use crate::failure::Failure;
use std::env;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// Looks where cargo ran this program from, then where it was compiled, then upwards from the working directory.
    pub(crate) fn find() -> Result<Self, Failure> {
        let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let compiled = Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let mut candidates: Vec<PathBuf> =
            [package, compiled].into_iter().flatten().filter_map(|dir| dir.parent().map(Path::to_path_buf)).collect();
        if let Ok(here) = env::current_dir() {
            candidates.extend(here.ancestors().map(Path::to_path_buf));
        }
        candidates.into_iter().find(|dir| is_root(dir)).map(|root| Self { root }).ok_or_else(|| {
            Failure::new("this is not a checkout of Manta").hint("run `cargo xtask` from the checkout's root directory")
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Reads one of the checkout's text files.
    pub(crate) fn read(&self, relative: &str) -> Result<String, Failure> {
        fs::read_to_string(self.path(relative)).map_err(|error| Failure::io(format!("read `{relative}`"), &error))
    }

    /// A directory for what the chores make on the way, removed by `cargo clean`.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, Failure> {
        let dir = self.path("target/xtask").join(name);
        fs::create_dir_all(&dir).map_err(|error| {
            Failure::io(format!("make `{}`", dir.display()), &error)
                .hint("does the checkout belong to another user? Work in a copy of your own")
        })?;
        Ok(dir)
    }

    /// Manta's directory in the user's cache; inside the checkout where the user has none that can be written.
    pub(crate) fn cache(&self) -> PathBuf {
        users_cache().unwrap_or_else(|| self.own_cache())
    }

    /// What `manta` is to take for its home, where the user has no cache directory of their own and names none.
    pub(crate) fn manta_home_instead(&self) -> Option<PathBuf> {
        let named = env::var_os("MANTA_HOME").is_some();
        (!named && users_cache().is_none()).then(|| self.own_cache())
    }

    fn own_cache(&self) -> PathBuf {
        self.path("target/cache/manta")
    }

    /// A home for cargo inside the checkout, where the one it would use cannot be written.
    pub(crate) fn cargo_home_instead(&self) -> Option<OsString> {
        let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
        let usual = env::var_os("CARGO_HOME").map(PathBuf::from).or(home)?;
        if is_writable(&usual) {
            return None;
        }
        Some(self.path("target/cache/cargo").into_os_string())
    }
}

fn users_cache() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("manta")).filter(|dir| is_writable(dir))
}

fn is_root(dir: &Path) -> bool {
    dir.join("Cargo.toml").is_file() && dir.join("crates/manta-cli").is_dir() && dir.join("xtask").is_dir()
}

/// Whether a file can be made in `dir`, which is made if need be. Nothing stays behind in it.
fn is_writable(dir: &Path) -> bool {
    let probe = dir.join(format!(".manta-xtask-{}", std::process::id()));
    let made = fs::create_dir_all(dir).and_then(|()| OpenOptions::new().write(true).create_new(true).open(&probe));
    made.is_ok() && fs::remove_file(&probe).is_ok()
}
