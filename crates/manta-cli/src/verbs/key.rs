//! `manta key`: the keys with which this user signs modules.
use std::process::ExitCode;

use clap::Subcommand;
use manta_api::version::SCHEMA_VERSION;
use serde_json::{Value, json};

use crate::keys::{self, Key};
use crate::out;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::iso;

/// Verbs of keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a key; its secret half stays in a file that only you can read.
    New(NewArgs),
    /// List your keys.
    Ls,
    /// Show a key's public half, to hand out to whoever is to trust it.
    Show(ShowArgs),
}

/// Options of `manta key new`.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// What you call it: lower-case letters, digits, `-`, `_` and `.`.
    name: String,

    /// When it ends, with all that it signed: a date (2027-06-30) or a time from now (365d) [default: never].
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
}

/// Options of `manta key show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Its name, or its file.
    key: String,
}

/// Does what the command line says.
pub(crate) fn main(verb: Verb, form: Form) -> Result<ExitCode, Failure> {
    match verb {
        Verb::New(args) => {
            let expires = args.expires.as_deref().map(keys::moment).transpose()?;
            let key = keys::make(&args.name, expires)?;
            show(&key, form)?;
            if form == Form::Text {
                out::say(&format!(
                    "its secret half is in `{}`: keep it, and hand out the line above",
                    key.path.display()
                ));
            }
        }
        Verb::Show(args) => show(&keys::open(&args.key)?, form)?,
        Verb::Ls => list(form)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The public half alone is data; a person reads what belongs to it on standard error.
fn show(key: &Key, form: Form) -> Result<(), Failure> {
    if form == Form::Json {
        return out::put_json(&json!({"schema_version": SCHEMA_VERSION, "key": document(key)}));
    }
    let public = key.secret.public();
    out::put(&format!("{public}\n"))?;
    let expires = key.expires_ms.map_or_else(|| "never expires".to_owned(), |end| format!("expires {}", iso(end)));
    out::say(&format!("key `{}`, fingerprint {}, {expires}", key.name, public.fingerprint()));
    Ok(())
}

fn document(key: &Key) -> Value {
    let public = key.secret.public();
    json!({
        "name": key.name,
        "public": public.to_string(),
        "fingerprint": public.fingerprint(),
        "created_ms": key.created_ms,
        "expires_ms": key.expires_ms,
        "path": key.path,
    })
}

fn list(form: Form) -> Result<(), Failure> {
    let all = keys::all()?;
    if form == Form::Json {
        let of = |(name, key): &(String, Result<Key, Failure>)| match key {
            Ok(key) => document(key),
            Err(failure) => json!({"name": name, "problem": failure.message}),
        };
        let documents: Vec<Value> = all.iter().map(of).collect();
        return out::put_json(&json!({"schema_version": SCHEMA_VERSION, "keys": documents}));
    }
    if all.is_empty() {
        out::say("you have no key; `manta key new NAME` makes one");
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "FINGERPRINT", "MADE", "EXPIRES"]);
    for (name, key) in all {
        match key {
            Ok(key) => {
                let expires = key.expires_ms.map_or_else(|| "never".to_owned(), iso);
                table.row(vec![name, key.secret.public().fingerprint().short(), iso(key.created_ms), expires]);
            }
            Err(failure) => out::say(&format!("warning: {}", failure.message)),
        }
    }
    out::put(&table.render(out::width()))
}
