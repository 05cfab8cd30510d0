//! From a module's files on disk to its bundle.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};
use manta_api::ErrorCode;
use manta_module::zip::MANIFEST_FILE;
use manta_module::{Bundle, BundleMeta, pack};
use manta_types::{Blob, Digest, limits};

use crate::dependencies::Resolved;
use crate::report::Failure;
use crate::trace::TracedModule;

/// A bundle and where the bytes of its files lie.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PackedModule {
    /// The bundle.
    pub(crate) bundle: Bundle,
    /// Where the content of its files, locks and wheels lies on disk.
    pub(crate) sources: BTreeMap<Digest, PathBuf>,
}

/// Packs a module: names every file by its digest and checks every rule of bundles.
pub(crate) fn pack_module(module: &TracedModule, resolved: Resolved) -> Result<PackedModule, Failure> {
    let mut found = Vec::new();
    if let Some(root) = &module.root {
        collect(root, Path::new(""), &mut found)?;
    }
    for included in &module.include {
        collect(included, Path::new(included.file_name().unwrap_or_default()), &mut found)?;
    }
    if let Some(problem) = module.problems.iter().find(|problem| found.iter().any(|(_, path)| *path == problem.file)) {
        return Err(problem.error.clone().into());
    }
    let (mut files, mut sources) = (Vec::new(), resolved.sources);
    for (name, path) in found {
        let blob = name_file(&path)?;
        files.push((name, blob));
        sources.insert(blob.digest, path);
    }
    let meta = BundleMeta {
        name: module.name.clone(),
        version: module.version.clone(),
        entry: module.entry.clone(),
        image: module.image.clone(),
        datasets: module.datasets.clone(),
        resources: module.resources,
        isolation: module.isolation.clone(),
        description: module.description.clone(),
        requires_manta: module.requires_manta.clone(),
        images: module.images.clone(),
        architectures: module.architectures.clone(),
        requires_python: module.requires_python.clone(),
        dependencies: resolved.dependencies,
    };
    let bundle = pack(meta, files).map_err(|error| {
        let place = module.root.as_ref().map(|root| format!(" at `{}`", root.display())).unwrap_or_default();
        let message = format!("module `{}`{place} cannot be packed: {error}", module.name);
        Failure::new(ErrorCode::InvalidSwarm, message)
    })?;
    Ok(PackedModule { bundle, sources })
}

/// Collects a file, or the files below a folder, under a folder of the bundle: without caches, environments, hidden entries
/// and what a `.gitignore` of the folder names. Only what lies below the folder counts, so that a module is the same wherever
/// it lies.
fn collect(root: &Path, under: &Path, found: &mut Vec<(String, PathBuf)>) -> Result<(), Failure> {
    if !root.is_dir() {
        // An included file already is what its name in the bundle says.
        let name = root.file_name().map(PathBuf::from).unwrap_or_default();
        found.push((bundle_path(&name, root)?, root.to_owned()));
        return Ok(());
    }
    let mut walk = WalkBuilder::new(root);
    walk.standard_filters(false).hidden(true).git_ignore(true).require_git(false);
    let own = root.join(MANIFEST_FILE);
    walk.filter_entry(move |entry| !is_skipped(entry) && entry.path() != own);
    for entry in walk.build() {
        let entry = entry.map_err(|error| {
            let message = format!("the module at `{}` cannot be read: {error}", root.display());
            Failure::new(ErrorCode::Storage, message)
        })?;
        let path = entry.path();
        let meta = fs::metadata(path).map_err(|error| Failure::file("the module cannot be read at", path, &error))?;
        if entry.path_is_symlink() && entry.depth() > 0 {
            stays_inside(root, path, meta.is_dir())?;
        }
        if meta.is_file() {
            let relative = path.strip_prefix(root).expect("the walk began at the root");
            found.push((bundle_path(&under.join(relative), path)?, path.to_owned()));
        }
        if found.len() > limits::BUNDLE_FILES_MAX {
            let (most, root) = (limits::BUNDLE_FILES_MAX, root.display());
            let message = format!("the module at `{root}` has more than {most} files");
            return Err(Failure::new(ErrorCode::TooLarge, message).hint("keep data out of modules: declare datasets"));
        }
    }
    Ok(())
}

