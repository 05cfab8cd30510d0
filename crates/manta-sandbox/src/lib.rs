//! Runs one attempt of a task contained: namespaces, cgroups, Landlock, a system-call filter, and nothing else in reach.
//!
//! An agent makes a [`Launcher`] before it starts any thread, asks it what the host can enforce ([`Launcher::probe`]), learns the
//! host's Python with [`HostImage::probe`], and then starts tasks from a [`SandboxSpec`] with [`Launcher::start`]. All privileges live
//! in the launcher, a single-threaded process that is the same binary started again; it runs [`launcher_main`] and ends, with every
//! task and cgroup it made, when the agent closes its socket or dies. The crate decides nothing about scheduling, bundles or the
//! light protocol: it is given descriptors and passes them on.
//!
//! In the tiers [`Tier::Full`] and [`Tier::Rootless`] the mounts of a spec appear at their targets. In [`Tier::Reduced`] there is no
//! mount namespace: [`Tier::maps_paths`] is false, targets and links are ignored, and the caller names the real source paths in `argv`
//! and `env`; the launcher then makes a private temporary directory for each task and points `HOME`, `TMPDIR` and the working
//! directory there.

#![cfg(target_os = "linux")]

mod cgroup;
mod child;
mod container;
mod engine;
mod error;
mod hostid;
mod idmap;
mod image;
mod landlock;
mod launcher;
mod mounts;
mod probes;
mod report;
mod rlimits;
mod seccomp;
mod spec;
mod sys;
mod template;

pub use container::{ContainerEngine, ContainerSettings, Containers, entry_main};
pub use engine::Engine;
pub use error::{SandboxError, StartError};
pub use image::{HostImage, ImageError, InterpreterAnswer};
pub use launcher::{Launcher, Parted, Running, launcher_main};
pub use probes::{Finding, FindingState, ProbeError, ProbeRoot, ProbeSuite, Stage, Verdict};
pub use report::{CgroupReport, CgroupVersion, HostReport, Shortcoming};
pub use rlimits::{FILE_LOCKS, OPEN_FILES};
pub use spec::{Device, Exit, ExitHow, Limits, Link, Mount, MountAccess, SandboxSpec, ScratchLimit, Tier, TmpLimits};
pub use sys::inherited;
pub use template::{Start, StartWay, Template, Warmth};
