//! Modules: publish, list, show, choose, and what is said of them.
use std::sync::Arc;

use http::StatusCode;
use manta_api::{
    BundleSignatures, ErrorCode, MarkRequest, ModuleAbout, ModuleMark, ModuleUseView, ModuleVersionView, ModuleView,
    Problem, PublishRequest,
};
use manta_module::{BundleManifest, Signature, Signed, Verified};
use manta_store::{BlobStore, ModuleRecord};
use manta_types::limits::SIGNATURES_PER_VERSION_MAX;
use manta_types::name::{self, nearest};
use manta_types::{Blob, Digest, VersionRange};
use semver::Version;

use super::call::{Answer, Call, clip, json, parse};
use super::problem::internal;
use crate::ManagerError;
use crate::app::App;
use crate::content::stored;
use crate::keys;
use crate::orchestrator::{Change, ModuleChange, Refused, Registry, RegistryRefusal};

/// Modules that one answer lists unless asked for another number, and the most that may be asked for.
const LISTED: usize = 100;
const LISTED_MAX: usize = 1000;
/// Characters of a reason, a hint or a publisher's name.
const WORDS_MAX: usize = 500;
/// Published versions of one cluster; each costs the manager some hundred bytes of memory.
const VERSIONS_MAX: usize = 1_000_000;

pub(super) async fn list(app: App, call: Call) -> Answer {
    let (after, search) = (call.query::<String>("after")?, call.query::<String>("search")?);
    let most = call.query::<usize>("limit")?.unwrap_or(LISTED).min(LISTED_MAX);
    let search = search.map(|text| text.to_lowercase());
    let listed = app.handle.ask(move |view| {
        let (modules, after) = (view.modules, after.as_deref());
        let listed = |name: &str| Listed::of(modules, name);
        match &search {
            Some(wanted) => modules.search(after, wanted).take(most).map(listed).collect::<Vec<_>>(),
            None => modules.names(after).take(most).map(listed).collect(),
        }
    });
    let listed: Vec<ModuleView> = listed.await?.into_iter().map(Listed::view).collect();
    json(StatusCode::OK, &listed)
}

pub(super) async fn show(app: App, call: Call) -> Answer {
    let name = call.param("name").to_owned();
    let shown = app.handle.ask(move |view| {
        known(view.modules, &name)?;
        Ok::<_, Problem>(view.modules.versions(&name).cloned().collect::<Vec<_>>())
    });
    let shown = shown.await??.into_iter().map(version_view).collect::<Result<Vec<_>, Problem>>()?;
    json(StatusCode::OK, &shown)
}

pub(super) async fn choose(app: App, call: Call) -> Answer {
    let (name, wanted) = (call.param("name").to_owned(), call.query::<String>("version")?);
    let found = app.handle.ask(move |view| chosen(view.modules, &name, wanted.as_deref()).cloned());
    json(StatusCode::OK, &version_view(found.await??)?)
}

/// The version that a version, a range or a tag means; without one, the newest.
pub(super) fn chosen<'a>(modules: &'a Registry, name: &str, wanted: Option<&str>) -> Result<&'a ModuleRecord, Problem> {
    known(modules, name)?;
    if let Some(tagged) = wanted.and_then(|wanted| modules.tagged(name, wanted)) {
        return Ok(tagged);
    }
    let wanted = wanted.map_or(Ok(VersionRange::Newest), VersionRange::parse);
    let wanted = wanted.map_err(|error| Problem::new(ErrorCode::BadRequest, format!("`version` {error}")))?;
    modules.resolve(name, &wanted).map_err(|error| Problem::new(ErrorCode::NotFound, error.to_string()))
}

