//! `cargo xtask bench fleet`: a manager with many nodes connected, and with many swarms in its past.
mod member;
mod nodes;
mod swarms;

use std::future::Future;

use anyhow::{Result, bail, ensure};
use manta_testkit::bench::Row;

/// Nodes and swarms unless told otherwise.
const SIZE: usize = 10_000;

/// `[nodes|swarms] [--size N]`
pub(crate) fn measure(arguments: &[&str]) -> Result<Vec<Row>> {
    let (size, parts) = match arguments {
        [parts @ .., "--size", text] => (text.parse().unwrap_or(0), parts),
        parts => (SIZE, parts),
    };
    ensure!(size > 0, "--size takes a count of at least 1");
    match parts {
        [] => Ok([nodes(size)?, swarms(size)?].concat()),
        ["nodes"] => nodes(size),
        ["swarms"] => swarms(size),
        other => bail!("`bench fleet` knows no `{}`; it measures nodes and swarms, of `--size N`", other.join(" ")),
    }
}

fn nodes(size: usize) -> Result<Vec<Row>> {
    block_on(nodes::measure(size))
}

fn swarms(size: usize) -> Result<Vec<Row>> {
    block_on(swarms::measure(size))
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}
