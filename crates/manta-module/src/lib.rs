//! Module bundles: the canonical manifest, the rules for paths, and the digests that name them.
//!
//! Everything here is pure: it is given bytes, sizes and digests, and touches neither files nor clocks. The main type is
//! [`BundleManifest`].
#![forbid(unsafe_code)]

mod digest;
mod manifest;
mod pack;
mod path;

pub use digest::digest_of;
pub use manifest::{BundleManifest, Entry, MANIFEST_VERSION, ManifestError, ModuleResources, Target};
pub use pack::{Bundle, BundleMeta, pack};
pub use path::{PATH_BYTES_MAX, PathProblem, check_path};
