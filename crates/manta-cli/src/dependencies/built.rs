//! Distributions that have no wheel: built from source on this machine, where the module's author allowed it.
use std::path::{Path, PathBuf};

use manta_module::{Hashes, Lock, LockedFile, WheelName, normalised};
use sha2::{Digest as _, Sha256};

use super::uv::Uv;
use super::{Task, fetch, refused};
use crate::report::Failure;

/// Builds a wheel of every distribution that has none, and puts it into the lock beside its source.
pub(super) async fn build_missing(task: &Task<'_>, uv: &Uv, lock: &mut Lock) -> Result<(), Failure> {
    for package in lock.packages.iter_mut().filter(|package| package.wheels.is_empty()) {
        let name = normalised(&package.name);
        let allowed = task.declared.allow_source.iter().any(|allowed| normalised(allowed) == name);
        let Some(source) = package.sdist.as_ref().filter(|_| allowed) else {
            let words =
                format!("`{}` comes as source only, and building it would run its code on this machine", package.name);
            return Err(refused(task.module, words).hint(format!(
                "allow it in [tool.manta.module]: allow_source = [\"{}\"], or name a version with wheels",
                package.name
            )));
        };
        let wheel = build(task, uv, source).await.map_err(|words| {
            refused(
                task.module,
                format!(
                    "`{}` cannot be built from source:\n  {}",
                    package.name,
                    words.trim_end().replace('\n', "\n  ")
                ),
            )
        })?;
        package.wheels.push(wheel);
    }
    Ok(())
}

async fn build(task: &Task<'_>, uv: &Uv, source: &LockedFile) -> Result<LockedFile, String> {
    let sha256 = source.sha256().ok_or_else(|| format!("its lock has no SHA-256 of `{}`", source.name))?;
    let folder = task.store.built(sha256, task.runtime);
    if wheel_in(&folder).is_none() {
        fetch::fetch(task, source).await?;
        let fresh = tempfile::tempdir_in(folder.parent().unwrap_or(&folder)).map_err(|error| error.to_string())?;
        // uv tells what a source is by its file's name.
        let named = fresh.path().join(Path::new(&source.name).file_name().unwrap_or_default());
        std::fs::copy(task.store.wheel(sha256), &named).map_err(|error| error.to_string())?;
        let out = fresh.path().join("out");
        uv.build(task, &named, &out).await?;
        // Another build may have been first; its wheel does as well.
        let _ = std::fs::rename(&out, &folder);
    }
    let path = wheel_in(&folder).ok_or("uv built no wheel")?;
    let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
    let sha256 = fetch::hex(&Sha256::digest(&bytes));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fits = name.parse::<WheelName>().is_ok_and(|name| name.fits(task.runtime));
    if !fits {
        return Err(format!("`{name}`, which was built here, is not for {}", task.runtime));
    }
    let url = Some(format!("file://{}", path.display()));
    Ok(LockedFile { name, url, size: Some(bytes.len() as u64), hashes: Hashes { sha256 } })
}

fn wheel_in(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "whl"))
}
