//! `manta token`: the tokens with which people and programs prove who they are.
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use manta_api::version::SCHEMA_VERSION;
use manta_api::{NewTokenView, TokenRequest, TokenView};
use manta_client::Client;
use manta_types::Role;
use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{ago, iso};
use crate::{keys, out};

/// Verbs of tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a token; it is shown this once.
    New(NewArgs),
    /// List your tokens; an admin sees everybody's.
    Ls(ConnectionArgs),
    /// End a token at once.
    Revoke(IdArgs),
    /// Make a token in the place of another, which ends at once.
    Rotate(RotateArgs),
}

/// Options of `manta token new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// Whose it is to be [default: yours].
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// The most that it may do: viewer, developer, operator or admin [default: as much as its user and you may].
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,

    /// When it ends: a date (2027-06-30) or a time from now (30d) [default: in 90 days].
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,

    #[command(flatten)]
    to: Target,
}

/// Where a new token goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// The file to make for it, which only you can read [default: standard output].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Options of `manta token revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct IdArgs {
    /// The token's id, or the beginning of it.
    id: String,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Options of `manta token rotate`.
#[derive(Debug, clap::Args)]
pub(crate) struct RotateArgs {
    /// The token's id, or the beginning of it.
    id: String,

    #[command(flatten)]
    to: Target,
}

/// Does what the command line says.
pub(crate) fn main(verb: Verb, form: Form) -> Result<ExitCode, Failure> {
    super::block_on(async move {
        match verb {
            Verb::New(NewArgs { user, role, expires, to }) => {
                let expires_s = expires.as_deref().map(seconds_until).transpose()?;
                let request = TokenRequest { user, role, expires_s };
                let client = to.connection.client()?;
                to.free()?;
                hand_over(&client.new_token(&request, &Client::new_key()).await?, &to, form)?;
            }
            Verb::Rotate(RotateArgs { id, to }) => {
                let client = to.connection.client()?;
                to.free()?;
                hand_over(&client.rotate_token(&id, &Client::new_key()).await?, &to, form)?;
            }
            Verb::Revoke(IdArgs { id, connection }) => {
                let token = connection.client()?.revoke_token(&id, &Client::new_key()).await?;
                match form {
                    Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "token": token}))?,
                    Form::Text => out::say(&format!("token {} of `{}` counts no more", token.id, token.user)),
                }
            }
            Verb::Ls(connection) => list(&connection.client()?.tokens().await?, form)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

impl Target {
    /// Refuses a file that is there, before a token is made that nobody would ever see.
    fn free(&self) -> Result<(), Failure> {
        match &self.out {
            Some(path) if path.symlink_metadata().is_ok() => {
                let failure =
                    Failure::usage(format!("`{}` is there already, and nothing is overwritten", path.display()));
                Err(failure.hint("name a file that is not there yet"))
            }
            _ => Ok(()),
        }
    }
}

fn seconds_until(when: &str) -> Result<u64, Failure> {
    let left_ms = keys::moment(when)?.saturating_sub(keys::now_ms());
    if left_ms == 0 {
        return Err(Failure::usage(format!("--expires `{when}` is over already")));
    }
    Ok(left_ms.div_ceil(1000))
}

fn hand_over(new: &NewTokenView, to: &Target, form: Form) -> Result<(), Failure> {
    if let Some(path) = &to.out {
        write(path, &new.secret).map_err(|error| {
            let failure = Failure::file("the token was made, but it cannot be written to", path, &error);
            failure.hint(format!("end it with `manta token revoke {}`, and make another", new.token.id))
        })?;
    }
    let TokenView { id, user, role, expires_ms, .. } = &new.token;
    match (form, &to.out) {
        (Form::Json, None) => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "token": new})),
        (Form::Json, Some(_)) => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "token": new.token})),
        (Form::Text, place) => {
            if place.is_none() {
                out::put(&format!("{}\n", new.secret))?;
            }
            out::say(&format!("token {id} of `{user}`, {role}, until {}", iso(*expires_ms)));
            match place {
                Some(path) => out::say(&format!("to use it: MANTA_TOKEN_FILE='{}'", path.display())),
                None => out::say("it is shown this once: keep it where only its user can read it"),
            }
            Ok(())
        }
    }
}

fn write(path: &Path, secret: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}

fn list(tokens: &[TokenView], form: Form) -> Result<(), Failure> {
    if form == Form::Json {
        return out::put_json(&json!({"schema_version": SCHEMA_VERSION, "tokens": tokens}));
    }
    if tokens.is_empty() {
        out::say("there is no token; `manta token new` makes one");
        return Ok(());
    }
    let now_ms = keys::now_ms();
    let mut table = Table::new(&["ID", "USER", "ROLE", "STATE", "EXPIRES", "USED"]);
    for TokenView { id, user, role, state, expires_ms, used_ms, .. } in tokens {
        let used = used_ms.map_or_else(|| "never".to_owned(), |used_ms| ago(used_ms, now_ms));
        table.row(vec![id.clone(), user.clone(), role.to_string(), state.clone(), iso(*expires_ms), used]);
    }
    out::put(&table.render(out::width()))
}
