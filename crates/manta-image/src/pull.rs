//! Fetches an image from a registry (OCI Distribution Specification 1.1) into a layout, from which a store takes it in.
//!
//! Whatever a registry sends is checked against a digest before anything reads it: a tag leads to a digest, and from there on
//! every document and layer is named by its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::oci::{Descriptor, Index, Manifest};
use crate::source::{DOCUMENT_BYTES_MAX, blob_name};
use crate::{ImageError, Platform, Sha256};

/// Forms of manifests and indexes that are understood.
const FORMS: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
/// Layers of one image.
const LAYERS_MAX: usize = 512;
/// How long a registry may take to be reached, and to send the next bytes.
const CONNECT_MAX: Duration = Duration::from_secs(15);
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// An image in a registry: `numpy`, `ghcr.io/team/model:3`, `localhost:5000/model@sha256:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteImage(Reference);

/// Who asks a registry.
#[derive(Clone)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password or access token.
    pub password: String,
}

/// How much of an image has come, in bytes of its layers as they are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What has come.
    pub done: u64,
    /// All of it.
    pub all: u64,
}

impl RemoteImage {
    /// The registry's host, and port where one is named.
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// What the image is called when it has come: with its tag, and without a digest.
    fn name(&self) -> String {
        let (registry, path) = (self.0.registry(), self.0.repository());
        self.0.tag().map_or_else(|| format!("{registry}/{path}"), |tag| format!("{registry}/{path}:{tag}"))
    }

    /// Fetches the image into an empty directory, as an OCI layout of the one image that is for this machine.
    ///
    /// # Errors
    /// One sentence: what the registry refuses, lacks, or sends wrongly.
    pub async fn fetch(
        &self,
        into: &Path,
        login: Option<Login>,
        progress: impl Fn(Progress),
    ) -> Result<(), ImageError> {
        let auth = login.map_or(RegistryAuth::Anonymous, |login| RegistryAuth::Basic(login.user, login.password));
        let fetch = Fetch { image: self, client: self.client(), auth, into: into.to_owned() };
        let blobs = into.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(ImageError::file(&blobs))?;
        let (digest, manifest) = fetch.manifest().await?;
        fetch.parts(&manifest, progress).await?;
        fetch.finish(digest, &manifest)
    }

    fn client(&self) -> Client {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            // Fails where the program has one already, which does as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let host = self.0.registry().rsplit_once(':').map_or(self.0.registry(), |(host, _)| host);
        let is_here = host == "localhost" || host.starts_with("127.") || host == "[::1]";
        Client::new(ClientConfig {
            // As with other tools, a registry on this very machine needs no certificate.
            protocol: if is_here { ClientProtocol::Http } else { ClientProtocol::Https },
            connect_timeout: Some(CONNECT_MAX),
            read_timeout: Some(SILENCE_MAX),
            user_agent: concat!("manta/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
    }

    fn problem(&self, problem: String) -> ImageError {
        ImageError::Registry { image: self.to_string(), problem }
    }

    fn failed(&self, error: OciDistributionError) -> ImageError {
        let image = self.to_string();
        match error {
            OciDistributionError::ImageManifestNotFoundError(_) => ImageError::NotInRegistry { image },
            OciDistributionError::RegistryError { envelope, .. } => match envelope.errors.first() {
                Some(first) if is_absence(&first.code) => ImageError::NotInRegistry { image },
                Some(first) if matches!(first.code, OciErrorCode::Unauthorized | OciErrorCode::Denied) => {
                    ImageError::RegistryLogin { image, registry: self.registry().to_owned() }
                }
                Some(first) => self.problem(format!("the registry answers {:?}: {}", first.code, first.message)),
                None => self.problem("the registry answers with an error that it does not name".to_owned()),
            },
            OciDistributionError::ServerError { code: 404, .. } => ImageError::NotInRegistry { image },
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
                ImageError::RegistryLogin { image, registry: self.registry().to_owned() }
            }
            OciDistributionError::RequestError(error) => self.problem(format!("{}", innermost(&error))),
            OciDistributionError::DigestError(error) => {
                self.problem(format!("what came is not what was asked for: {error}"))
            }
            other => self.problem(other.to_string()),
        }
    }
}

const fn is_absence(code: &OciErrorCode) -> bool {
    use OciErrorCode as C;
    matches!(code, C::ManifestUnknown | C::NameUnknown | C::NotFound | C::BlobUnknown | C::ManifestBlobUnknown)
}

/// The cause that says most: the outer ones only repeat the address.
fn innermost(error: &dyn std::error::Error) -> &dyn std::error::Error {
    error.source().map_or(error, innermost)
}

impl std::str::FromStr for RemoteImage {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |error: oci_client::ParseError| ImageError::Registry {
            image: text.chars().take(100).collect(),
            problem: format!("this cannot be an image's name in a registry ({error})"),
        };
        text.parse().map(Self).map_err(refuse)
    }
}

impl std::fmt::Display for RemoteImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.whole())
    }
}

