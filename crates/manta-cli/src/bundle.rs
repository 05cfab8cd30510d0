//! From a module's files on disk to its bundle.
use std::fs;
use std::path::{Path, PathBuf};

use manta_api::ErrorCode;
use manta_module::{Bundle, BundleMeta, pack};
use manta_types::{Blob, Digest, limits};

use crate::report::Failure;
use crate::trace::TracedModule;

/// A bundle and where the bytes of its files lie.
#[derive(Debug)]
pub(crate) struct PackedModule {
    /// The bundle.
    pub(crate) bundle: Bundle,
    /// Each file's content and its path on disk.
    pub(crate) sources: Vec<(Blob, PathBuf)>,
}

/// Packs a module: names every file by its digest and checks every rule of bundles.
pub(crate) fn pack_module(module: &TracedModule) -> Result<PackedModule, Failure> {
    let mut found = Vec::new();
    if module.root.is_dir() {
        walk(&module.root, &module.root, &mut found)?;
    } else {
        let name = module.root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        found.push((name, module.root.clone()));
    }
    let (mut files, mut sources) = (Vec::new(), Vec::new());
    for (name, path) in found {
        let blob = name_file(&path)?;
        files.push((name, blob));
        sources.push((blob, path));
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
    };
    let bundle = pack(meta, files).map_err(|error| {
        let message = format!("module `{}` at `{}` cannot be packed: {error}", module.name, module.root.display());
        Failure::new(ErrorCode::InvalidSwarm, message)
    })?;
    Ok(PackedModule { bundle, sources })
}

/// Collects the files below a folder, without caches, environments and hidden entries.
fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, PathBuf)>) -> Result<(), Failure> {
    let unreadable = |error| Failure::file("the module cannot be read at", folder, &error);
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_skipped(&name) {
            continue;
        }
        let meta = fs::metadata(&path).map_err(|error| Failure::file("the module cannot be read at", &path, &error))?;
        if path.is_symlink() {
            stays_inside(root, &path, meta.is_dir())?;
        }
        if meta.is_dir() {
            if !path.join("pyvenv.cfg").exists() {
                walk(root, &path, found)?;
            }
        } else if meta.is_file() {
            found.push((bundle_path(root, &path)?, path));
        }
        if found.len() > limits::BUNDLE_FILES_MAX {
            let (most, root) = (limits::BUNDLE_FILES_MAX, root.display());
            let message = format!("the module at `{root}` has more than {most} files");
            return Err(Failure::new(ErrorCode::TooLarge, message).hint("keep data out of modules: declare datasets"));
        }
    }
    Ok(())
}

fn is_skipped(name: &str) -> bool {
    let cached = Path::new(name).extension().is_some_and(|ext| ext == "pyc" || ext == "pyo" || ext == "egg-info");
    name.starts_with('.') || cached || matches!(name, "__pycache__" | "node_modules")
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

fn bundle_path(root: &Path, path: &Path) -> Result<String, Failure> {
    let relative = path.strip_prefix(root).expect("the walk began at the root");
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
            root,
            entry: Entry { file: file.into(), target: Target::Call("main".into()) },
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
        let packed = pack_module(&module(folder.path().into(), "__init__.py")).unwrap();
        let paths: Vec<_> = packed.bundle.manifest.files.keys().cloned().collect();
        assert_eq!(paths, ["__init__.py", "sub/a.py"]);
        assert_eq!(packed.sources.len(), 2);
    }

    #[test]
    fn a_file_module_holds_that_file_alone() {
        let folder = tree(&["worker_v1.0.py", "other.py"]);
        let packed = pack_module(&module(folder.path().join("worker_v1.0.py"), "worker_v1.0.py")).unwrap();
        assert_eq!(packed.bundle.manifest.files.len(), 1);
    }

    #[test]
    fn links_out_of_the_module_are_refused() {
        let folder = tree(&["m/__init__.py", "secret"]);
        std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("m/s")).unwrap();
        let failure = pack_module(&module(folder.path().join("m"), "__init__.py")).unwrap_err();
        assert!(failure.message.contains("out of the module"), "{failure:?}");
    }
}
