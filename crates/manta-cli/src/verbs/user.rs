//! `manta user`: the people and programs of a cluster, and what each may do.
use std::process::ExitCode;

use clap::Subcommand;
use manta_api::UserView;
use manta_api::version::SCHEMA_VERSION;
use manta_client::Client;
use manta_types::Role;
use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::out;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{count, iso};

/// Verbs of users.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Add a user; a token for them is made with `manta token new`.
    Add(RoleArgs),
    /// List users.
    Ls(ConnectionArgs),
    /// Give a user another role, at once for all their tokens.
    SetRole(RoleArgs),
    /// Remove a user with all their tokens.
    Rm(RmArgs),
}

/// Options of `manta user add` and `manta user set-role`.
#[derive(Debug, clap::Args)]
pub(crate) struct RoleArgs {
    /// What they are called: lower-case letters, digits, `-`, `_` and `.`.
    name: String,

    /// The most that they may do: viewer, developer, operator or admin.
    #[arg(long, value_name = "ROLE")]
    role: Role,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Options of `manta user rm`.
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// Their name.
    name: String,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Does what the command line says.
pub(crate) fn main(verb: Verb, form: Form) -> Result<ExitCode, Failure> {
    super::block_on(async move {
        match verb {
            Verb::Add(RoleArgs { name, role, connection }) => {
                let user = connection.client()?.add_user(&name, role, &Client::new_key()).await?;
                tell(&user, &format!("user `{name}` has the role {role}"), form)?;
                if form == Form::Text {
                    out::say(&format!("for a token of theirs: manta token new --user {name} --out FILE"));
                }
            }
            Verb::SetRole(RoleArgs { name, role, connection }) => {
                let user = connection.client()?.set_role(&name, role, &Client::new_key()).await?;
                tell(&user, &format!("user `{name}` has the role {role} from now on"), form)?;
            }
            Verb::Rm(RmArgs { name, connection }) => {
                let user = connection.client()?.remove_user(&name, &Client::new_key()).await?;
                tell(&user, &format!("user `{name}` is gone, and no token of theirs counts any more"), form)?;
            }
            Verb::Ls(connection) => list(&connection.client()?.users().await?, form)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn tell(user: &UserView, sentence: &str, form: Form) -> Result<(), Failure> {
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "user": user})),
        Form::Text => {
            out::say(sentence);
            Ok(())
        }
    }
}

fn list(users: &[UserView], form: Form) -> Result<(), Failure> {
    if form == Form::Json {
        return out::put_json(&json!({"schema_version": SCHEMA_VERSION, "users": users}));
    }
    if users.is_empty() {
        out::say("there is no user but the administrator; `manta user add NAME --role ROLE` adds one");
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "ROLE", "TOKENS", "ADDED"]);
    for UserView { name, role, created_ms, tokens } in users {
        let tokens = count(usize::try_from(*tokens).unwrap_or(usize::MAX), "token");
        table.row(vec![name.clone(), role.to_string(), tokens, iso(*created_ms)]);
    }
    out::put(&table.render(out::width()))
}
