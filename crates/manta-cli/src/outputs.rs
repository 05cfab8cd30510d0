//! Globals and results at the end of a swarm, told in few words and saved where wanted.
use std::path::{Path, PathBuf};

use manta_api::{GlobalView, ResultView};
use manta_client::Client;
use manta_types::{Blob, SwarmId};
use serde::Serialize;

use crate::report::Failure;
use crate::table::Table;
use crate::value;

/// A global at the end.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct GlobalOut {
    /// Its name.
    pub(crate) name: String,
    /// The revision at which it became visible.
    pub(crate) revision: u64,
    /// The node that wrote it.
    pub(crate) writer: Option<String>,
    /// What it is.
    #[serde(flatten)]
    pub(crate) value: ValueOut,
}

/// A result.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ResultOut {
    /// From 0.
    pub(crate) iteration: u32,
    /// The task's alias.
    pub(crate) task: String,
    /// The node's name.
    pub(crate) node: String,
    /// Its name.
    pub(crate) name: String,
    /// Whether it counts.
    pub(crate) accepted: bool,
    /// The module's version that published it.
    pub(crate) version: String,
    /// What it is.
    #[serde(flatten)]
    pub(crate) value: ValueOut,
}

/// An encoded value, as far as it is told.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ValueOut {
    /// Digest and size of the encoded value.
    #[serde(flatten)]
    pub(crate) blob: Blob,
    /// A short rendering.
    pub(crate) summary: String,
    /// The value itself, where it is plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<serde_json::Value>,
    /// Where it was saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
}

/// What a swarm left.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Outputs {
    /// Globals, by name.
    pub(crate) globals: Vec<GlobalOut>,
    /// Results.
    pub(crate) results: Vec<ResultOut>,
}

/// Which results are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those of the last iteration that published any.
    Last,
    /// All of them.
    All,
    /// Those of one iteration.
    Of(u32),
}

/// Fetches what a swarm left; with a folder, every value is saved there as `<digest>.value`.
pub(crate) async fn fetch(client: &Client, id: SwarmId, which: Which, save: Option<&Path>) -> Result<Outputs, Failure> {
    if let Some(folder) = save {
        std::fs::create_dir_all(folder).map_err(|error| Failure::file("the folder cannot be made:", folder, &error))?;
    }
    let mut outputs = Outputs::default();
    for GlobalView { name, revision, writer, blob } in client.globals(id).await? {
        outputs.globals.push(GlobalOut { name, revision, writer, value: tell(client, blob, save).await? });
    }
    let results = client.results(id).await?;
    let last = results.iter().filter(|result| result.accepted).map(|result| result.iteration).max();
    let wanted = |result: &ResultView| match which {
        Which::All => true,
        Which::Last => result.accepted && Some(result.iteration) == last,
        Which::Of(iteration) => result.iteration == iteration,
    };
    for ResultView { iteration, task, node, name, accepted, version, blob, .. } in results.into_iter().filter(wanted) {
        let value = tell(client, blob, save).await?;
        outputs.results.push(ResultOut { iteration, task, node, name, accepted, version, value });
    }
    Ok(outputs)
}

async fn tell(client: &Client, blob: Blob, save: Option<&Path>) -> Result<ValueOut, Failure> {
    let head = client.get_blob_head(&blob.digest, value::HEAD_BYTES).await?;
    let file = match save {
        Some(folder) => Some(save_value(client, blob, &folder.join(format!("{}.value", blob.digest))).await?),
        None => None,
    };
    Ok(ValueOut { blob, summary: value::summary(&head, blob.size), value: value::scalar(&head, blob.size), file })
}

/// Saves an encoded value, whole or not at all.
pub(crate) async fn save_value(client: &Client, blob: Blob, path: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: std::io::Error| Failure::file("a value cannot be saved as", path, &error);
    let absolute = std::path::absolute(path).map_err(failed)?;
    let part = absolute.with_extension("part");
    let mut file = tokio::fs::File::create(&part).await.map_err(failed)?;
    client.get_blob_to(&blob.digest, &mut file).await?;
    drop(file);
    std::fs::rename(&part, &absolute).map_err(failed)?;
    Ok(absolute)
}

impl Outputs {
    /// Globals and results as two small tables, with at most so many results.
    pub(crate) fn render(&self, width: Option<usize>, most: Option<usize>) -> String {
        let mut text = String::new();
        if !self.globals.is_empty() {
            let mut table = Table::new(&["GLOBAL", "VALUE", "WRITTEN BY"]);
            for global in &self.globals {
                let writer = global.writer.clone().unwrap_or_else(|| "the submission".to_owned());
                table.row(vec![crate::text::one_line(&global.name, 32), global.value.summary.clone(), writer]);
            }
            text.push_str(&table.render(width));
        }
        if !self.results.is_empty() {
            if !text.is_empty() {
                text.push('\n');
            }
            let mut table = Table::new(&["RESULT", "NODE", "TASK", "ITERATION", "VALUE"]);
            let shown = most.unwrap_or(self.results.len());
            for result in self.results.iter().take(shown) {
                let iteration = if result.accepted {
                    result.iteration.to_string()
                } else {
                    format!("{} (not counted)", result.iteration)
                };
                let name = crate::text::one_line(&result.name, 32);
                table.row(vec![
                    name,
                    result.node.clone(),
                    result.task.clone(),
                    iteration,
                    result.value.summary.clone(),
                ]);
            }
            text.push_str(&table.render(width));
            if self.results.len() > shown {
                text.push_str(&format!("… {} more\n", self.results.len() - shown));
            }
        }
        text
    }
}
