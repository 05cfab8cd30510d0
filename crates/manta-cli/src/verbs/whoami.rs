//! `manta whoami`: whose token this is, and what it may do.
use std::process::ExitCode;

use manta_api::version::SCHEMA_VERSION;
use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::out;
use crate::report::{Failure, Form};
use crate::text::iso;

/// Options of `manta whoami`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Says who the token's bearer is.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let who = args.connection.client()?.whoami().await?;
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "who": who}))?,
        Form::Text => {
            out::put(&format!("{} ({} of cluster {})\n", who.name, who.role, who.cluster))?;
            match (who.token, who.expires_ms) {
                (Some(token), Some(expires_ms)) => out::say(&format!("token {token}, until {}", iso(expires_ms))),
                _ => out::say("by the token in the manager's data directory, which does not expire"),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
