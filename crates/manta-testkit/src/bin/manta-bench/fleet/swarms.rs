//! What a person waits for where many swarms ran before.
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};
use manta_testkit::bench::Row;

use crate::engine::restart::finish;
use crate::manager::{Manager, binary};
use crate::module;
use crate::samples::Samples;

const CALLS: usize = 20;
const LIST_AIM_MS: f64 = 100.0;

pub(super) async fn measure(size: usize) -> Result<Vec<Row>> {
    let manager = Manager::serving().await?;
    let module = module::store(&manager.client()?, "def main(): ...\n").await?;
    eprintln!("{size} swarms run");
    finish(&manager, &module, size).await?;
    let version = call(&manager, &["--version"])?.quantile(0.5) * 1000.0;
    let list = call(&manager, &["ls"])?;
    let name = |share: &str| format!("`manta ls` beside {size} swarms, {share} of {CALLS}");
    Ok(vec![
        Row::plain(&name("p50"), list.quantile(0.5) * 1000.0, "ms").versus("`manta --version`", version),
        Row::at_most(&name("p99"), list.quantile(0.99) * 1000.0, "ms", LIST_AIM_MS),
    ])
}

fn call(manager: &Manager, arguments: &[&str]) -> Result<Samples> {
    let mut samples = Samples::default();
    for _ in 0..CALLS {
        let started = Instant::now();
        let status = Command::new(binary()?)
            .args(arguments)
            .env("MANTA_MANAGER", manager.address()?)
            .env("MANTA_TOKEN_FILE", manager.path("data/token"))
            .stdout(Stdio::null())
            .status()?;
        samples.add(started.elapsed());
        ensure!(status.success(), "`manta {}` failed: {status}", arguments.join(" "));
    }
    Ok(samples)
}
