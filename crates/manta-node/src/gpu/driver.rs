//! What the NVIDIA driver tells through its management library (NVML), which is loaded where it is there.
use std::path::{Path, PathBuf};
use std::process::Command;

use manta_sandbox::Device;
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::{Access, Gpu, library};

/// Device nodes that every use of the driver needs; those that are missing are left out.
const COMMON_NODES: [&str; 3] = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"];
/// The libraries that computing needs, by the beginnings of their names.
const LIBRARIES: [&str; 6] = [
    "libcuda.so",
    "libnvidia-ml.so",
    "libnvidia-ptxjitcompiler.so",
    "libnvidia-nvvm.so",
    "libnvidia-gpucomp.so",
    "libcudadebugger.so",
];

/// The driver, ready to be asked.
pub(super) struct Driver(Nvml);

impl Driver {
    /// The driver, where there is one.
    pub(super) fn load() -> Option<Self> {
        // Its usual name belongs to development files; a host that only runs programs has the other one.
        let loaded = Nvml::init().or_else(|_| Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init());
        match loaded {
            Ok(nvml) => Some(Self(nvml)),
            Err(error) => {
                tracing::debug!(%error, "no NVIDIA driver was found");
                None
            }
        }
    }

    /// All GPUs, and what is needed for any of them. One that the driver cannot tell of is left out, and said.
    pub(super) fn gpus(&self) -> (Vec<Gpu>, Access) {
        let count = self.0.device_count().unwrap_or_else(|error| {
            tracing::warn!(%error, "the driver does not say how many GPUs there are; none is offered");
            0
        });
        let mut gpus = Vec::new();
        for index in 0..count {
            match self.gpu(index) {
                Ok(gpu) => gpus.push(gpu),
                Err(error) => tracing::warn!(index, %error, "the driver cannot tell of a GPU; it is not offered"),
            }
        }
        let nodes = COMMON_NODES.iter().map(Path::new).filter(|path| path.exists());
        let mut common = Access { devices: nodes.map(node).collect(), ..Access::default() };
        for path in libraries() {
            if let Err(error) = library::add(&mut common, &path) {
                tracing::warn!(library = %path.display(), %error, "a library of the driver cannot be used");
            }
        }
        (gpus, common)
    }

    fn gpu(&self, index: u32) -> Result<Gpu, NvmlError> {
        let device = self.0.device_by_index(index)?;
        let number = device.minor_number()?;
        let node = node(Path::new(&format!("/dev/nvidia{number}")));
        Ok(Gpu {
            name: format!("nvidia{number} ({})", device.name().unwrap_or_default()),
            memory_bytes: device.memory_info().map_or(0, |memory| memory.total),
            access: Access { devices: vec![node], ..Access::default() },
        })
    }

    /// The memory of the GPU with one of these nodes; 0 if the driver knows none.
    pub(super) fn memory_bytes(&self, nodes: &[Device]) -> u64 {
        let device = (0..self.0.device_count().unwrap_or(0)).filter_map(|index| self.0.device_by_index(index).ok());
        let mut named = device.filter(|device| {
            let path = device.minor_number().map(|number| PathBuf::from(format!("/dev/nvidia{number}")));
            path.is_ok_and(|path| nodes.iter().any(|node| node.target == path))
        });
        named.next().and_then(|device| device.memory_info().ok()).map_or(0, |memory| memory.total)
    }

    /// How busy all GPUs are on the average, in [0, 1].
    pub(super) fn usage(&self) -> f64 {
        let devices = (0..self.0.device_count().unwrap_or(0)).filter_map(|index| self.0.device_by_index(index).ok());
        let busy: Vec<f64> =
            devices.filter_map(|device| Some(f64::from(device.utilization_rates().ok()?.gpu) / 100.0)).collect();
        let count = u32::try_from(busy.len()).map_or(1.0, f64::from).max(1.0);
        busy.iter().sum::<f64>() / count
    }
}

fn node(path: &Path) -> Device {
    Device { source: path.to_owned(), target: path.to_owned() }
}

/// The libraries as the dynamic linker finds them.
fn libraries() -> Vec<PathBuf> {
    let listed = ["/sbin/ldconfig", "/usr/sbin/ldconfig"]
        .iter()
        .find_map(|tool| Command::new(tool).arg("-p").output().ok().filter(|output| output.status.success()));
    let Some(listed) = listed else {
        tracing::warn!("`ldconfig -p` lists no libraries: tasks do not find those of the driver");
        return Vec::new();
    };
    found_in(&String::from_utf8_lossy(&listed.stdout))
}

/// The 64-bit libraries of ours in a listing of `ldconfig -p`.
fn found_in(listing: &str) -> Vec<PathBuf> {
    let ours = |line: &&str| LIBRARIES.iter().any(|name| line.trim_start().starts_with(name)) && line.contains("64");
    let paths = listing.lines().filter(ours).filter_map(|line| line.split_once("=> ")).map(|(_, path)| path.trim());
    paths.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_where_the_linker_finds_them() {
        let listing = "2 libs found in cache\n\
                       \tlibcuda.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcuda.so.1\n\
                       \tlibcuda.so.1 (libc6) => /usr/lib/i386-linux-gnu/libcuda.so.1\n\
                       \tlibcurl.so.4 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcurl.so.4\n\
                       \tlibnvidia-ml.so.1 (libc6,AArch64) => /usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1\n";
        let found = found_in(listing);
        let names: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(names, ["/usr/lib/x86_64-linux-gnu/libcuda.so.1", "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1"]);
    }
}
