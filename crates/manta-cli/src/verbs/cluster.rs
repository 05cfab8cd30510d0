//! `manta cluster`: the clusters of a manager, for whoever holds the token of its data directory.
use std::process::ExitCode;

use clap::Subcommand;
use manta_api::version::SCHEMA_VERSION;
use manta_api::{ClusterLostView, ClusterView};
use manta_client::Client;
use serde_json::json;

use crate::connection::{ConnectionArgs, parse_cluster};
use crate::out;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{count, iso};

/// Verbs of clusters.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Add a cluster: an isolated group of nodes, swarms, modules and users under the same manager.
    Add(NameArgs),
    /// List clusters.
    Ls(ConnectionArgs),
    /// Remove a cluster with all that is stored of it; one that has live swarms or nodes stays.
    Rm(RmArgs),
}

/// Options of `manta cluster rm`.
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    cluster: NameArgs,

    /// Remove it also if it is damaged: what it has under way is lost, for nobody can tell any more what that is.
    #[arg(long)]
    damaged: bool,
}

/// Options of `manta cluster add`.
#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    /// Its name: lower-case letters, digits, `-`, `_` and `.`.
    name: String,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Does what the command line says.
pub(crate) fn main(verb: Verb, form: Form) -> Result<ExitCode, Failure> {
    super::block_on(async move {
        match verb {
            Verb::Add(NameArgs { name, connection }) => {
                let name = parse_cluster(Some(&name))?;
                let cluster = connection.client()?.add_cluster(&name, &Client::new_key()).await?;
                if form == Form::Json {
                    out::put_json(&json!({"schema_version": SCHEMA_VERSION, "cluster": cluster}))?;
                } else {
                    out::say(&format!("cluster `{name}` is there, and empty"));
                    out::say(&format!(
                        "for a node of it: manta node token --cluster {name}; for people: manta user add NAME --role admin \
                         --cluster {name}"
                    ));
                }
            }
            Verb::Rm(RmArgs { cluster: NameArgs { name, connection }, damaged }) => {
                let name = parse_cluster(Some(&name))?;
                let removed = connection.client()?.remove_cluster(&name, damaged, &Client::new_key()).await?;
                if form == Form::Json {
                    out::put_json(&json!({"schema_version": SCHEMA_VERSION, "removed": removed}))?;
                } else {
                    out::say(&format!("cluster `{name}` is gone, with all that was stored of it but the audit log"));
                    if let Some(lost) = removed.lost {
                        out::say(&format!("lost with it: {}", told(&lost)));
                    }
                }
            }
            Verb::Ls(connection) => list(&connection.client()?.clusters().await?, form)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn told(lost: &ClusterLostView) -> String {
    let ClusterLostView { swarms, swarms_live, nodes, users } = lost;
    let count = |number: &u64, what| count(usize::try_from(*number).unwrap_or(usize::MAX), what);
    let (swarms, nodes, users) = (count(swarms, "swarm"), count(nodes, "node"), count(users, "user"));
    format!("{swarms} ({swarms_live} not over), {nodes} and {users}")
}

fn list(clusters: &[ClusterView], form: Form) -> Result<(), Failure> {
    if form == Form::Json {
        return out::put_json(&json!({"schema_version": SCHEMA_VERSION, "clusters": clusters}));
    }
    let mut table = Table::new(&["NAME", "STATE", "SWARMS LIVE", "NODES", "ADDED"]);
    for ClusterView { name, state, is_first, created_ms, swarms_live, nodes, .. } in clusters {
        let number = |number: &Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let added = if *is_first { "the first".to_owned() } else { iso(created_ms.unwrap_or(0)) };
        table.row(vec![name.clone(), state.clone(), number(swarms_live), number(nodes), added]);
    }
    out::put(&table.render(out::width()))?;
    for ClusterView { name, state, reason, .. } in clusters {
        let what =
            if state == "removing" { "is being removed, and not all of it is gone" } else { "cannot be recovered" };
        if let Some(reason) = reason {
            out::say(&format!("cluster `{name}` {what}: {reason}"));
        }
    }
    Ok(())
}
