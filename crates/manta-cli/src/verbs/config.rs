//! `manta config`: what holds for commands, and where each value comes from.
use std::process::ExitCode;

use clap::Subcommand;
use manta_api::version::SCHEMA_VERSION;
use serde_json::{Value, json};

use crate::connection::{ConnectionArgs, variable};
use crate::report::{Failure, Form};
use crate::settings::{Found, Origin, Secret, Settings};
use crate::table::Table;
use crate::text::one_line;
use crate::{home, out};

/// Verbs of the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show every setting as it holds here and now.
    Show(ShowArgs),
}

/// Options of `manta config show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Say where each value comes from: an option, a variable, a line of a file, or what is built in.
    #[arg(long)]
    origin: bool,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// A setting as it is told.
struct Row {
    name: &'static str,
    value: Option<String>,
    origin: String,
}

/// Does what the command line says.
pub(crate) fn main(verb: &Verb, form: Form) -> Result<ExitCode, Failure> {
    let Verb::Show(args) = verb;
    let rows = rows(&Settings::resolve(&args.connection)?);
    if form == Form::Json {
        let document = |row: &Row| (row.name.to_owned(), json!({"value": row.value, "origin": row.origin}));
        let settings: serde_json::Map<String, Value> = rows.iter().map(document).collect();
        out::put_json(&json!({"schema_version": SCHEMA_VERSION, "settings": settings}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let headers: &[&'static str] = if args.origin { &["SETTING", "VALUE", "ORIGIN"] } else { &["SETTING", "VALUE"] };
    let mut table = Table::new(headers);
    for row in rows {
        let mut cells = vec![row.name.to_owned(), one_line(row.value.as_deref().unwrap_or("-"), 60)];
        if args.origin {
            cells.push(one_line(&row.origin, 100));
        }
        table.row(cells);
    }
    out::put(&table.render(out::width()))?;
    Ok(ExitCode::SUCCESS)
}

fn rows(settings: &Settings) -> Vec<Row> {
    fn row<T>(name: &'static str, found: Option<&Found<T>>, told: impl Fn(&T) -> String) -> Row {
        let origin = found.map_or(Origin::Default, |found| found.origin.clone());
        Row { name, value: found.map(|found| told(&found.value)), origin: origin.to_string() }
    }
    let log = variable("MANTA_LOG").map(|value| Found { value, origin: Origin::Variable("MANTA_LOG") });
    let place = |name, folder: Option<std::path::PathBuf>, xdg| {
        let set = ["MANTA_HOME", xdg].into_iter().find(|name| variable(name).is_some());
        let from = set.unwrap_or("default");
        Row { name, value: folder.map(|folder| folder.display().to_string()), origin: from.to_owned() }
    };
    vec![
        row("context", settings.context.as_ref(), String::clone),
        row("manager", Some(&settings.manager), String::clone),
        row("cluster", Some(&settings.cluster), String::clone),
        row("token", settings.token.as_ref(), |secret| match secret {
            Secret::Token(_) => "kept, and never shown".to_owned(),
            Secret::File(path) => format!("in {}", path.display()),
        }),
        row("ca_file", settings.ca_file.as_ref(), |path| path.display().to_string()),
        row("python", settings.python.as_ref(), |path| path.display().to_string()),
        row("registry", settings.registry.as_ref(), String::clone),
        row("wait_timeout", settings.wait_timeout.as_ref(), |span| format!("{}s", span.as_secs())),
        row("log", log.as_ref(), String::clone),
        place("config_dir", home::config(), "XDG_CONFIG_HOME"),
        place("data_dir", home::data(), "XDG_DATA_HOME"),
        place("cache_dir", home::cache(), "XDG_CACHE_HOME"),
    ]
}
