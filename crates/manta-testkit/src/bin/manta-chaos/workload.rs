//! The swarms that run while faults are made: cheap, and such that every right value is known beforehand.
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use manta_api::submission::{Amount, ResourcesWire};
use manta_api::{ErrorCode, ModuleRef, SwarmSubmission, TaskSubmission};
use manta_client::{Client, ClientError};
use manta_module::{BundleMeta, Entry, ModuleResources, Target, digest_of, pack};
use manta_types::{Blob, SwarmId};

use crate::wait::until;

/// What a swarm does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Workers on all nodes, then one that adds up; so many times.
    Tally {
        /// Iterations.
        iterations: u32,
    },
    /// A tally that is paused and resumed under way.
    Paused {
        /// Iterations.
        iterations: u32,
    },
    /// A tally one of whose nodes is drained and taken into use again under way.
    Drained {
        /// Iterations.
        iterations: u32,
    },
    /// A task that always raises, tried twice.
    Broken,
    /// The same, and then a swarm that goes on where it failed.
    Retried,
    /// A task that fails on one node, over which the swarm goes on, then one that no node is left for.
    Lame,
    /// A task on all nodes that never ends by itself.
    Hold,
    /// The same, which goes on without a node that is drained.
    Excused,
}

/// The alias of the tally's first task.
pub(crate) const WORK: &str = "work";
/// The alias of the tally's second task.
pub(crate) const GATHER: &str = "gather";

/// The alias of a task that fails on one node.
const LAME: &str = "lame";

/// How long a call is repeated while the manager is away.
const PATIENCE: Duration = Duration::from_secs(30);

const MODULES: [(&str, &str); 5] = [
    (WORK, include_str!("modules/work.py")),
    (GATHER, include_str!("modules/gather.py")),
    ("hold", include_str!("modules/hold.py")),
    ("broken", include_str!("modules/broken.py")),
    (LAME, include_str!("modules/lame.py")),
];

/// A swarm that was submitted, and what it does.
#[derive(Debug, Clone)]
pub(crate) struct Swarm {
    pub(crate) id: SwarmId,
    pub(crate) kind: Kind,
}

/// Submits a swarm as a careful client does: everything again, under the same key, until it is answered.
pub(crate) async fn submit(client: &Client, kind: Kind, key: &str) -> Result<Swarm> {
    let (submission, blobs) = describe(kind, key)?;
    let id = persist("a submission", || async {
        for bytes in &blobs {
            client.put_blob_bytes(bytes.clone()).await?;
        }
        Ok(client.submit(&submission, key).await?.id)
    })
    .await?;
    Ok(Swarm { id, kind })
}

/// The manager answered, and said no.
#[derive(Debug)]
pub(crate) struct Refused {
    what: String,
    error: ClientError,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} was refused: {}", self.what, self.error)
    }
}

impl std::error::Error for Refused {}

/// Repeats a call until the manager answers it; a refusal ends it.
pub(crate) async fn persist<T, F>(what: &str, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let mut answer = None;
    until(PATIENCE, what, async || match ask().await {
        Ok(value) => {
            answer = Some(value);
            Ok(None)
        }
        // A disk that is full or fails may do better in a while, as the refusal says.
        Err(error) if error.is_transient() || error.error_code() == Some(ErrorCode::Storage) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(Refused { what: what.to_owned(), error }.into()),
    })
    .await?;
    answer.context("an answer that was waited for is there")
}

/// What is submitted, and the blobs that it names.
pub(crate) fn describe(kind: Kind, name: &str) -> Result<(SwarmSubmission, Vec<Vec<u8>>)> {
    let (aliases, iterations): (&[&str], u32) = match kind {
        Kind::Tally { iterations } | Kind::Paused { iterations } | Kind::Drained { iterations } => {
            (&[WORK, GATHER], iterations)
        }
        Kind::Broken | Kind::Retried => (&["broken"], 1),
        Kind::Lame => (&[LAME, "hold"], 1),
        Kind::Hold | Kind::Excused => (&["hold"], 1),
    };
    let (mut modules, mut blobs) = (Vec::new(), Vec::new());
    for alias in aliases {
        let (_, code) = MODULES.iter().find(|(name, _)| name == alias).context("every task has its module")?;
        let file = Blob { digest: digest_of(code.as_bytes()), size: code.len() as u64 };
        let bundle = pack(meta(alias), [("task.py".to_owned(), file)])?;
        modules.push(ModuleRef {
            bundle: bundle.blob.digest,
            name: (*alias).to_owned(),
            version: bundle.manifest.version.clone(),
            image: bundle.manifest.image.clone(),
            datasets: Vec::new(),
            resources: ResourcesWire::default(),
            runtimes: Vec::new(),
            requires_python: None,
            architectures: Vec::new(),
        });
        blobs.extend([code.as_bytes().to_vec(), bundle.bytes]);
    }
    let tasks = aliases.iter().enumerate().map(|(index, alias)| task(index, alias)).collect::<Result<_>>()?;
    let document = serde_json::json!({"name": name, "max_iteration": iterations, "modules": [], "tasks": []});
    let empty: SwarmSubmission = serde_json::from_value(document)?;
    Ok((SwarmSubmission { modules, tasks, ..empty }, blobs))
}

fn task(index: usize, alias: &str) -> Result<TaskSubmission> {
    let after: Vec<_> = index.checked_sub(1).into_iter().collect();
    // Named, so that a node which somebody else brings along gets no part of it.
    let nodes = ["node-1", "node-2"];
    let document =
        serde_json::json!({"alias": alias, "module": index, "after": after, "method": "all", "specified": nodes});
    let everywhere: TaskSubmission = serde_json::from_value(document)?;
    Ok(match alias {
        LAME => TaskSubmission { on_failure: "continue".to_owned(), ..everywhere },
        // Behind another task it is for whoever published what nobody does.
        "hold" if index > 0 => TaskSubmission { method: "tag-nothing".to_owned(), ..everywhere },
        GATHER => TaskSubmission { method: "any".to_owned(), maximum: Amount::Count { count: 1 }, ..everywhere },
        _ => everywhere,
    })
}

/// A module of one file, `task.py`, whose `main` is called.
pub(crate) fn meta(name: &str) -> BundleMeta {
    BundleMeta {
        name: name.to_owned(),
        version: None,
        entry: Entry::Code { file: "task.py".to_owned(), target: Target::Call("main".to_owned()) },
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
    }
}

/// The value of a result or global, where it is a text or a number.
pub(crate) async fn scalar(client: &Client, blob: &Blob) -> Result<String> {
    const BYTES_MAX: u64 = 1 << 20;
    let bytes = persist("a value", || client.get_blob_bytes(&blob.digest, BYTES_MAX)).await?;
    ensure!(bytes.len() as u64 == blob.size, "blob {} has {} bytes, not {}", blob.digest, bytes.len(), blob.size);
    let length = bytes.get(16..24).and_then(|length| length.try_into().ok()).map(u64::from_le_bytes);
    let header = length.and_then(|length| bytes.get(24..24 + usize::try_from(length).ok()?));
    let header: serde_json::Value = serde_json::from_slice(header.context("the value is shorter than its header")?)?;
    match &header["tree"] {
        serde_json::Value::String(text) => Ok(text.clone()),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        other => bail!("the value is {other}, neither text nor number"),
    }
}
