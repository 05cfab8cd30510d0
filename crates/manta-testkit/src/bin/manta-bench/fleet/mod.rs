//! `cargo xtask bench fleet`: a manager with many nodes connected, and with many swarms in its past.
mod member;
mod nodes;
mod swarms;
mod tls;

use std::future::Future;

use anyhow::{Result, bail, ensure};
use manta_testkit::bench::Row;

use crate::report::Report;

/// Nodes and swarms unless told otherwise.
const SIZE: usize = 10_000;
/// Nodes with certificates, at most: each has a key of its own to make.
const JOINS_MAX: usize = 1000;

/// `[nodes|swarms|tls] [--size N]`
pub(crate) fn measure(report: &mut Report, arguments: &[&str]) -> Result<()> {
    let (size, parts) = match arguments {
        [parts @ .., "--size", text] => (text.parse().unwrap_or(0), parts),
        parts => (SIZE, parts),
    };
    ensure!(size > 0, "--size takes a count of at least 1");
    match parts {
        [] => {
            for part in [nodes, swarms, tls] {
                report.add(part(size)?);
            }
        }
        ["nodes"] => report.add(nodes(size)?),
        ["swarms"] => report.add(swarms(size)?),
        ["tls"] => report.add(tls(size)?),
        other => {
            bail!("`bench fleet` knows no `{}`; it measures nodes, swarms and tls, of `--size N`", other.join(" "))
        }
    }
    Ok(())
}

fn nodes(size: usize) -> Result<Vec<Row>> {
    block_on(nodes::measure(size))
}

fn swarms(size: usize) -> Result<Vec<Row>> {
    block_on(swarms::measure(size))
}

fn tls(size: usize) -> Result<Vec<Row>> {
    block_on(tls::measure(size.min(JOINS_MAX)))
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}
