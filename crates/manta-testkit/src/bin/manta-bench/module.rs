//! Modules and submissions that the bench makes for itself.
use anyhow::Result;
use manta_api::SwarmSubmission;
use manta_client::Client;
use manta_module::{BundleMeta, Entry, ModuleResources, Target, pack};
use serde_json::{Value, json};

/// Stores a module of one file; what a submission says of it.
pub(crate) async fn store(client: &Client, source: &str) -> Result<Value> {
    let file = client.put_blob_bytes(source.to_owned()).await?;
    let meta = BundleMeta {
        name: "bench".to_owned(),
        version: Some("1.0.0".to_owned()),
        entry: Entry::Code { file: "bench.py".to_owned(), target: Target::Call("main".to_owned()) },
        image: "manta_light:latest".to_owned(),
        datasets: Vec::new(),
        resources: ModuleResources::default(),
        isolation: None,
        description: None,
        requires_manta: None,
        images: Vec::new(),
        architectures: Vec::new(),
        requires_python: None,
        dependencies: Vec::new(),
    };
    let bundle = pack(meta, [("bench.py".to_owned(), file)])?;
    client.put_blob_bytes(bundle.bytes).await?;
    Ok(json!({"bundle": bundle.blob.digest, "name": "bench", "version": "1.0.0", "image": "manta_light:latest"}))
}

/// A swarm of tasks side by side, all over one module; what `task` holds stands in each.
pub(crate) fn swarm(name: &str, module: &Value, tasks: usize, task: &Value, swarm: &Value) -> Result<SwarmSubmission> {
    let tasks = (0..tasks).map(|index| merged(&json!({"alias": format!("t{index}"), "module": 0}), task));
    let whole = json!({"name": name, "modules": [module], "tasks": tasks.collect::<Vec<_>>()});
    Ok(serde_json::from_value(merged(&whole, swarm))?)
}

fn merged(base: &Value, more: &Value) -> Value {
    let members = [base, more].into_iter().filter_map(Value::as_object).flatten();
    Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
}
