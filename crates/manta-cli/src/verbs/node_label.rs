//! `manta node label`: labels that people give to a node.
use std::process::ExitCode;

use manta_api::LabelRequest;
use manta_api::version::SCHEMA_VERSION;
use manta_client::Client;
use serde_json::json;

use crate::data::parse_label;
use crate::report::{Failure, Form};
use crate::text::clean;
use crate::{connection, out};

/// Options of `manta node label`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node's name.
    name: String,

    /// `KEY=VALUE` gives a label, `KEY-` takes one away; several may follow. Labels that the site gave the node stay.
    #[arg(required = true, value_name = "KEY=VALUE|KEY-", allow_hyphen_values = true)]
    labels: Vec<String>,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Labels a node.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let asked = read(&args.labels)?;
    let node = args.connection.client()?.label_node(&args.name, &asked, &Client::new_key()).await?;
    match form {
        Form::Json => out::put_json(&json!({"schema_version": SCHEMA_VERSION, "node": node}))?,
        Form::Text => {
            let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let labels = if labels.is_empty() { "no labels".to_owned() } else { labels.join(", ") };
            out::say(&format!("node {} carries {}", clean(&node.name), clean(&labels)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(labels: &[String]) -> Result<LabelRequest, Failure> {
    let mut asked = LabelRequest::default();
    for text in labels {
        if text.contains('=') {
            let (key, value) = parse_label(text)?;
            asked.set.insert(key, value);
        } else if let Some(key) = text.strip_suffix('-').filter(|key| !key.is_empty()) {
            asked.unset.push(key.to_owned());
        } else {
            return Err(Failure::usage(format!("`{text}` is neither KEY=VALUE nor KEY-")));
        }
    }
    if let Some(both) = asked.unset.iter().find(|key| asked.set.contains_key(*key)) {
        return Err(Failure::usage(format!("the label `{both}` is both given and taken away")));
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_given_with_a_value_and_taken_away_with_a_hyphen() {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let asked = read(&texts(&["site=a", "gpu-"])).unwrap();
        assert_eq!((asked.set["site"].as_str(), asked.unset.as_slice()), ("a", &["gpu".to_owned()][..]));
        for bad in [&["site"][..], &["-"], &["a=1", "a-"]] {
            assert!(read(&texts(bad)).is_err(), "{bad:?}");
        }
    }
}