/// One image on its way.
struct Fetch<'a> {
    image: &'a RemoteImage,
    client: Client,
    auth: RegistryAuth,
    into: PathBuf,
}

impl Fetch<'_> {
    /// The manifest for this machine, and its digest.
    async fn manifest(&self) -> Result<(Sha256, Manifest), ImageError> {
        let (digest, document) = self.document(&self.image.0).await?;
        let is_index = serde_json::from_slice::<Index>(&document).is_ok();
        let (digest, document) = match is_index {
            true => self.for_this_machine(&document).await?,
            false => (digest, document),
        };
        let manifest: Manifest = serde_json::from_slice(&document)
            .map_err(|error| self.image.problem(format!("its manifest cannot be read: {error}")))?;
        if manifest.layers.len() > LAYERS_MAX {
            let layers = manifest.layers.len();
            return Err(self.image.problem(format!("it has {layers} layers; {LAYERS_MAX} are the limit")));
        }
        Ok((digest, manifest))
    }

    async fn for_this_machine(&self, index: &[u8]) -> Result<(Sha256, Vec<u8>), ImageError> {
        let index: Index = serde_json::from_slice(index)
            .map_err(|error| self.image.problem(format!("its index cannot be read: {error}")))?;
        let machine = Platform::of_this_machine();
        let fits = |descriptor: &&Descriptor| descriptor.platform.as_ref() == Some(&machine);
        let Some(chosen) = index.manifests.iter().find(fits) else {
            let known = index.manifests.iter().filter_map(|descriptor| descriptor.platform.as_ref());
            let found: Vec<_> = known.filter(|of| of.os != "unknown").map(ToString::to_string).collect();
            return Err(ImageError::Platform { found: found.join(", "), machine: machine.to_string() });
        };
        self.document(&self.image.0.clone_with_digest(self.digest(chosen)?.to_string())).await
    }

    /// A manifest or index, checked against the digest that names it, and kept.
    async fn document(&self, reference: &Reference) -> Result<(Sha256, Vec<u8>), ImageError> {
        let pulled = self.client.pull_manifest_raw(reference, &self.auth, &FORMS).await;
        let (document, _) = pulled.map_err(|error| self.image.failed(error))?;
        let found = Sha256::of(&document);
        if let Some(told) = reference.digest() {
            let told = told.parse().map_err(|error| self.image.problem(format!("{error}")))?;
            if told != found {
                return Err(ImageError::Digest { what: "the manifest that the registry sent".to_owned(), found, told });
            }
        }
        let path = self.path(found);
        fs::write(&path, &document).map_err(ImageError::file(&path))?;
        Ok((found, document.to_vec()))
    }

    /// The configuration and the layers.
    async fn parts(&self, manifest: &Manifest, progress: impl Fn(Progress)) -> Result<(), ImageError> {
        if manifest.config.size > DOCUMENT_BYTES_MAX {
            let size = manifest.config.size;
            return Err(self
                .image
                .problem(format!("its configuration has {size} bytes; {DOCUMENT_BYTES_MAX} are the limit")));
        }
        let all = manifest.layers.iter().map(|layer| layer.size).sum();
        let mut done = 0;
        progress(Progress { done, all });
        self.blob(&manifest.config, |_| ()).await?;
        for layer in &manifest.layers {
            self.blob(layer, |bytes| {
                done += bytes;
                progress(Progress { done, all });
            })
            .await?;
        }
        Ok(())
    }

    /// One blob, of no more than the size that was told, and of its digest, which the client checks at the end.
    async fn blob(&self, descriptor: &Descriptor, mut came: impl FnMut(u64)) -> Result<(), ImageError> {
        let digest = self.digest(descriptor)?;
        let path = self.path(digest);
        if path.exists() {
            came(descriptor.size);
            return Ok(());
        }
        let asked = OciDescriptor { digest: digest.to_string(), ..OciDescriptor::default() };
        let answered = self.client.pull_blob_stream(&self.image.0, &asked).await;
        let mut stream = answered.map_err(|error| self.image.failed(error))?.stream;
        let mut file = tokio::fs::File::create(&path).await.map_err(ImageError::file(&path))?;
        let mut left = descriptor.size;
        let cut =
            |error: std::io::Error| self.image.problem(format!("{digest} did not come whole: {}", innermost(&error)));
        while let Some(bytes) = stream.try_next().await.map_err(cut)? {
            let count = bytes.len() as u64;
            left = left.checked_sub(count).ok_or_else(|| {
                self.image
                    .problem(format!("{digest} has more than the {} bytes that its manifest says", descriptor.size))
            })?;
            file.write_all(&bytes).await.map_err(ImageError::file(&path))?;
            came(count);
        }
        file.flush().await.map_err(ImageError::file(&path))
    }

    /// Makes the directory a layout.
    fn finish(&self, digest: Sha256, manifest: &Manifest) -> Result<(), ImageError> {
        let size = fs::metadata(self.path(digest)).map_err(ImageError::file(&self.into))?.len();
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": manifest_form(manifest), "digest": digest, "size": size,
            "annotations": {"io.containerd.image.name": self.image.name()},
        }]});
        for (name, document) in [("oci-layout", json!({"imageLayoutVersion": "1.0.0"})), ("index.json", index)] {
            let path = self.into.join(name);
            fs::write(&path, document.to_string()).map_err(ImageError::file(&path))?;
        }
        Ok(())
    }

    fn path(&self, digest: Sha256) -> PathBuf {
        self.into.join(blob_name(digest))
    }

    fn digest(&self, descriptor: &Descriptor) -> Result<Sha256, ImageError> {
        descriptor.digest.parse().map_err(|error| self.image.problem(format!("it names a part wrongly: {error}")))
    }
}

/// The form of a manifest, by that of its configuration.
fn manifest_form(manifest: &Manifest) -> &'static str {
    if manifest.config.media_type.contains("docker") { FORMS[2] } else { FORMS[0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_registries_are_read_as_other_tools_read_them() {
        for (text, whole, name) in [
            ("numpy", "docker.io/library/numpy:latest", "docker.io/library/numpy:latest"),
            ("localhost:5000/team/model:3", "localhost:5000/team/model:3", "localhost:5000/team/model:3"),
        ] {
            let image: RemoteImage = text.parse().unwrap();
            assert_eq!((image.to_string().as_str(), image.name().as_str()), (whole, name));
        }
        let digest = Sha256::of(b"x");
        let image: RemoteImage = format!("ghcr.io/team/model@{digest}").parse().unwrap();
        assert_eq!((image.registry(), image.name().as_str()), ("ghcr.io", "ghcr.io/team/model"));
        for text in ["", "UPPER", "a b", "x@sha256:1"] {
            let said = text.parse::<RemoteImage>().unwrap_err().to_string();
            assert!(said.contains("cannot be an image's name"), "{text}: {said}");
        }
    }
}