pub(super) async fn users(app: App, call: Call) -> Answer {
    let name = call.param("name").to_owned();
    let users = app.handle.ask_of_all(move |view| {
        let mut users: Vec<ModuleUseView> = Vec::new();
        for swarm in view.engine.swarms() {
            let tasks = swarm.spec().tasks.iter().map(|task| (&task.alias, task.pin()));
            // What is being rolled out runs beside what ran before.
            let going = swarm.rollouts().iter().filter(|rollout| !rollout.state.is_final());
            let going = going.map(|rollout| (&swarm.spec().tasks[rollout.task].alias, rollout.to.clone()));
            for (alias, pin) in tasks.chain(going).filter(|(_, pin)| pin.module == name) {
                let same = |user: &&mut ModuleUseView| user.swarm == swarm.id() && user.bundle == pin.bundle;
                match users.iter_mut().rev().take_while(|user| user.swarm == swarm.id()).find(same) {
                    Some(user) => user.tasks.push(alias.clone()),
                    None => users.push(ModuleUseView {
                        swarm: swarm.id(),
                        name: swarm.spec().name.clone(),
                        state: swarm.state().to_string(),
                        tasks: vec![alias.clone()],
                        version: pin.version,
                        bundle: pin.bundle,
                    }),
                }
            }
        }
        users
    });
    json(StatusCode::OK, &users.await?)
}

pub(super) async fn publish(app: App, mut call: Call) -> Answer {
    let body = call.bytes().await?;
    let idempotency = call.idempotency([b"publish ".as_slice(), &body].concat())?;
    let PublishRequest { bundle, publisher } = parse("request's body", &body)?;
    app.space.admit(body.len() as u64)?;
    let blobs = Arc::clone(&app.blobs);
    let checked = tokio::task::spawn_blocking(move || publishable(&bundle, blobs.as_ref()));
    let (manifest, size) = checked.await.map_err(internal)??;
    let record = ModuleRecord {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        bundle: Blob { digest: bundle, size },
        about: serde_json::to_string(&about(&manifest)).map_err(internal)?,
        publisher: name::printable(&publisher, WORDS_MAX),
        published_ms: app.clock.now().wall_ms,
        yanked: None,
        deprecated: None,
        tags: Vec::new(),
        signatures: Vec::new(),
    };
    let (name, version) = (record.name.clone(), record.version.clone());
    if keys::done_before(&app, idempotency.as_ref()).await?.is_none() {
        let room = app.handle.ask(|view| view.modules.total() < VERSIONS_MAX).await?;
        if !room {
            let sentence = format!("{VERSIONS_MAX} versions are published, which is the limit");
            return Err(Problem::new(ErrorCode::TooLarge, sentence));
        }
        change(&app, ModuleChange::Publish(Box::new(record)), idempotency).await?;
    }
    shown(&app, name, version, StatusCode::CREATED).await
}

pub(super) async fn mark(app: App, mut call: Call) -> Answer {
    let name = call.param("name").to_owned();
    let body = call.bytes().await?;
    let idempotency = call.idempotency([format!("mark {name} ").as_bytes(), &body].concat())?;
    let MarkRequest { version, mark } = parse("request's body", &body)?;
    check_mark(&mark)?;
    app.space.admit(body.len() as u64)?;
    let asked = (name.clone(), version.clone());
    let there = app.handle.ask(move |view| {
        exactly(view.modules, &asked.0, &asked.1).map(|record| (record.version.clone(), record.bundle.digest))
    });
    let (version, bundle) = there.await??;
    if keys::done_before(&app, idempotency.as_ref()).await?.is_none() {
        let (name, version) = (name.clone(), version.clone());
        let marked = match mark {
            ModuleMark::Sign(text) => {
                let signature = signature(&text, Signed { module: &name, version: &version, bundle })?;
                ModuleChange::Sign { name, version, signature: Box::new(signature) }
            }
            mark => ModuleChange::Mark { name, version, mark },
        };
        change(&app, marked, idempotency).await?;
    }
    shown(&app, name, version, StatusCode::OK).await
}

