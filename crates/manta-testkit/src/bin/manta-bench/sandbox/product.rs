//! The same through the whole product: from an attempt's arrival at its node to the first line of `run()`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const ITERATIONS: u32 = 120;

const MODULE: &str = r#"
import time

import numpy

from manta.light.task import Task


class Again(Task):
    def run(self):
        numpy.dot(numpy.ones(8), numpy.ones(8))
        time.sleep(WORK_MS / 1000)
        if self.iteration + 1 < self.world.globals["wanted"]:
            self.world.schedule_next_iter()


def main():
    Again().run()
"#;

const SWARM: &str = r#"
from manta.apis import Module, Swarm, Task


class Repeats(Swarm):
    def __init__(self):
        super().__init__()
        self.set_global("wanted", WANTED)
        self.task = Task(Module("again.py", image="numpy"))

    def execute(self):
        return self.task()
"#;

/// Starts in milliseconds, each of one way, of a swarm that repeats one numpy task of so many milliseconds on one node.
pub(super) fn starts(warm: &str, work_ms: u32) -> Result<Vec<(String, f64)>> {
    let manta = PathBuf::from(std::env::var_os("MANTA_BINARY").context("MANTA_BINARY is not set")?);
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("again.py"), MODULE.replace("WORK_MS", &work_ms.to_string()))?;
    std::fs::write(dir.path().join("swarm.py"), SWARM.replace("WANTED", &ITERATIONS.to_string()))?;
    let document = run(&manta, dir.path(), warm)?;
    let rows = document["iterations"].as_array().context("the document has no iterations")?;
    let started = rows.iter().filter_map(|row| {
        let way = row["starts"].as_object()?.keys().next()?.clone();
        Some((way, row["start_ms"].as_f64()?))
    });
    Ok(started.collect())
}

fn run(manta: &Path, dir: &Path, warm: &str) -> Result<Value> {
    let mut command = Command::new(manta);
    command.args(["run", "swarm.py", "--nodes", "1", "--json"]).current_dir(dir).env("MANTA_WARM", warm);
    let ended = command.output()?;
    ensure!(
        ended.status.success(),
        "manta run ended with {}: {}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr)
    );
    let text = String::from_utf8(ended.stdout)?;
    let documents = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    documents.filter_map(Result::ok).last().context("manta run printed no document")
}
