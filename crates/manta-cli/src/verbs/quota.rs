//! `manta quota`: what a cluster may use of its manager, and what it uses.
use std::process::ExitCode;

use clap::Subcommand;
use manta_api::QuotaView;
use manta_api::version::SCHEMA_VERSION;
use manta_client::Client;
use manta_types::Quota;
use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::{bounds, out};

/// Verbs of quotas.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show every quota and what is used of it.
    Show(ConnectionArgs),
    /// Set a quota, or lift it.
    Set(SetArgs),
}

/// Options of `manta quota set`.
#[derive(Debug, clap::Args)]
pub(crate) struct SetArgs {
    /// Which: swarms-live, nodes, stored-bytes or calls-per-second.
    name: Quota,

    /// The most that the cluster may have: a number, a size such as 100GiB, or `none`.
    limit: String,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Does what the command line says.
pub(crate) fn main(verb: Verb, form: Form) -> Result<ExitCode, Failure> {
    super::block_on(async move {
        let quotas = match verb {
            Verb::Show(connection) => connection.client()?.quotas().await?,
            Verb::Set(SetArgs { name, limit, connection }) => {
                let limit = read(&limit)?;
                connection.client()?.set_quota(name, limit, &Client::new_key()).await?
            }
        };
        show(&quotas, form)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn read(limit: &str) -> Result<Option<u64>, Failure> {
    if limit == "none" {
        return Ok(None);
    }
    let number = bounds::number(limit).or_else(|| limit.parse().ok());
    number.map(Some).ok_or_else(|| {
        let failure = Failure::usage(format!("`{}` is no limit", crate::text::one_line(limit, 40)));
        failure.hint("write a number such as 20, a size such as 100GiB, or `none`")
    })
}

fn show(quotas: &[QuotaView], form: Form) -> Result<(), Failure> {
    if form == Form::Json {
        return out::put_json(&json!({"schema_version": SCHEMA_VERSION, "quotas": quotas}));
    }
    let mut table = Table::new(&["QUOTA", "LIMIT", "USED", "COUNTS"]);
    for QuotaView { name, limit, used, about } in quotas {
        let number = |number: &Option<u64>, none: &str| number.map_or_else(|| none.to_owned(), |n| n.to_string());
        table.row(vec![name.to_string(), number(limit, "none"), number(used, "-"), about.clone()]);
    }
    out::put(&table.render(out::width()))
}