async fn change(app: &App, wanted: ModuleChange, idempotency: Option<keys::Idempotency>) -> Result<(), Problem> {
    match app.handle.change(Change::Module(wanted), idempotency).await? {
        Ok(()) => Ok(()),
        Err(Refused::KeyUsed { earlier, .. }) => Err(keys::used(&earlier)),
        Err(Refused::Registry(RegistryRefusal::Published(first))) => {
            let (name, version, digest) = (&first.name, &first.version, first.bundle.digest.short());
            let by = if first.publisher.is_empty() { String::new() } else { format!(" by {}", first.publisher) };
            let sentence = format!(
                "version {version} of module `{name}` is published already{by}, as bundle {digest}: it stays so"
            );
            Err(Problem::new(ErrorCode::Conflict, sentence).hint("publish what changed under a version of its own"))
        }
        Err(Refused::Registry(RegistryRefusal::Signatures)) => {
            let sentence = format!("the version has {SIGNATURES_PER_VERSION_MAX} signatures, which is the limit");
            Err(Problem::new(ErrorCode::TooLarge, sentence))
        }
        Err(_) => Err(Problem::new(ErrorCode::NotFound, "there is no such version any more")),
    }
}

/// The manifest of a stored bundle that may be published, and its bytes; all that it names is held.
fn publishable(bundle: &Digest, blobs: &dyn BlobStore) -> Result<(BundleManifest, u64), Problem> {
    let lacking = |what: String| {
        let problem = Problem::new(ErrorCode::MissingBlob, format!("not stored at the manager: {what}"));
        problem.hint("ask `blobs/missing` and upload what it names, then publish again")
    };
    let bytes = stored(bundle, blobs)?.ok_or_else(|| lacking(format!("the bundle `{}`", bundle.short())))?;
    let invalid = |sentence: String| Problem::new(ErrorCode::InvalidSwarm, sentence);
    let manifest =
        BundleManifest::parse(&bytes).map_err(|error| invalid(format!("the bundle cannot be used: {error}")))?;
    let version = Version::parse(&manifest.version).map_err(internal)?;
    if !version.build.is_empty() {
        let problem = invalid(format!(
            "version {version} of module `{}` cannot be published: what follows the `+` tells no versions apart",
            manifest.name
        ));
        return Err(problem.hint("give it a version such as 1.0.0: `version` in `[tool.manta.module]`, or --version"));
    }
    for (path, blob) in manifest.blobs() {
        match blobs.hold(&blob.digest).map_err(ManagerError::from)? {
            Some(size) if size == blob.size => {}
            Some(size) => return Err(invalid(format!("`{path}` has {size} bytes, its manifest says {}", blob.size))),
            None => return Err(lacking(format!("`{path}` of module `{}`", manifest.name))),
        }
    }
    Ok((manifest, bytes.len() as u64))
}

/// The signatures of a bundle, for the node that is to run it; none where it is not published.
pub(super) async fn signatures(app: App, call: Call) -> Answer {
    let bundle: Digest = call
        .param("bundle")
        .parse()
        .map_err(|error: manta_types::digest::DigestError| Problem::new(ErrorCode::BadRequest, error.to_string()))?;
    let found = app
        .handle
        .ask(move |view| view.modules.of_bundle(&bundle).map(|record| record.signatures.clone()).unwrap_or_default());
    json(StatusCode::OK, &BundleSignatures { signatures: found.await? })
}

/// A signature that somebody brought for a version, once it is proved to be one of it.
fn signature(text: &str, module: Signed<'_>) -> Result<Verified<Signature>, Problem> {
    let verified = Signature::parse(text).and_then(|signature| signature.verify(module));
    verified.map_err(|error| {
        let (name, version) = (clip(module.module), clip(module.version));
        tracing::warn!(module = name, version, %error, "a signature was refused");
        let problem = Problem::new(ErrorCode::Untrusted, format!("module `{name}` {version} is not signed: {error}"));
        problem.hint("sign it with `manta module sign NAME@VERSION --key NAME`")
    })
}

