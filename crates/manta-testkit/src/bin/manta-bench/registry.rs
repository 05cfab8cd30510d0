//! Modules on their way to a manager, and its registry when it is large.
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use manta_client::Client;
use manta_module::{BundleMeta, Entry, ModuleResources, Target, pack};
use manta_testkit::bench::Row;

use crate::manager::{Manager, binary};
use crate::node::{Node, hello};
use crate::samples::Samples;

/// Deployments of each kind.
const DEPLOYS: usize = 20;
/// What packaging and deploying an unchanged module may take, in milliseconds.
const UNCHANGED_AIM_MS: f64 = 30.0;
/// Bytes beside a line that changes.
const LARGE_BYTES: usize = 200 << 20;
/// Versions of a small registry and of a large one, in modules of so many.
const SMALL: usize = 100;
const LARGE: usize = 10_000;
const VERSIONS_EACH: usize = 10;
/// Versions that are published then, of which each is measured.
const PUBLISHED: usize = SMALL;
/// Modules that a question lists: as many as the small registry has.
const PAGE: usize = SMALL / VERSIONS_EACH;
/// How much longer a question to the large one may take.
const RATIO_AIM: f64 = 1.5;
/// Questions of each kind.
const QUESTIONS: usize = 1000;

const SWARM: &str = r#"
from manta.apis import Module, Swarm, Task


class Deployed(Swarm):
    def __init__(self):
        super().__init__()
        self.task = Task(Module("module"))

    def execute(self):
        return self.task()
"#;

/// All rows.
pub(crate) fn measure() -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { Ok([uploads().await?, sizes().await?].concat()) })
}

/// Packaging and deploying: all of it, nothing of it, one line of it.
async fn uploads() -> Result<Vec<Row>> {
    let manager = Manager::serving().await?;
    Node::connect(&manager, hello("node-1", "", 1)).await?.keep();
    let (work, sent) = (tempfile::tempdir()?, Arc::new(AtomicU64::new(0)));
    let socket = counting(&manager, work.path(), Arc::clone(&sent))?;
    let module = work.path().join("module");
    std::fs::create_dir(&module)?;
    let (mut cold, mut unchanged) = (Samples::default(), Samples::default());
    let traced = work.path().join("traced");
    for round in 0..DEPLOYS {
        write_module(&module, round)?;
        if round == 0 {
            trace(work.path(), &traced)?;
        }
        cold.add(deploy(&manager, &socket, &traced)?);
        unchanged.add(deploy(&manager, &socket, &traced)?);
    }
    let large = noise(LARGE_BYTES);
    std::fs::write(module.join("large.bin"), &large)?;
    deploy(&manager, &socket, &traced)?;
    std::fs::File::options().append(true).open(module.join("part1.py"))?.write_all(b"# one line more\n")?;
    sent.store(0, Ordering::SeqCst);
    deploy(&manager, &socket, &traced)?;
    let changed = sent.load(Ordering::SeqCst);

    let client = manager.client()?;
    let digest = manta_module::digest_of(&large);
    let hashed = Instant::now();
    ensure!(manta_module::digest_of(&large) == digest, "a digest is a digest");
    let hashed = hashed.elapsed().as_secs_f64();
    let fetched = Instant::now();
    client.get_blob_to(&digest, &mut tokio::io::sink()).await?;
    let fetched = fetched.elapsed().as_secs_f64();
    let mib = LARGE_BYTES as f64 / f64::from(1 << 20);
    let ms = |samples: &Samples| samples.quantile(0.5) * 1000.0;
    Ok(vec![
        Row::plain("modules: package and deploy 20 files, all new, p50", ms(&cold), "ms"),
        Row::at_most("modules: package and deploy 20 files, unchanged, p50", ms(&unchanged), "ms", UNCHANGED_AIM_MS),
        Row::plain("modules: sent after a change of one line beside 200 MiB", changed as f64 / 1024.0, "KiB"),
        Row::plain("modules: fetched and verified twice", mib / fetched, "MiB/s").versus("BLAKE3", mib / hashed),
    ])
}

/// A registry with few versions and one with many, asked in turns: what else the machine does meets both.
async fn sizes() -> Result<Vec<Row>> {
    let (mut few, mut many) = (Registry::with(SMALL).await?, Registry::with(LARGE).await?);
    for question in 0..QUESTIONS {
        few.ask(question).await?;
        many.ask(question).await?;
    }
    for _ in 0..PUBLISHED {
        few.publish().await?;
        many.publish().await?;
    }
    let mut rows = Vec::new();
    for (what, few, many) in [
        ("publish", &few.publishing, &many.publishing),
        ("list", &few.listing, &many.listing),
        ("resolve", &few.choosing, &many.choosing),
    ] {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let [few, many] = [few, many].map(|samples| samples.quantile(share) * 1000.0);
            let title = format!("modules: {what}, {LARGE} versions, {name}");
            let row = match name {
                "p99" => Row::at_most(&title, many, "ms", few * RATIO_AIM),
                _ => Row::plain(&title, many, "ms"),
            };
            rows.push(row.versus(&format!("{SMALL} versions"), few));
        }
    }
    Ok(rows)
}

