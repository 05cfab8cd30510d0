//! Installing wheels: a confined process reads them and makes files below one directory. Nothing of a package is run.
//!
//! A wheel is hostile input, as a layer of an image is. What it holds goes where the format of wheels says: its root, `purelib`,
//! `platlib` and `data` into the directory itself, `scripts` into `bin`, headers nowhere. Where two wheels hold the same path, the
//! one that comes first by name has it.

mod answer;
mod archive;
mod child;
mod parent;
mod place;

pub use answer::{Distribution, Installed, WheelFile};
pub use child::installer_main;
pub use parent::{InstallError, Installer};

/// How many times larger than its wheel what is in it may get, after the first [`RATIO_FREE_BYTES`].
pub(crate) const RATIO_MAX: u64 = 200;
/// Unpacked bytes that are not held against the ratio.
pub(crate) const RATIO_FREE_BYTES: u64 = 64 << 20;