/// What listings show of a module.
pub fn about(manifest: &BundleManifest) -> ModuleAbout {
    ModuleAbout {
        description: manifest.description.clone(),
        image: manifest.image.clone(),
        images: manifest.images.clone(),
        requires_manta: manifest.requires_manta.clone(),
        requires_python: manifest.requires_python.clone(),
        architectures: manifest.architectures.clone(),
        datasets: manifest.datasets.clone(),
        files: manifest.files.len() as u64,
        bytes: manifest.total_bytes(),
    }
}

fn check_mark(mark: &ModuleMark) -> Result<(), Problem> {
    let bad = |sentence: String| Problem::new(ErrorCode::BadRequest, sentence);
    match mark {
        ModuleMark::Yank(words) | ModuleMark::Deprecate(words) if words.trim().is_empty() => {
            Err(bad("a reason is needed, for whoever uses the version".to_owned()))
        }
        ModuleMark::Yank(words) | ModuleMark::Deprecate(words) if words.chars().count() > WORDS_MAX => {
            Err(bad(format!("the reason has more than {WORDS_MAX} characters")))
        }
        ModuleMark::Tag(tag) | ModuleMark::Untag(tag) => {
            name::check_label("tag", tag).map_err(|error| bad(error.to_string()))?;
            if VersionRange::parse(tag).is_ok() {
                return Err(bad(format!("the tag `{tag}` would read as a version or a range of them")));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn known(modules: &Registry, wanted: &str) -> Result<(), Problem> {
    if modules.count(wanted) > 0 {
        return Ok(());
    }
    let problem = Problem::new(ErrorCode::NotFound, format!("no module `{}` is published", clip(wanted)));
    Err(match nearest(wanted, modules.names(None)) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint("`manta module ls` lists them, and `manta module publish` adds one"),
    })
}

/// One version, by its number or a tag.
fn exactly<'a>(modules: &'a Registry, name: &str, version: &str) -> Result<&'a ModuleRecord, Problem> {
    known(modules, name)?;
    modules.get(name, version).or_else(|| modules.tagged(name, version)).ok_or_else(|| {
        let there = modules.versions(name).take(12).map(|record| record.version.as_str()).collect::<Vec<_>>();
        let sentence =
            format!("module `{}` has no version `{}`; there are {}", clip(name), clip(version), there.join(", "));
        Problem::new(ErrorCode::NotFound, sentence)
    })
}

async fn shown(app: &App, name: String, version: String, status: StatusCode) -> Answer {
    let shown = app.handle.ask(move |view| exactly(view.modules, &name, &version).cloned());
    json(status, &version_view(shown.await??)?)
}

fn version_view(record: ModuleRecord) -> Result<ModuleVersionView, Problem> {
    let ModuleRecord { name, version, bundle, about, publisher, published_ms, yanked, deprecated, tags, signatures } =
        record;
    let (bundle, about) = (bundle.digest, serde_json::from_str(&about).map_err(internal)?);
    Ok(ModuleVersionView {
        name,
        version,
        bundle,
        publisher,
        published_ms,
        yanked,
        deprecated,
        tags,
        signatures,
        about,
    })
}

/// What a listing says of a module, as it is taken from the registry; it is read when the service loop is not waiting for it.
struct Listed {
    name: String,
    versions: u64,
    /// The newest version, what it says of itself, and what to use in its place.
    newest: Option<(String, String, Option<String>)>,
}

impl Listed {
    fn of(modules: &Registry, name: &str) -> Self {
        let newest = modules.newest(name);
        let newest = newest.map(|record| (record.version.clone(), record.about.clone(), record.deprecated.clone()));
        Self { name: name.to_owned(), versions: modules.count(name) as u64, newest }
    }

    fn view(self) -> ModuleView {
        let Self { name, versions, newest } = self;
        let (newest, about, deprecated) = match newest {
            Some((version, about, deprecated)) => (Some(version), Some(about), deprecated),
            None => (None, None, None),
        };
        let about = about.and_then(|about| serde_json::from_str::<ModuleAbout>(&about).ok());
        ModuleView { name, newest, versions, description: about.and_then(|about| about.description), deprecated }
    }
}