/// A manager of its own, and how long it took to answer.
struct Registry {
    client: Client,
    published: usize,
    publishing: Samples,
    listing: Samples,
    choosing: Samples,
    _manager: Manager,
}

impl Registry {
    /// One that has so many versions.
    async fn with(versions: usize) -> Result<Self> {
        let manager = Manager::serving().await?;
        let [publishing, listing, choosing] = std::array::from_fn(|_| Samples::default());
        let client = manager.client()?;
        let mut registry = Self { client, published: 0, publishing, listing, choosing, _manager: manager };
        while registry.published < versions {
            publish(&registry.client, registry.published).await?;
            registry.published += 1;
        }
        Ok(registry)
    }

    async fn publish(&mut self) -> Result<()> {
        self.publishing.add(publish(&self.client, self.published).await?);
        self.published += 1;
        Ok(())
    }

    /// Lists a page, and resolves a range.
    async fn ask(&mut self, question: usize) -> Result<()> {
        let modules = self.published / VERSIONS_EACH;
        let pages = (modules - PAGE).max(1);
        let after = (!question.is_multiple_of(pages)).then(|| name(question % pages));
        let begun = Instant::now();
        let listed = self.client.modules_after(after.as_deref(), None, PAGE).await?;
        self.listing.add(begun.elapsed());
        ensure!(listed.len() == PAGE, "{} modules were listed, {PAGE} were asked for", listed.len());
        let begun = Instant::now();
        self.client.module_version(&name(question % modules), Some("^1")).await?;
        self.choosing.add(begun.elapsed());
        Ok(())
    }
}

fn name(module: usize) -> String {
    format!("module-{module:04}")
}

/// Publishes the `number`th version; how long that took, without its upload.
async fn publish(client: &Client, number: usize) -> Result<std::time::Duration> {
    let source = format!("def main(): return {number}\n");
    let file = client.put_blob_bytes(source).await?;
    let meta = BundleMeta {
        name: name(number / VERSIONS_EACH),
        version: Some(format!("1.{}.0", number % VERSIONS_EACH)),
        entry: Entry::Code { file: "worker.py".to_owned(), target: Target::Call("main".to_owned()) },
        image: "manta_light:latest".to_owned(),
        datasets: Vec::new(),
        resources: ModuleResources::default(),
        isolation: None,
        description: Some("one of many".to_owned()),
        requires_manta: None,
        images: Vec::new(),
        architectures: Vec::new(),
        requires_python: None,
        dependencies: Vec::new(),
    };
    let bundle = pack(meta, [("worker.py".to_owned(), file)])?;
    client.put_blob_bytes(bundle.bytes).await?;
    let begun = Instant::now();
    client.publish(bundle.blob.digest, "bench", &Client::new_key()).await?;
    Ok(begun.elapsed())
}

/// Twenty files that no round before had.
fn write_module(module: &Path, round: usize) -> Result<()> {
    std::fs::write(module.join("__init__.py"), format!("# {round}\ndef main(): ...\n"))?;
    for part in 1..20 {
        std::fs::write(module.join(format!("part{part}.py")), format!("# {round} {part}\n").repeat(200))?;
    }
    Ok(())
}

/// Bytes without a pattern that anything could shorten.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32).to_le_bytes()
    });
    words.take(length / 8).flatten().collect()
}

/// Traces a swarm of the module once: what is measured is this program's own work.
fn trace(work: &Path, traced: &Path) -> Result<()> {
    let python = std::env::var_os("MANTA_PYTHON").context("MANTA_PYTHON is not set")?;
    std::fs::write(work.join("swarm.py"), SWARM)?;
    let mut command = Command::new(python);
    command.args(["-m", "manta._trace"]).arg(work.join("swarm.py")).arg("--out").arg(traced);
    ensure!(command.status()?.success(), "the swarm cannot be traced");
    Ok(())
}

fn deploy(manager: &Manager, socket: &Path, traced: &Path) -> Result<std::time::Duration> {
    let mut command = Command::new(binary()?);
    command.args(["deploy", "--manager", &format!("unix:{}", socket.display()), "--token-file"]);
    command.arg(manager.path("data").join("token")).arg("--traced").arg(traced);
    let begun = Instant::now();
    let ended = command.stdin(Stdio::null()).output()?;
    let took = begun.elapsed();
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Ok(took)
}

/// A socket that passes on to the manager's, and counts what goes there.
fn counting(manager: &Manager, work: &Path, sent: Arc<AtomicU64>) -> Result<PathBuf> {
    std::fs::DirBuilder::new().mode(0o700).create(work.join("s"))?;
    let (path, target) = (work.join("s/c.sock"), manager.path("m.sock"));
    let listener = tokio::net::UnixListener::bind(&path)?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (target, sent) = (target.clone(), Arc::clone(&sent));
            tokio::spawn(async move {
                let Ok(mut server) = tokio::net::UnixStream::connect(target).await else { return };
                if let Ok((up, _)) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
                    sent.fetch_add(up, Ordering::SeqCst);
                }
            });
        }
    });
    Ok(path)
}
