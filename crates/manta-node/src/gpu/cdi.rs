//! Reads a CDI specification (Container Device Interface 0.8): devices with the nodes and files that they need.
//!
//! Hooks are programs of the host and are not run. What they do for libraries is done here: names that a library is also
//! known by are links, and the directory that has them is searched.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use manta_sandbox::Device;
use serde::Deserialize;

use super::{Access, Gpu, library};

/// Where NVIDIA's tools and sites put their specification.
const USUAL_PLACES: [&str; 4] =
    ["/etc/cdi/nvidia.yaml", "/etc/cdi/nvidia.json", "/var/run/cdi/nvidia.yaml", "/var/run/cdi/nvidia.json"];
/// The device that stands for all others.
const ALL: &str = "all";
/// An annotation of ours on a device: its memory in bytes, where no driver tells.
const MEMORY: &str = "manta/memory-bytes";
/// Bytes of a specification.
const SPECIFICATION_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Specification {
    kind: String,
    #[serde(default)]
    container_edits: Edits,
    devices: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<FileMount>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: PathBuf,
    host_path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileMount {
    host_path: PathBuf,
}

/// The first specification that is in one of the usual places.
pub(super) fn usual_place() -> Option<PathBuf> {
    USUAL_PLACES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Reads a specification: its GPUs, and what is needed for any of them.
pub(super) fn read(path: &Path) -> Result<(Vec<Gpu>, Access), String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > SPECIFICATION_BYTES_MAX {
        return Err(format!("it has {size} bytes; {SPECIFICATION_BYTES_MAX} are the limit"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    parse(&text)
}

/// JSON is YAML too.
fn parse(text: &str) -> Result<(Vec<Gpu>, Access), String> {
    let specification: Specification =
        serde_saphyr::from_str(text).map_err(|error| format!("it is no CDI specification: {}", first_line(&error)))?;
    let mut gpus: Vec<Gpu> = Vec::new();
    for entry in specification.devices.iter().filter(|entry| entry.name != ALL) {
        let access = entry.container_edits.access()?;
        if access.devices.is_empty() {
            return Err(format!("its device `{}` names no device node", entry.name));
        }
        // Specifications list a device once for each of its names.
        if gpus.iter().any(|gpu| gpu.access.devices == access.devices) {
            continue;
        }
        let memory = entry.annotations.get(MEMORY).map(|text| {
            text.parse().map_err(|_| format!("`{MEMORY}` of its device `{}` is no count of bytes", entry.name))
        });
        let name = format!("{}={}", specification.kind, entry.name);
        gpus.push(Gpu { name, memory_bytes: memory.transpose()?.unwrap_or(0), access });
    }
    Ok((gpus, specification.container_edits.access()?))
}

/// Without the excerpt that the parser adds.
fn first_line(error: &serde_saphyr::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl Edits {
    fn access(&self) -> Result<Access, String> {
        let devices = self.device_nodes.iter().map(|node| Device {
            source: node.host_path.clone().unwrap_or_else(|| node.path.clone()),
            target: node.path.clone(),
        });
        let mut access = Access { devices: devices.collect(), ..Access::default() };
        for mount in self.mounts.iter().filter(|mount| library::is_library(&mount.host_path)) {
            library::add(&mut access, &mount.host_path).map_err(|error| {
                format!("the library `{}` that it names cannot be used: {error}", mount.host_path.display())
            })?;
        }
        for variable in &self.env {
            let (name, value) = variable.split_once('=').ok_or_else(|| format!("`{variable}` is not NAME=VALUE"))?;
            access.env.push((name.to_owned(), value.to_owned()));
        }
        Ok(access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
cdiVersion: 0.5.0
kind: nvidia.com/gpu
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=void]
  deviceNodes: [{path: /dev/nvidiactl}]
  hooks: [{hookName: createContainer, path: /usr/bin/nvidia-cdi-hook, args: [nvidia-cdi-hook, update-ldcache]}]
  mounts:
  - {hostPath: LIBRARY, containerPath: /usr/lib/libcuda.so.580, options: [ro]}
  - {hostPath: /usr/bin/nvidia-smi, containerPath: /usr/bin/nvidia-smi}
devices:
- name: '0'
  annotations: {manta/memory-bytes: '1024'}
  containerEdits: {deviceNodes: [{path: /dev/nvidia0}]}
- name: GPU-1234
  containerEdits: {deviceNodes: [{path: /dev/nvidia0}]}
- name: '1'
  containerEdits: {deviceNodes: [{path: /dev/nvidia1, hostPath: /host/nvidia1}]}
- name: all
  containerEdits: {deviceNodes: [{path: /dev/nvidia0}, {path: /dev/nvidia1}]}
";

    #[test]
    fn every_gpu_comes_once_and_only_nodes_and_libraries_come_along() {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("libcuda.so.580");
        std::fs::write(&library, "").unwrap();
        std::os::unix::fs::symlink("libcuda.so.580", dir.path().join("libcuda.so.1")).unwrap();
        let (gpus, common) = parse(&TEXT.replace("LIBRARY", library.to_str().unwrap())).unwrap();
        let told: Vec<_> = gpus.iter().map(|gpu| (gpu.name.as_str(), gpu.memory_bytes)).collect();
        assert_eq!(told, [("nvidia.com/gpu=0", 1024), ("nvidia.com/gpu=1", 0)]);
        let second = &gpus[1].access.devices[0];
        assert_eq!((second.source.to_str(), second.target.to_str()), (Some("/host/nvidia1"), Some("/dev/nvidia1")));
        let mounts: Vec<_> = common.mounts.iter().map(|mount| mount.target.to_str().unwrap()).collect();
        assert_eq!(mounts, ["/gpu/lib/libcuda.so.580"]);
        assert_eq!(common.links[0].path.to_str(), Some("/gpu/lib/libcuda.so.1"));
        assert_eq!(common.env, [("NVIDIA_VISIBLE_DEVICES".to_owned(), "void".to_owned())]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_a_sentence() {
        for (text, why) in [
            ("kind: [", "no CDI specification"),
            ("kind: a\ndevices: [{name: '0'}]", "names no device node"),
            ("kind: a\ncontainerEdits: {env: [X]}\ndevices: []", "not NAME=VALUE"),
            ("kind: a\ncontainerEdits: {mounts: [{hostPath: /none/libx.so.1}]}\ndevices: []", "cannot be used"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
