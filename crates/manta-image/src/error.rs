//! What can go wrong with images: one sentence each, with what, where and why.

use std::io;
use std::path::{Path, PathBuf};

use crate::Sha256;

/// Why an image cannot be taken in, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file that was named cannot be read or written.
    #[error("`{}` cannot be used: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The store's own files fail.
    #[error("the image store fails at `{}`: {source}", path.display())]
    Store {
        /// What was touched.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file or directory holds no image that can be read.
    #[error("`{}` cannot be read as an image: {problem}", path.display())]
    NotAnImage {
        /// Which.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// The image is for other machines.
    #[error("the image is for {found}, and this machine is {machine}")]
    Platform {
        /// What the image says, such as `linux/arm64`.
        found: String,
        /// What this machine is.
        machine: String,
    },
    /// Something is not what its digest says.
    #[error("{what} has the digest {found}, and the image says {told}")]
    Digest {
        /// Which part.
        what: String,
        /// What it is.
        found: Sha256,
        /// What it should be.
        told: Sha256,
    },
    /// A layer holds what no layer may.
    #[error("layer {number} of the image is refused: {problem}")]
    Layer {
        /// Counted from 1, the lowest.
        number: usize,
        /// What it holds, and where.
        problem: String,
    },
    /// The program that unpacks did not do its work.
    #[error("the unpacker failed: {0}")]
    Unpacker(String),
    /// A name cannot be an image's.
    #[error("`{name}` cannot be an image's name: {problem}")]
    Name {
        /// Which.
        name: String,
        /// Why not.
        problem: &'static str,
    },
    /// An image has no name, and none was given.
    #[error("`{}` does not say what its image is called", path.display())]
    Nameless {
        /// Where it came from.
        path: PathBuf,
    },
    /// A curated image cannot be made here.
    #[error("the image `{name}` cannot be built: {problem}")]
    Build {
        /// Which.
        name: String,
        /// What is missing, or failed.
        problem: String,
    },
    /// A registry has no such image.
    #[error("the registry has no image `{image}`")]
    NotInRegistry {
        /// Which.
        image: String,
    },
    /// A registry wants to know who asks.
    #[error("the registry `{registry}` gives the image `{image}` to nobody it does not know")]
    RegistryLogin {
        /// Which image.
        image: String,
        /// Which registry.
        registry: String,
    },
    /// A registry cannot be reached, or sends what cannot be used.
    #[error("the image `{image}` cannot be fetched: {problem}")]
    Registry {
        /// Which.
        image: String,
        /// Why not.
        problem: String,
    },
    /// The store has no such image.
    #[error("there is no image `{wanted}` in `{}`", store.display())]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// Where.
        store: PathBuf,
        /// The name nearest to it, or those that there are.
        instead: Option<String>,
    },
    /// A task runs in it.
    #[error("the image `{wanted}` is in use by a task")]
    InUse {
        /// What was asked for.
        wanted: String,
    },
}

impl ImageError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path; an image is an OCI layout, its archive, or what `docker save` wrote".to_owned())
            }
            Self::Platform { machine, .. } => Some(format!("export the image for {machine}")),
            Self::Digest { .. } => Some("the file was damaged or changed; export or copy the image again".to_owned()),
            Self::Build { problem, .. } if problem.contains("lacks the package") => {
                Some("install it there, or name an interpreter that has it with --python".to_owned())
            }
            Self::NotInRegistry { .. } => Some("check its name and tag, and whether it is for all to see".to_owned()),
            Self::Registry { .. } => Some("check the name, and that this machine reaches the registry".to_owned()),
            Self::RegistryLogin { registry, .. } => Some(format!("log in first: docker login {registry}")),
            Self::Nameless { .. } => Some("name it with --name NAME".to_owned()),
            Self::Unknown { instead, .. } => instead.clone(),
            Self::InUse { .. } => Some("wait for the task's end, or stop its swarm".to_owned()),
            _ => None,
        }
    }

    /// Names the file that an error of the system concerns.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    /// Names the file of the store that an error of the system concerns.
    pub(crate) fn store(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Store { path, source }
    }
}
