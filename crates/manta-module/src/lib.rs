//! Module bundles: the canonical manifest, the rules for paths, and the digests that name them.
//!
//! Everything here is pure: it is given bytes, sizes and digests, and touches neither files nor clocks. The main type is
//! [`BundleManifest`]; [`zip`] is its form for files and people, [`resolve`] says which version is meant, and [`Signature`]
//! who says that a bundle is what it is.
#![forbid(unsafe_code)]

mod dependencies;
mod digest;
mod key;
mod lock;
mod manifest;
mod pack;
mod path;
mod range;
mod sbom;
mod signature;
mod wheel;
pub mod zip;

pub use dependencies::{DependencyError, Locked, Wheel};
pub use digest::digest_of;
pub use key::{KeyError, PublicKey, SecretKey};
pub use lock::{Hashes, Lock, LockError, LockedFile, Package};
pub use manifest::{BundleManifest, Entry, MANIFEST_VERSION, ManifestError, ModuleResources, Target};
pub use pack::{Bundle, BundleMeta, pack};
pub use path::{PATH_BYTES_MAX, PATH_DEPTH_MAX, PathProblem, check_path};
pub use range::{Candidate, NoVersion, resolve};
pub use sbom::sbom;
pub use signature::{Signature, SignatureError, Signed, Statement, Verified, keep};
pub use wheel::{WheelName, WheelNameProblem, normalised};
