//! Images: takes them in from archives and layouts, unpacks their layers as hostile input, and keeps them for tasks to run in; and
//! packages, which an [`Installer`] puts into a directory from wheels, as confined.
//!
//! A [`Store`] is a directory. [`Store::import`] reads an image's parts, verifies every digest, has an [`Unpacker`] (a confined
//! process that runs [`unpacker_main`]) unpack each layer into a directory of its own, and merges the layers into one plain,
//! read-only directory of hard links. [`Store::open_image`] gives that directory with a hold that keeps it from being collected.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")]

mod beneath;
mod build;
mod config;
mod digest;
mod error;
mod library;
mod name;
mod oci;
mod program;
mod pull;
mod python;
mod source;
mod store;
mod unpack;
mod wheel;

pub use build::{Built, CURATED, build};
pub use config::{Platform, Settings};
pub use digest::{DigestError, Sha256};
pub use error::ImageError;
pub use name::ImageName;
pub use program::Program;
pub use pull::{Login, Progress, RemoteImage};
pub use store::{Held, ImageRecord, Imported, Incoming, LayerRecord, Listed, Removed, Seen, Store};
pub use unpack::{Unpacker, confine, unpacker_main};
pub use wheel::{Distribution, InstallError, Installed, Installer, WheelFile, installer_main};
