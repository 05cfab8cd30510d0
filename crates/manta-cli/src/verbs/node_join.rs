//! `manta node join`: let a manager know this machine by a certificate of its own, then run its agent.
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use manta_api::JoinToken;
use manta_client::Endpoint;
use manta_node::Identity;

use super::node_run::{self, Membership};
use crate::connection::{endpoint, read_token};
use crate::out;
use crate::report::{Failure, Form};

/// Options of `manta node join`.
#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// The manager's address.
    #[arg(value_name = "URL")]
    manager: String,

    /// The token that `manta node token` made; used up by this.
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file", required_unless_present = "token_file")]
    token: Option<String>,

    /// The file with the token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Only join; `manta node run` runs the agent.
    #[arg(long)]
    only_join: bool,

    #[command(flatten)]
    agent: node_run::Args,
}

/// Joins unless the data directory has, and runs the agent.
pub(crate) fn main(args: JoinArgs, form: Form) -> Result<ExitCode, Failure> {
    let JoinArgs { manager, token, token_file, only_join, agent } = args;
    let manager = endpoint(&manager)?;
    if !matches!(manager, Endpoint::Https { .. }) {
        let failure = Failure::usage(format!("nodes join over TLS, and `{manager}` is not an `https://` address"));
        return Err(failure.hint("for a manager of this machine, `manta node run --token-file` needs no joining"));
    }
    let token = match (token, token_file) {
        (Some(token), _) => token,
        (None, Some(file)) => read_token(&file)?.expose().to_owned(),
        (None, None) => return Err(Failure::usage("no token is given").hint("give it with --token or --token-file")),
    };
    let token: JoinToken =
        token.parse().map_err(|error: manta_api::TokenError| Failure::usage(error.to_string()).hint(error.hint()))?;
    let data_dir = agent.data_dir()?;
    let identity = match Identity::load(&data_dir)?.filter(|identity| identity.serves(&token)) {
        Some(identity) => {
            out::say(&format!("this node has joined as {} already; the token is left alone", identity.name()));
            identity
        }
        None => join(&data_dir, &manager, &token, &agent)?,
    };
    if only_join {
        if form == Form::Json {
            let name = identity.name().to_string();
            out::put_json(&serde_json::json!({
                "schema_version": manta_api::version::SCHEMA_VERSION, "node": name, "data_dir": data_dir,
            }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    node_run::run(agent, Membership::of(identity)?)
}

/// Joins on a runtime that is gone with all its threads when it is done: the launcher is made without any.
fn join(data_dir: &Path, manager: &Endpoint, token: &JoinToken, agent: &node_run::Args) -> Result<Identity, Failure> {
    let name = agent.node_name()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(format!("the runtime cannot start: {error}")))?;
    let identity = runtime.block_on(Identity::join(data_dir, manager, token, &name))?;
    drop(runtime);
    out::say(&format!("joined {manager} as {name}; the identity is in {}", data_dir.display()));
    Ok(identity)
}
