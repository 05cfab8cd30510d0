//! `manta limits`: every limit that is built in, as the code names it.
use std::process::ExitCode;
use std::time::Duration;

use manta_api::version::SCHEMA_VERSION;
use serde::Serialize;
use serde_json::json;

use crate::out;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::one_line;

/// Columns of what a limit is about.
const ABOUT_CHARS: usize = 90;

/// Options of `manta limits`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those whose name or description holds this text.
    #[arg(value_name = "TEXT")]
    text: Option<String>,
}

/// A limit.
#[derive(Debug, Serialize)]
struct Limit {
    name: String,
    value: String,
    about: &'static str,
}

/// What a limit is made of.
trait Value {
    fn text(&self) -> String;
}

macro_rules! numbers {
    ($($kind:ty),+) => { $(impl Value for $kind { fn text(&self) -> String { self.to_string() } })+ };
}
numbers!(usize, u64, u32, i32);

impl Value for Duration {
    fn text(&self) -> String {
        format!("{} s", self.as_secs_f64())
    }
}

/// Every constant of the limits, in the order of the code.
fn all() -> Vec<Limit> {
    let found: Vec<(&str, &dyn Value, &'static str)> = include!(concat!(env!("OUT_DIR"), "/limits.rs"));
    let limit = |(name, value, about): (&str, &dyn Value, _)| Limit {
        name: name.to_ascii_lowercase(),
        value: value.text(),
        about,
    };
    found.into_iter().map(limit).collect()
}

/// Prints the limits.
pub(crate) fn main(args: &Args, form: Form) -> Result<ExitCode, Failure> {
    let wanted = args.text.as_deref().unwrap_or_default().to_lowercase();
    let is_wanted = |limit: &Limit| limit.name.contains(&wanted) || limit.about.to_lowercase().contains(&wanted);
    let limits: Vec<Limit> = all().into_iter().filter(is_wanted).collect();
    if form == Form::Json {
        out::put_json(&json!({"schema_version": SCHEMA_VERSION, "limits": limits}))?;
        return Ok(ExitCode::SUCCESS);
    }
    if limits.is_empty() {
        out::say(&format!("no limit is about `{}`; `manta limits` prints all", one_line(&wanted, 40)));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["LIMIT", "VALUE", "OF"]);
    for Limit { name, value, about } in limits {
        table.row(vec![name, value, one_line(about, ABOUT_CHARS)]);
    }
    out::put(&table.render(out::width()))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_name_a_value_and_words() {
        let limits = all();
        assert!(limits.len() > 60, "{}", limits.len());
        assert!(
            limits.iter().all(|limit| !limit.name.is_empty() && !limit.about.is_empty() && !limit.value.is_empty())
        );
        let tasks = limits.iter().find(|limit| limit.name == "tasks_per_swarm_max").unwrap();
        assert_eq!(tasks.value, manta_types::limits::TASKS_PER_SWARM_MAX.to_string());
    }
}
