//! Modules to run, and values for them to read.
use std::collections::BTreeMap;

use manta_api::node::{Limits, Offer};
use manta_module::{BundleManifest, Entry, MANIFEST_VERSION, ModuleResources, Target};
use manta_types::{AttemptId, Blob, SwarmId};

use crate::manager::Manager;

/// Publishes a module whose class `Worker` runs these lines, and answers its bundle's digest.
pub(crate) fn publish(manager: &Manager, run: &str) -> String {
    let body: String = run.lines().map(|line| format!("        {line}\n")).collect();
    let code = format!(
        "import os, sys, time\nfrom manta.light.task import Task\n\nclass Worker(Task):\n    def run(self):\n{body}"
    );
    let manifest = BundleManifest {
        manifest_version: MANIFEST_VERSION,
        name: "worker".to_owned(),
        version: "1.0.0".to_owned(),
        entry: Entry::Code { file: "worker.py".to_owned(), target: Target::Class("Worker".to_owned()) },
        image: "manta_light:latest".to_owned(),
        datasets: vec!["digits".to_owned()],
        resources: ModuleResources::default(),
        isolation: None,
        description: None,
        requires_manta: None,
        images: Vec::new(),
        architectures: Vec::new(),
        requires_python: None,
        dependencies: Vec::new(),
        files: BTreeMap::from([("worker.py".to_owned(), manager.keep(code.as_bytes()))]),
    };
    manager.keep(&manifest.canonical_bytes()).digest.to_string()
}

/// An offer of the n-th attempt.
pub(crate) fn offer(n: u128, bundle: &str) -> Offer {
    Offer {
        attempt: attempt(n),
        epoch: 1,
        swarm: SwarmId::from_uuid(uuid::Uuid::from_u128(1)).to_string(),
        swarm_name: "Sample".to_owned(),
        task: "worker".to_owned(),
        seed: 42,
        bundle: bundle.to_owned(),
        datasets: vec!["digits".to_owned()],
        image: "manta_light:latest".to_owned(),
        limits: Some(Limits { memory_bytes: 512 << 20, ..Limits::default() }),
        ..Offer::default()
    }
}

/// The id of the n-th attempt.
pub(crate) fn attempt(n: u128) -> String {
    AttemptId::from_uuid(uuid::Uuid::from_u128(n)).to_string()
}

/// A value of plain JSON, in the form in which values travel.
pub(crate) fn value(manager: &Manager, tree: &str) -> Blob {
    let header = format!("{{\"tree\":{tree},\"buffers\":[]}}");
    let mut bytes = b"MANTAVAL".to_vec();
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(64), 0);
    manager.keep(&bytes)
}

/// The tree of a value that holds plain JSON.
pub(crate) fn tree(manager: &Manager, digest: &str) -> serde_json::Value {
    let bytes = manager.blobs.lock().unwrap()[digest].clone();
    let length = usize::try_from(u64::from_le_bytes(bytes[16..24].try_into().unwrap())).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&bytes[24..24 + length]).unwrap();
    header["tree"].clone()
}
