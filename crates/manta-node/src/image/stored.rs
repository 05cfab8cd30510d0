//! A stored image as a sandbox takes it: what lies in its root directory is mounted piece by piece, read-only.
//!
//! So the task's root stays the sandbox's own, with `/proc`, `/dev`, `/tmp`, `/code` and `/data` whatever the image has there.
use std::fs;
use std::path::Path;
use std::sync::Arc;

use manta_image::{Held, Program, Seen};
use manta_sandbox::{Link, Mount, MountAccess};
use manta_types::Runtime;

/// Files and directories of an image's root directory.
const ENTRIES_MAX: usize = 100;
/// What the sandbox makes itself, or the agent puts there.
const OWN: [&str; 8] = ["code", "data", "dev", "manta", "packages", "proc", "sys", "tmp"];
/// The oldest Python that `manta.light` runs on.
const VERSION_MIN: (u32, u32) = (3, 9);

/// What an image says its zygote imports, names apart by commas.
const PRELOAD_LABEL: &str = "manta.preload";
/// What is imported of an image that does not say so, where it has it.
const PACKAGES: [&str; 3] = ["numpy?", "torch?", "sklearn?"];
/// Modules that a label may name.
const PRELOADS_MAX: usize = 64;

/// An image that an attempt runs in.
pub(crate) struct Stored {
    held: Held,
    seen: Arc<Seen>,
    program: Result<Program, String>,
    mounts: Vec<Mount>,
    links: Vec<Link>,
}

impl Stored {
    /// Looks at an image's root directory and its program. Blocks.
    ///
    /// # Errors
    /// Why nothing can run in it.
    pub(super) fn new(held: Held) -> Result<Self, String> {
        let (mounts, links) = pieces(held.root())?;
        let seen = Arc::new(held.seen().map_err(|error| error.to_string())?);
        let program = held.program().and_then(reachable);
        Ok(Self { held, seen, program, mounts, links })
    }

    pub(super) fn runtime(&self) -> Option<Runtime> {
        self.held.runtime()
    }

    /// Its digest.
    pub(crate) fn digest(&self) -> String {
        self.held.record().id.to_string()
    }

    /// What tells when it is not held any more whether it is there still.
    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// What its zygote imports, of what nobody who submits a swarm can change: the image's own word, or what it has.
    ///
    /// # Errors
    /// What of its label is no name of a module.
    pub(crate) fn preload(&self) -> Result<Vec<String>, String> {
        match self.held.record().settings.labels.get(PRELOAD_LABEL) {
            None => Ok(PACKAGES.map(str::to_owned).to_vec()),
            Some(label) => preload_of(label),
        }
    }

    /// Its interpreter, as a task sees it.
    ///
    /// # Errors
    /// Why it has none that runs tasks.
    pub(crate) fn python(&self) -> Result<&Path, String> {
        let record = self.held.record();
        if let Some((major, minor)) = record.python_version().filter(|version| *version < VERSION_MIN) {
            return Err(format!("it has Python {major}.{minor}, and tasks need 3.9 or newer"));
        }
        record.python().ok_or_else(|| "it has no `python3` on its PATH, nor in /usr/bin".to_owned())
    }

    pub(super) fn python_version(&self) -> Option<(u32, u32)> {
        self.held.record().python_version()
    }

    pub(super) fn program(&self) -> Result<&Program, String> {
        self.program.as_ref().map_err(Clone::clone)
    }

    pub(crate) fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    pub(crate) fn variables(&self) -> &[(String, String)] {
        &self.held.record().settings.env
    }
}

