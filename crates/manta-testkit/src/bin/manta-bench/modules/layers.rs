//! Layers of packages: numpy and scikit-learn installed from their wheels, beside uv; and a task that finds its layer there already.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use manta_testkit::bench::Row;
use serde_json::{Value, json};

use crate::samples::Samples;

/// Installations of each kind.
const INSTALLS: usize = 7;
/// How much longer than uv one may take.
const RATIO_AIM: f64 = 1.2;
/// What a layer that is there may cost a start, in milliseconds.
const START_AIM_MS: f64 = 5.0;
const ITERATIONS: u32 = 60;

const MODULE: &str = r"
from manta.light.task import Task


class Again(Task):
    def run(self):
        if self.iteration + 1 < self.world.globals['wanted']:
            self.world.schedule_next_iter()


def main():
    Again().run()
";

const SWARM: &str = r#"
from manta.apis import Module, Swarm, Task


class Repeats(Swarm):
    def __init__(self):
        super().__init__()
        self.set_global("wanted", WANTED)
        self.task = Task(Module("MODULE"))

    def execute(self):
        return self.task()
"#;

/// All rows.
pub(crate) fn measure() -> Result<Vec<Row>> {
    let python = PathBuf::from(std::env::var_os("MANTA_PYTHON").context("MANTA_PYTHON is not set")?);
    let manta = PathBuf::from(std::env::var_os("MANTA_BINARY").context("MANTA_BINARY is not set")?);
    let uv = python.with_file_name("uv");
    ensure!(uv.is_file(), "`{}` is not there: the project's tools bring it", uv.display());
    let wheels = wheels(&python)?;
    let mut rows = installs(&manta, &python, &uv, &wheels)?;
    rows.push(starts(&manta, &wheels)?);
    Ok(rows)
}

/// The wheels, fetched once and kept beside this program.
fn wheels(python: &Path) -> Result<PathBuf> {
    let folder = std::env::current_exe()?.with_file_name("bench-wheels");
    if !folder.is_dir() {
        let fresh = folder.with_extension("new");
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest"]).arg(&fresh);
        run(pip.args(["numpy", "scikit-learn"]))?;
        std::fs::rename(fresh, &folder)?;
    }
    Ok(folder)
}

fn installs(manta: &Path, python: &Path, uv: &Path, wheels: &Path) -> Result<Vec<Row>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(wheels)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let request: Vec<Value> = files.iter().map(|path| describe(python, path)).collect::<Result<_>>()?;
    let request = serde_json::to_vec(&request)?;
    let by_uv = |arguments: &[&OsStr]| {
        measured(|into| {
            let mut command = Command::new(uv);
            command.args(["pip", "install", "--quiet", "--no-index", "--no-deps", "--python"]).arg(python);
            command.arg("--target").arg(into).args(arguments);
            run(command.args(&files))
        })
    };
    let cache = tempfile::tempdir()?;
    let ours = measured(|into| install(manta, &request, into))?;
    let uv_fresh = by_uv(&["--no-cache".as_ref()])?;
    let uv_cached = by_uv(&["--cache-dir".as_ref(), cache.path().as_os_str()])?;
    let ms = |samples: &Samples| samples.quantile(0.5) * 1000.0;
    let name = format!("layer of numpy and scikit-learn, {} wheels, p50", files.len());
    Ok(vec![
        Row::at_most(&name, ms(&ours), "ms", ms(&uv_fresh) * RATIO_AIM)
            .versus("uv pip install from the wheels", ms(&uv_fresh)),
        Row::plain("uv pip install from the wheels, p50", ms(&uv_fresh), "ms"),
        Row::plain("uv pip install, all unpacked in its cache, p50", ms(&uv_cached), "ms"),
    ])
}

/// What the installer is told of a wheel.
fn describe(python: &Path, path: &Path) -> Result<Value> {
    let mut command = Command::new(python);
    command.args(["-c", "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"]);
    let sha256 = String::from_utf8(command.arg(path).output()?.stdout)?.trim().to_owned();
    let name = path.file_name().and_then(OsStr::to_str).context("a wheel has a name")?;
    Ok(json!({"name": name, "path": path, "sha256": sha256}))
}

/// One installation, in the confined process that agents use.
fn install(manta: &Path, request: &[u8], into: &Path) -> Result<()> {
    let mut command = Command::new(manta);
    command.arg("__wheels").current_dir(into).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn()?;
    process.stdin.take().context("piped above")?.write_all(request)?;
    let output = process.wait_with_output()?;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(told["done"].is_object(), "the wheels are not installed: {told}");
    Ok(())
}

/// Installs into a fresh directory each time; the first is not counted.
fn measured(mut install: impl FnMut(&Path) -> Result<()>) -> Result<Samples> {
    let mut samples = Samples::default();
    for number in 0..=INSTALLS {
        let into = tempfile::tempdir()?;
        let begun = Instant::now();
        install(into.path())?;
        if number > 0 {
            samples.add(begun.elapsed());
        }
    }
    Ok(samples)
}

fn run(command: &mut Command) -> Result<()> {
    let ended = command.output()?;
    ensure!(
        ended.status.success(),
        "{command:?} ended with {}: {}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}

/// How much later a task starts whose layer is there, than one that has none.
fn starts(manta: &Path, wheels: &Path) -> Result<Row> {
    let dir = tempfile::tempdir()?;
    for (name, requirements) in [("with_layer", "numpy\nscikit-learn\n"), ("without", "")] {
        let module = dir.path().join(name);
        std::fs::create_dir(&module)?;
        std::fs::write(module.join("__init__.py"), MODULE)?;
        std::fs::write(module.join("requirements.txt"), requirements)?;
    }
    let median = |module: &str| {
        let swarm = SWARM.replace("WANTED", &ITERATIONS.to_string()).replace("MODULE", module);
        std::fs::write(dir.path().join("swarm.py"), swarm)?;
        let mut command = Command::new(manta);
        command.args(["run", "swarm.py", "--nodes", "1", "--json"]).current_dir(dir.path());
        command.env("MANTA_WARM", "off").env("MANTA_HOME", dir.path().join("home"));
        command.env("UV_NO_INDEX", "1").env("UV_FIND_LINKS", wheels);
        let ended = command.output()?;
        ensure!(
            ended.status.success(),
            "manta run ended with {}: {}",
            ended.status,
            String::from_utf8_lossy(&ended.stderr)
        );
        let text = String::from_utf8(ended.stdout)?;
        let documents = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        let document = documents.filter_map(Result::ok).last().context("manta run printed no document")?;
        let rows = document["iterations"].as_array().context("the document has no iterations")?;
        // The first iteration makes the layer.
        let mut starts: Vec<f64> = rows.iter().skip(1).filter_map(|row| row["start_ms"].as_f64()).collect();
        starts.sort_by(f64::total_cmp);
        starts.get(starts.len() / 2).copied().context("no start was measured")
    };
    let (with_layer, without) = (median("with_layer")?, median("without")?);
    Ok(Row::at_most(
        "start with a layer that is there, beyond one without, p50",
        with_layer - without,
        "ms",
        START_AIM_MS,
    ))
}
