//! `manta context`: named managers, and which of them commands speak to.
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use manta_api::ErrorCode;
use manta_api::version::SCHEMA_VERSION;
use serde_json::{Value, json};

use crate::connection::{endpoint, parse_cluster};
use crate::report::{Failure, Form};
use crate::settings::{self, Context, Files, Found, NewContext, Secret};
use crate::table::Table;
use crate::text::one_line;
use crate::{out, settings::Origin};

/// Bytes of a token; more is not one.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Verbs of contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List contexts; the current one has a star.
    Ls,
    /// Show a context: its address, and where its token is kept.
    Show(ShowArgs),
    /// Make a context the current one: commands speak to its manager from now on.
    Use(NameArgs),
    /// Add a context; the first one is the current one.
    Add(AddArgs),
    /// Take a context away, with the token that is kept for it.
    Rm(NameArgs),
}

/// Options of `manta context use` and `manta context rm`.
#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    /// The context's name.
    name: String,
}

/// Options of `manta context show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The context's name [default: the current one].
    name: Option<String>,
}

/// Options of `manta context add`.
#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// What you call it: lower-case letters, digits, `-`, `_` and `.`.
    name: String,

    /// The manager's address.
    #[arg(long, value_name = "URL")]
    manager: String,

    /// The cluster [default: `default`].
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    /// A file that holds the token, and stays where it is.
    #[arg(long, value_name = "FILE", conflicts_with = "token_stdin")]
    token_file: Option<PathBuf>,

    /// Read the token from standard input, and keep it where only you can read it.
    #[arg(long)]
    token_stdin: bool,

    /// A file with the certificates that the manager's is checked against.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Make it the current one.
    #[arg(long = "use")]
    make_current: bool,
}

/// Does what the command line says.
pub(crate) fn main(verb: Verb, form: Form) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Ls => list(form)?,
        Verb::Show(args) => show(args.name, form)?,
        Verb::Use(NameArgs { name }) => {
            settings::make_current(&name)?;
            told(form, &name, &format!("commands speak to context {name} from now on; `manta ls` asks it"))?;
        }
        Verb::Rm(NameArgs { name }) => {
            let next = if settings::remove(&name)? {
                "; no context is current now, `manta context use NAME` chooses"
            } else {
                ""
            };
            told(form, &name, &format!("context {name} is gone{next}"))?;
        }
        Verb::Add(args) => add(&args, form)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn told(form: Form, name: &str, sentence: &str) -> Result<(), Failure> {
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "context": name})),
        Form::Text => {
            out::say(sentence);
            Ok(())
        }
    }
}

fn add(args: &AddArgs, form: Form) -> Result<(), Failure> {
    endpoint(&args.manager)?;
    parse_cluster(args.cluster.as_deref())?;
    let token = if args.token_stdin { Some(token_from_stdin()?) } else { None };
    let (token_file, ca_file) = (present(args.token_file.as_deref())?, present(args.ca_file.as_deref())?);
    let name = args.name.as_str();
    let is_current = settings::add(&NewContext {
        name,
        manager: &args.manager,
        cluster: args.cluster.as_deref(),
        token_file: token_file.as_deref(),
        token: token.as_deref(),
        ca_file: ca_file.as_deref(),
    })?;
    if args.make_current && !is_current {
        settings::make_current(name)?;
    }
    let next = match (is_current || args.make_current, token.is_some() || token_file.is_some()) {
        (_, false) => " without a token: MANTA_TOKEN or MANTA_TOKEN_FILE has to be set".to_owned(),
        (true, true) => " and is the current one; `manta ls` asks it".to_owned(),
        (false, true) => format!("; `manta context use {name}` makes it the current one"),
    };
    told(form, name, &format!("context {name} was added{next}"))
}

/// A file as an absolute path, so that it means the same from everywhere.
fn present(path: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let failed = |error: std::io::Error| Failure::file("the file cannot be read:", path, &error);
    std::fs::File::open(path).map_err(failed)?;
    std::path::absolute(path).map(Some).map_err(failed)
}

fn token_from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::usage(format!("standard input cannot be read: {error}")))?;
    let token = text.trim();
    let is_token = !token.is_empty() && token.len() as u64 <= TOKEN_BYTES_MAX;
    if is_token && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(token.to_owned());
    }
    Err(Failure::usage("standard input does not hold one token").hint("manta context add NAME … --token-stdin < FILE"))
}

fn show(name: Option<String>, form: Form) -> Result<(), Failure> {
    let files = Files::read()?;
    let name = match name.or_else(|| files.current().map(|found| found.value.clone())) {
        Some(name) => name,
        None => {
            let failure = Failure::new(ErrorCode::NotFound, "no context is current");
            return Err(failure.hint("`manta context ls` lists them, `manta context use NAME` chooses one"));
        }
    };
    let context = files.context(&name)?;
    let document = document(&files, &name, context)?;
    if form == Form::Json {
        return out::put_json(&json!({"schema_version": SCHEMA_VERSION, "context": document}));
    }
    let text = |key: &str| document[key].as_str().unwrap_or("-").to_owned();
    out::put(&format!(
        "{name}\nmanager  {}\ncluster  {}\ntoken    {}\nca file  {}\n",
        one_line(&text("manager"), 200),
        text("cluster"),
        text("token_from"),
        text("ca_file"),
    ))
}

fn list(form: Form) -> Result<(), Failure> {
    let files = Files::read()?;
    let all = &files.user.contexts;
    let documents: Result<Vec<Value>, Failure> =
        all.iter().map(|(name, context)| document(&files, name, context)).collect();
    let documents = documents?;
    if form == Form::Json {
        return out::put_json(&json!({"schema_version": SCHEMA_VERSION, "contexts": documents}));
    }
    if documents.is_empty() {
        out::say("there are no contexts yet; `manta context add NAME --manager URL --token-file FILE` adds one");
        return Ok(());
    }
    let mut table = Table::new(&["", "NAME", "MANAGER", "CLUSTER", "TOKEN"]);
    for document in &documents {
        let text = |key: &str| one_line(document[key].as_str().unwrap_or("-"), 60);
        let star = if document["current"] == true { "*" } else { "" };
        table.row(vec![star.to_owned(), text("name"), text("manager"), text("cluster"), text("token_from")]);
    }
    out::put(&table.render(out::width()))
}

/// A context as data; the token itself is never told.
fn document(files: &Files, name: &str, context: &Context) -> Result<Value, Failure> {
    let is_current = files.current().is_some_and(|current| current.value == name);
    let plain = |found: &Option<Found<String>>| found.as_ref().map(|found| found.value.clone());
    let token_from = files.secret(name, context)?.map(|found| match (found.value, found.origin) {
        (Secret::File(path), _) | (Secret::Token(_), Origin::Secret(path)) => path.display().to_string(),
        (Secret::Token(_), origin) => origin.to_string(),
    });
    Ok(json!({
        "name": name,
        "current": is_current,
        "manager": context.manager.value,
        "cluster": plain(&context.cluster).unwrap_or_else(|| crate::connection::CLUSTER_DEFAULT.to_owned()),
        "token_from": token_from,
        "ca_file": plain(&context.ca_file),
    }))
}
