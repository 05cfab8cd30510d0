//! The GPUs of this host: which there are, what of the host a task needs to use one, and who has which.
//!
//! A task sees the device nodes of the GPUs that it was assigned and the driver's libraries, and nothing else of them. They
//! come from a CDI specification (Container Device Interface, of the CNCF) where the site has one, else from what the
//! NVIDIA driver tells (NVML).
mod cdi;
mod driver;
mod library;
mod pool;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use manta_sandbox::{Device, Link, Mount};

use crate::NodeError;
use driver::Driver;
pub(crate) use pool::{Asked, Claim, Pool};

/// Where a task finds the driver's libraries.
const LIBRARIES: &str = "/gpu/lib";

/// Which GPUs a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuSource {
    /// All that are found: a CDI specification of NVIDIA's in the usual places, else those that the driver tells.
    Auto,
    /// None.
    Off,
    /// Those of this CDI specification (YAML or JSON).
    Cdi(PathBuf),
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gpu {
    /// For people, e.g. `nvidia.com/gpu=0`.
    pub(crate) name: String,
    /// Its memory; 0 where nobody tells.
    pub(crate) memory_bytes: u64,
    access: Access,
}

/// What of the host a task needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) devices: Vec<Device>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) links: Vec<Link>,
    pub(crate) env: Vec<(String, String)>,
}

impl Access {
    fn add(&mut self, other: &Self) {
        add_new(&mut self.devices, &other.devices);
        add_new(&mut self.mounts, &other.mounts);
        add_new(&mut self.links, &other.links);
        add_new(&mut self.env, &other.env);
    }
}

fn add_new<T: Clone + PartialEq>(to: &mut Vec<T>, from: &[T]) {
    for item in from {
        if !to.contains(item) {
            to.push(item.clone());
        }
    }
}

/// All GPUs that this node offers.
pub(crate) struct Gpus {
    gpus: Vec<Gpu>,
    /// What a task needs for any of them.
    common: Access,
    pool: Arc<Pool>,
    driver: Option<Driver>,
}

impl Gpus {
    /// Looks for GPUs. Blocks. Where tasks have no root directory of their own they find the driver where the host does.
    ///
    /// # Errors
    /// When a specification that was named, or is there, cannot be used.
    pub(crate) fn find(source: &GpuSource, has_roots: bool) -> Result<Self, NodeError> {
        let driver = if *source == GpuSource::Off { None } else { Driver::load() };
        let specification = match source {
            GpuSource::Off => None,
            GpuSource::Cdi(path) => Some(path.clone()),
            GpuSource::Auto => cdi::usual_place(),
        };
        let (mut gpus, mut common) = match (&specification, &driver) {
            (Some(path), _) => read(path)?,
            (None, Some(driver)) => driver.gpus(),
            (None, None) => (Vec::new(), Access::default()),
        };
        if let Some(driver) = &driver {
            gpus.iter_mut().filter(|gpu| gpu.memory_bytes == 0).for_each(|gpu| {
                gpu.memory_bytes = driver.memory_bytes(&gpu.access.devices);
            });
        }
        if *source == GpuSource::Auto && !has_roots && !gpus.is_empty() {
            // CUDA names a socket when it starts; where tasks share the host's network, the name would be the host's.
            tracing::warn!(
                count = gpus.len(),
                "GPUs are not offered: CUDA cannot start in the `reduced` tier; `--gpus FILE` offers devices that need no CUDA"
            );
            gpus.clear();
        }
        if has_roots && !common.mounts.is_empty() {
            common.env.push(("LD_LIBRARY_PATH".to_owned(), LIBRARIES.to_owned()));
        }
        for gpu in &gpus {
            tracing::info!(gpu = gpu.name, memory_bytes = gpu.memory_bytes, "a GPU is offered");
        }
        let pool = Pool::new(gpus.iter().map(|gpu| gpu.memory_bytes).collect());
        Ok(Self { gpus, common, pool: Arc::new(pool), driver })
    }

    /// Every GPU, in the order of its number here.
    pub(crate) fn all(&self) -> &[Gpu] {
        &self.gpus
    }

    /// Takes GPUs for one attempt, and waits for them while others have them.
    ///
    /// # Errors
    /// One sentence, when this node can never give that much.
    pub(crate) async fn claim(&self, asked: Asked, waits: impl AsyncFnOnce()) -> Result<Claim, String> {
        self.pool.claim(asked, waits).await
    }

    /// Takes those that an attempt has already, by number; nothing where they are not here any more.
    pub(crate) fn take_back(&self, numbers: Vec<usize>, share: Option<u64>) -> Option<Claim> {
        self.pool.take_back(numbers, share)
    }

    /// What a task finds that has them.
    pub(crate) fn access(&self, claim: &Claim) -> Access {
        let mut access = self.common.clone();
        claim.numbers().iter().for_each(|number| access.add(&self.gpus[*number].access));
        access
    }

    /// The memory that an attempt may use on each of its GPUs: the part that it asked for, else all of the smallest.
    pub(crate) fn memory_bytes(&self, claim: &Claim) -> u64 {
        let whole = claim.numbers().iter().map(|number| self.gpus[*number].memory_bytes).min();
        claim.share().or(whole).unwrap_or(0)
    }

    /// How busy they are on the average, in [0, 1]; 0 where nobody tells.
    pub(crate) fn usage(&self) -> f64 {
        self.driver.as_ref().map_or(0.0, Driver::usage)
    }
}

fn read(path: &Path) -> Result<(Vec<Gpu>, Access), NodeError> {
    cdi::read(path).map_err(|reason| NodeError::Gpus { path: path.to_owned(), reason })
}
