//! `manta image pull`: an image from a registry.
use std::process::ExitCode;

use docker_credential::DockerCredential;
use indicatif::{ProgressBar, ProgressStyle};
use manta_image::{ImageError, ImageName, Login, Progress, RemoteImage};

use super::{StoreArgs, import};
use crate::report::{Failure, Form};
use crate::shutdown::{self, Lifeline};

/// What Docker's own registry is called in its configuration.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Options of `manta image pull`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by tag or by digest: ghcr.io/team/model:3, localhost:5000/model@sha256:…
    #[arg(value_name = "IMAGE")]
    image: RemoteImage,

    /// What modules call it [default: its name in the registry, with its tag].
    #[arg(long)]
    name: Option<ImageName>,

    #[command(flatten)]
    store: StoreArgs,
}

/// Fetches an image and takes it in.
pub(super) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let store = args.store.open()?;
    let work = store.incoming()?;
    let bar = bar(form);
    let show = |Progress { done, all }| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let login = login(args.image.registry());
    tokio::select! {
        fetched = args.image.fetch(work.path(), login, show) => fetched?,
        () = shutdown::listen(Lifeline::None)? => return Err(Failure::interrupted()),
    }
    bar.finish_and_clear();
    let origin = format!("pulled from {}", args.image);
    let import = tokio::task::spawn_blocking(move || {
        let imported = store.import_from(work.path(), args.name, origin)?;
        Ok::<_, ImageError>(imported)
    });
    let imported = import.await.map_err(|error| Failure::internal(format!("taking the image in broke: {error}")))??;
    import::tell(&imported, form)
}

fn bar(form: Form) -> ProgressBar {
    if form == Form::Json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("pulling {bytes} of {total_bytes}, {bytes_per_sec}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Who this user is at a registry, as `docker login` or `podman login` keeps it; nobody in particular otherwise.
fn login(registry: &str) -> Option<Login> {
    let known_as = if registry == "docker.io" { DOCKER_HUB } else { registry };
    let found =
        docker_credential::get_credential(known_as).or_else(|_| docker_credential::get_podman_credential(registry));
    match found {
        Ok(DockerCredential::UsernamePassword(user, password)) => Some(Login { user, password }),
        Ok(DockerCredential::IdentityToken(_)) | Err(_) => None,
    }
}
