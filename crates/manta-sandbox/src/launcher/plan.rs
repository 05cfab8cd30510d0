//! Turns a spec into what its child will do: strings, detached mounts and directories to make, all before the child exists.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::child::{CStrings, NamespacedPlan, PlannedMount, PlannedSource, SharedPlan, World};
use crate::idmap::IdMaps;
use crate::mounts::{self, Source};
use crate::{Mount, MountAccess, SandboxSpec, StartError};

/// The spec's mounts, those inside others after them.
pub(super) fn sorted(spec: &SandboxSpec) -> Vec<&Mount> {
    let mut mounts: Vec<&Mount> = spec.mounts.iter().collect();
    mounts.sort_by(|a, b| a.target.cmp(&b.target));
    mounts
}

/// What the child enters: namespaces if there is no `scratch` directory, else the host's.
pub(super) fn world(
    spec: &SandboxSpec,
    host_id: Option<u32>,
    scratch: Option<&Path>,
    maps: &mut IdMaps,
) -> Result<World, StartError> {
    match scratch {
        Some(scratch) => shared(spec, host_id, scratch).map(World::Shared),
        None => namespaced(spec, host_id, maps).map(World::Namespaced),
    }
}

fn shared(spec: &SandboxSpec, host_id: Option<u32>, scratch: &Path) -> Result<SharedPlan, StartError> {
    let readable = sorted(spec).into_iter().map(|mount| {
        let source = Source::open(&mount.source)?;
        if host_id.is_none() && mount.access == MountAccess::Owner {
            source.check_readable_by_me(&mount.source)?;
        }
        Ok((c_path(&mount.source)?, source.is_dir()))
    });
    Ok(SharedPlan {
        host_id,
        readable: readable.collect::<Result<_, StartError>>()?,
        devices: spec.devices.iter().map(|own| device(&own.source)).collect::<Result<_, _>>()?,
        scratch: c_path(scratch)?,
        tmp: spec.tmp,
    })
}

pub(super) fn namespaced(
    spec: &SandboxSpec,
    host_id: Option<u32>,
    maps: &mut IdMaps,
) -> Result<NamespacedPlan, StartError> {
    let mounts = sorted(spec).into_iter().map(|mount| plan_mount(mount, host_id, maps)).collect::<Result<_, _>>()?;
    let own = spec.devices.iter().map(|device| (device.source.as_path(), device.target.as_path()));
    let devices = mounts::DEVICES.iter().map(|path| (Path::new(path), Path::new(path))).chain(own);
    let devices = devices.map(|device| plan_device(device, host_id.is_some())).collect::<Result<_, _>>()?;
    let links = spec.links.iter().map(|link| Ok((parents(&link.path)?, c_path(&link.path)?, c_path(&link.to)?)));
    Ok(NamespacedPlan {
        privileged: host_id.is_some(),
        mounts,
        devices,
        has_own_devices: !spec.devices.is_empty(),
        links: links.collect::<Result<_, StartError>>()?,
        tmp_bytes: c_string(spec.tmp.bytes.to_string())?,
        tmp_inodes: c_string(spec.tmp.inodes.to_string())?,
        hostname: c_string(spec.hostname.clone())?,
    })
}

/// Detaches one mount.
pub(super) fn plan_mount(mount: &Mount, host_id: Option<u32>, maps: &mut IdMaps) -> Result<PlannedMount, StartError> {
    let source = Source::open(&mount.source)?;
    let is_dir = source.is_dir();
    let planned = match host_id {
        Some(id) => PlannedSource::Detached(mounts::detach_mapped(mount, &source, maps, id)?),
        None => {
            if mount.access == MountAccess::Owner {
                source.check_readable_by_me(&mount.source)?;
            }
            PlannedSource::Path(c_path(&mount.source)?)
        }
    };
    Ok(PlannedMount { source: planned, target: c_path(&mount.target)?, parents: parents(&mount.target)?, is_dir })
}

fn plan_device((source, target): (&Path, &Path), privileged: bool) -> Result<PlannedMount, StartError> {
    let planned = if privileged {
        let failed = |error| StartError::step(format!("open `{}`", source.display()), error);
        PlannedSource::Detached(mounts::detach_device(source).map_err(failed)?)
    } else {
        PlannedSource::Path(device(source)?)
    };
    Ok(PlannedMount { source: planned, target: c_path(target)?, parents: parents(target)?, is_dir: false })
}

/// The path of a device node, checked to be one.
fn device(path: &Path) -> Result<CString, StartError> {
    mounts::check_device(path).map_err(|error| StartError::step(format!("open `{}`", path.display()), error))?;
    c_path(path)
}

/// The task's environment: the spec's, with the private temporary directory where there is one.
pub(super) fn environment(spec: &SandboxSpec, scratch: Option<&Path>) -> Vec<String> {
    let private = ["HOME", "TMPDIR"];
    let given = spec.env.iter().filter(|(name, _)| scratch.is_none() || !private.contains(&name.as_str()));
    let mut env: Vec<String> = given.map(|(name, value)| format!("{name}={value}")).collect();
    if let Some(scratch) = scratch {
        env.extend(private.map(|name| format!("{name}={}", scratch.display())));
    }
    env
}

/// C strings of a program's arguments or environment.
pub(super) fn c_strings(texts: impl IntoIterator<Item = String>) -> Result<CStrings, StartError> {
    texts.into_iter().map(c_string).collect::<Result<_, _>>().map(CStrings::new)
}

pub(super) fn c_string(text: String) -> Result<CString, StartError> {
    CString::new(text)
        .map_err(|error| StartError::Spec { problem: format!("{:?} holds a zero byte", error.into_vec()) })
}

fn c_path(path: &Path) -> Result<CString, StartError> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| StartError::Spec { problem: format!("the path `{}` holds a zero byte", path.display()) })
}

/// Directories above `path` but for the root, outermost first.
fn parents(path: &Path) -> Result<Vec<CString>, StartError> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|ancestor| ancestor.parent().is_some()).collect();
    above.reverse();
    above.into_iter().map(c_path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_outermost_first_without_root_and_self() {
        let names = |path: &str| {
            parents(Path::new(path)).unwrap().into_iter().map(|p| p.into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names("/a/b/c"), ["/a", "/a/b"]);
        assert!(names("/a").is_empty());
    }
}
