//! `manta node data`: the datasets that the agent on this machine offers, added and removed while it runs.
use std::path::PathBuf;
use std::process::ExitCode;

use manta_api::control::{ControlAnswer, ControlRequest, HeldDataset};
use manta_api::version::SCHEMA_VERSION;
use serde_json::{Value, json};

use super::{node_run, node_show};
use crate::out;
use crate::report::{Failure, Form};
use crate::text::count;

/// Which agent of this machine is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentArgs {
    /// The agent's data directory [default: that of the node's name].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// The node's name [default: the host's name].
    #[arg(long)]
    name: Option<String>,
}

impl AgentArgs {
    /// Its data directory.
    pub(super) fn dir(&self) -> Result<PathBuf, Failure> {
        node_run::data_dir(self.data_dir.as_deref(), self.name.as_deref())
    }
}

/// Verbs of the datasets of the agent on this machine.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Offer a dataset from now on, also after a restart of the agent.
    Add {
        /// What modules call it, and where it is on this machine.
        #[arg(value_name = "NAME=PATH")]
        dataset: String,

        #[command(flatten)]
        agent: AgentArgs,
    },
    /// Offer a dataset no more; attempts that have it open keep it.
    Rm {
        /// What modules call it.
        #[arg(value_name = "DATASET")]
        dataset: String,

        #[command(flatten)]
        agent: AgentArgs,
    },
    /// List what is offered: where it is, how large, and what it looks like.
    Ls {
        #[command(flatten)]
        agent: AgentArgs,
    },
}

/// Does what the verb says.
pub(crate) async fn main(verb: Verb, form: Form) -> Result<ExitCode, Failure> {
    let (agent, request) = match verb {
        Verb::Add { dataset, agent } => {
            let (name, path) = node_run::dataset(&dataset)?;
            (agent, ControlRequest::AddDataset { name, path: path.display().to_string() })
        }
        Verb::Rm { dataset, agent } => (agent, ControlRequest::RemoveDataset { name: dataset }),
        Verb::Ls { agent } => (agent, ControlRequest::Datasets),
    };
    let (datasets, notes) = match ask(&agent, &request).await? {
        ControlAnswer::Datasets { datasets, notes } => (datasets, notes),
        other => return Err(Failure::internal(format!("the agent answered something else: {other:?}"))),
    };
    match form {
        Form::Json => {
            let datasets = serde_json::to_value(&datasets).unwrap_or(Value::Null);
            out::put_json(&json!({"schema_version": SCHEMA_VERSION, "datasets": datasets, "notes": notes}))?;
        }
        Form::Text => {
            out::put(&render(&datasets))?;
            notes.iter().for_each(|note| out::say(note));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the agent; what it refuses is a failure with its words.
pub(super) async fn ask(agent: &AgentArgs, request: &ControlRequest) -> Result<ControlAnswer, Failure> {
    match manta_node::ask(&agent.dir()?, request).await? {
        ControlAnswer::Refused { code, message, hint } => {
            let code = manta_api::ErrorCode::from_code(&code).unwrap_or(manta_api::ErrorCode::Internal);
            Err(Failure { hint, ..Failure::new(code, message) })
        }
        answer => Ok(answer),
    }
}

fn render(datasets: &[HeldDataset]) -> String {
    if datasets.is_empty() {
        return "no datasets are offered\n".to_owned();
    }
    let mut text = node_show::datasets(datasets.iter().map(|held| &held.view), out::width());
    text.push('\n');
    for held in datasets {
        let open = if held.attempts == 0 {
            String::new()
        } else {
            format!(", open in {}", count(held.attempts as usize, "attempt"))
        };
        let kept = if held.from_start { "" } else { ", added" };
        text.push_str(&format!("{}: {}{kept}{open}\n", held.view.name, held.path));
    }
    text
}