/// The modules that a label names.
fn preload_of(label: &str) -> Result<Vec<String>, String> {
    let names: Vec<&str> = label.split([',', ' ']).filter(|name| !name.is_empty()).collect();
    let is_word = |word: &str| {
        !word.starts_with(|first: char| first.is_ascii_digit())
            && !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if names.len() > PRELOADS_MAX {
        return Err(format!("its label `{PRELOAD_LABEL}` names more than {PRELOADS_MAX} modules"));
    }
    match names.iter().find(|name| !name.split('.').all(is_word)) {
        Some(name) => Err(format!("its label `{PRELOAD_LABEL}` names `{}`, which is no module", name.escape_debug())),
        None => Ok(names.into_iter().map(str::to_owned).collect()),
    }
}

/// Refuses a program whose file or directory is hidden by what tasks have in its place.
fn reachable(program: Program) -> Result<Program, String> {
    let directory = program.directory.as_deref().filter(|directory| Path::new(directory) != Path::new("/tmp"));
    let hidden = [Some(program.argv[0].as_str()), directory].into_iter().flatten().find_map(|path| {
        let own = OWN.into_iter().find(|own| Path::new(path).starts_with(Path::new("/").join(own)))?;
        Some(format!("its program needs {path:?}, and `/{own}` is not the image's own inside a sandbox"))
    });
    hidden.map_or(Ok(program), Err)
}

/// Mounts and links that make a root directory of what is in another.
fn pieces(root: &Path) -> Result<(Vec<Mount>, Vec<Link>), String> {
    let failed = |error: std::io::Error| format!("its root directory cannot be read: {error}");
    let (mut mounts, mut links) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A name that is no text cannot be asked for by one.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if OWN.contains(&name.as_str()) {
            continue;
        }
        if mounts.len() + links.len() >= ENTRIES_MAX {
            return Err(format!("its root directory holds more than {ENTRIES_MAX} entries"));
        }
        let (source, target) = (entry.path(), Path::new("/").join(name));
        if entry.file_type().map_err(failed)?.is_symlink() {
            links.push(Link { path: target, to: fs::read_link(source).map_err(failed)? });
        } else {
            mounts.push(Mount { source, target, access: MountAccess::OwnerOrOther });
        }
    }
    // What waits for tasks of this image has them in this order as well.
    links.sort_by(|one: &Link, other| one.path.cmp(&other.path));
    Ok((mounts, links))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_label_names_modules_and_nothing_else() {
        assert_eq!(preload_of("numpy, scipy.linalg").unwrap(), ["numpy", "scipy.linalg"]);
        assert_eq!(preload_of("").unwrap(), [""; 0]);
        for label in ["numpy?", "-c", "a..b", "3d", "a/b", "a\nb"] {
            assert!(preload_of(label).unwrap_err().contains("no module"), "{label}");
        }
        assert!(preload_of(&"a,".repeat(65)).unwrap_err().contains("more than 64"));
    }

    #[test]
    fn a_program_that_lies_where_tasks_have_something_of_their_own_is_refused() {
        let check = |program: &str, directory: Option<&str>| {
            reachable(Program { argv: vec![program.to_owned()], directory: directory.map(str::to_owned) }).map(drop)
        };
        assert_eq!(check("/app/run", Some("/app")), Ok(()));
        assert_eq!(check("/codes/run", Some("/tmp/")), Ok(()));
        assert!(check("/code/run", None).unwrap_err().contains("`/code` is not the image's own"));
        assert!(check("/app/run", Some("/data/x")).unwrap_err().contains(r#"needs "/data/x""#));
    }

    #[test]
    fn the_pieces_of_a_root_leave_the_sandboxs_own_places_out() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["usr", "etc", "proc", "tmp", "data"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        symlink("usr/bin", root.path().join("bin")).unwrap();
        let (mut mounts, links) = pieces(root.path()).unwrap();
        mounts.sort_by(|one, other| one.target.cmp(&other.target));
        assert_eq!(mounts.iter().map(|mount| mount.target.to_str().unwrap()).collect::<Vec<_>>(), ["/etc", "/usr"]);
        assert_eq!(links, [Link { path: "/bin".into(), to: "usr/bin".into() }]);
        for number in 0..ENTRIES_MAX {
            fs::write(root.path().join(number.to_string()), "").unwrap();
        }
        assert!(pieces(root.path()).unwrap_err().contains("more than 100"));
    }
}