fn is_skipped(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let cached = Path::new(&*name).extension().is_some_and(|ext| ext == "pyc" || ext == "pyo" || ext == "egg-info");
    cached || matches!(&*name, "__pycache__" | "node_modules") || entry.path().join("pyvenv.cfg").exists()
}

/// A link may point at a file of the same module, and at nothing else.
fn stays_inside(root: &Path, link: &Path, is_folder: bool) -> Result<(), Failure> {
    let inside = match (root.canonicalize(), link.canonicalize()) {
        (Ok(root), Ok(target)) => target.starts_with(root),
        _ => false,
    };
    if inside && !is_folder {
        return Ok(());
    }
    let message = format!("`{}` is a link to a folder or out of the module", link.display());
    Err(Failure::new(ErrorCode::InvalidSwarm, message).hint("put the files themselves into the module's folder"))
}

fn bundle_path(relative: &Path, path: &Path) -> Result<String, Failure> {
    let parts: Option<Vec<&str>> = relative.components().map(|part| part.as_os_str().to_str()).collect();
    parts
        .map(|parts| parts.join("/"))
        .ok_or_else(|| Failure::new(ErrorCode::InvalidSwarm, format!("the name of `{}` is not UTF-8", path.display())))
}

/// Digest and length of a file.
pub(crate) fn name_file(path: &Path) -> Result<Blob, Failure> {
    let failed = |error| Failure::file("a file cannot be read:", path, &error);
    let file = fs::File::open(path).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(failed)?;
    Ok(Blob { digest: Digest::from_bytes(*hasher.finalize().as_bytes()), size: hasher.count() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ErrorObject;
    use crate::trace::TracedProblem;
    use manta_module::{Entry, ModuleResources, Target};

    fn module(root: PathBuf, file: &str) -> TracedModule {
        TracedModule {
            name: "m".into(),
            version: None,
            image: "manta_light:latest".into(),
            datasets: vec![],
            resources: ModuleResources::default(),
            isolation: None,
            description: None,
            requires_manta: None,
            images: vec![],
            architectures: vec![],
            requires_python: None,
            dependencies: None,
            root: Some(root),
            include: vec![],
            problems: vec![],
            entry: Entry::Code { file: file.into(), target: Target::Call("main".into()) },
        }
    }

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        folder
    }

    #[test]
    fn caches_environments_and_hidden_entries_stay_out() {
        let files =
            ["__init__.py", "sub/a.py", "__pycache__/x.pyc", ".git/HEAD", "venv/pyvenv.cfg", "venv/lib.py", "b.pyc"];
        let folder = tree(&files);
        let packed = pack_module(&module(folder.path().into(), "__init__.py"), Resolved::default()).unwrap();
        let paths: Vec<_> = packed.bundle.manifest.files.keys().cloned().collect();
        assert_eq!(paths, ["__init__.py", "sub/a.py"]);
        assert_eq!(packed.sources.len(), 2);
    }

    #[test]
    fn what_a_gitignore_of_the_module_names_stays_out_and_no_other_counts() {
        let folder = tree(&["m/__init__.py", "m/keep.txt", "m/data/big.bin", "m/data/small.txt", "m/x.log"]);
        fs::write(folder.path().join(".gitignore"), "keep.txt\n").unwrap();
        fs::write(folder.path().join("m/.gitignore"), "*.log\n").unwrap();
        fs::write(folder.path().join("m/data/.gitignore"), "*\n!small.txt\n").unwrap();
        let packed = pack_module(&module(folder.path().join("m"), "__init__.py"), Resolved::default()).unwrap();
        let paths: Vec<_> = packed.bundle.manifest.files.keys().cloned().collect();
        assert_eq!(paths, ["__init__.py", "data/small.txt", "keep.txt"]);
    }

    #[test]
    fn what_is_included_stands_beside_the_modules_own_files() {
        let folder = tree(&["m/__init__.py", "common/__init__.py", "common/.git/x", "helpers.py"]);
        let include = vec![folder.path().join("common"), folder.path().join("helpers.py")];
        let with = |include| TracedModule { include, ..module(folder.path().join("m"), "__init__.py") };
        let packed = pack_module(&with(include), Resolved::default()).unwrap();
        let paths: Vec<_> = packed.bundle.manifest.files.keys().cloned().collect();
        assert_eq!(paths, ["__init__.py", "common/__init__.py", "helpers.py"]);
        fs::write(folder.path().join("m/Helpers.py"), "").unwrap();
        let twin = pack_module(&with(vec![folder.path().join("helpers.py")]), Resolved::default()).unwrap_err();
        assert!(twin.message.contains("`Helpers.py` and `helpers.py` differ only in case"), "{twin:?}");
    }

    #[test]
    fn a_problem_counts_where_its_file_is_packed() {
        let folder = tree(&["m/__init__.py", "m/bad.py"]);
        let error =
            ErrorObject { code: None, message: "bad.py does not parse".into(), place: None, hint: None, docs: None };
        let problems = vec![TracedProblem { file: folder.path().join("m/bad.py"), error }];
        let with = TracedModule { problems, ..module(folder.path().join("m"), "__init__.py") };
        assert_eq!(pack_module(&with, Resolved::default()).unwrap_err().message, "bad.py does not parse");
        fs::write(folder.path().join("m/.gitignore"), "bad.py\n").unwrap();
        assert!(pack_module(&with, Resolved::default()).is_ok());
    }

    #[test]
    fn order_times_and_modes_of_files_do_not_show() {
        use std::os::unix::fs::PermissionsExt;
        let names = ["__init__.py", "a.py", "lib/b.py", "lib/c.bin"];
        let (one, other) = (tree(&names), tree(&names.iter().rev().copied().collect::<Vec<_>>()));
        for (mode, name) in (0o600..).step_by(9).zip(names) {
            let path = other.path().join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            fs::File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        let pack = |folder: &tempfile::TempDir| {
            pack_module(&module(folder.path().into(), "__init__.py"), Resolved::default()).unwrap().bundle
        };
        assert_eq!(pack(&one), pack(&other));
    }

    #[test]
    fn a_file_module_holds_that_file_alone() {
        let folder = tree(&["worker_v1.0.py", "other.py"]);
        let packed =
            pack_module(&module(folder.path().join("worker_v1.0.py"), "worker_v1.0.py"), Resolved::default()).unwrap();
        assert_eq!(packed.bundle.manifest.files.len(), 1);
    }

    #[test]
    fn a_module_that_runs_its_images_program_holds_no_file() {
        let (entry, image) = (Entry::Image, "team/model:1".to_owned());
        let bare = TracedModule { root: None, entry, image, ..module(PathBuf::new(), "") };
        assert_eq!(pack_module(&bare, Resolved::default()).unwrap().bundle.manifest.files.len(), 0);
        let curated = TracedModule { image: "manta_light:numpy".into(), ..bare };
        let failure = pack_module(&curated, Resolved::default()).unwrap_err();
        assert!(failure.message.contains("has no program of its own"), "{failure:?}");
    }

    #[test]
    fn links_out_of_the_module_are_refused() {
        let folder = tree(&["m/__init__.py", "secret"]);
        std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("m/s")).unwrap();
        let failure = pack_module(&module(folder.path().join("m"), "__init__.py"), Resolved::default()).unwrap_err();
        assert!(failure.message.contains("out of the module"), "{failure:?}");
    }
}
