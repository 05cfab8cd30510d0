//! `manta node audit`: what ran on this machine, with which datasets, what was refused, and what left. It reads the node's own
//! file, and asks neither agent nor manager.
use std::collections::BTreeMap;
use std::process::ExitCode;

use manta_api::audit::{AuditEntry, AuditRecord, AuditWork};
use manta_api::version::SCHEMA_VERSION;
use manta_node::{AUDIT_FILE, AuditFault};
use serde_json::json;

use super::node_data::AgentArgs;
use crate::out;
use crate::report::{Failure, Form};
use crate::text::{bytes, clean, iso};

/// Options of `manta node audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what concerns this dataset.
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,

    /// Print no records: check that none was changed, taken out or put in, and say where the chain ends.
    #[arg(long)]
    verify: bool,

    #[command(flatten)]
    agent: AgentArgs,
}

/// Reads the audit.
pub(crate) fn main(args: &Args, form: Form) -> Result<ExitCode, Failure> {
    let path = args.agent.dir()?.join(AUDIT_FILE);
    let mut records: Vec<AuditRecord> = Vec::new();
    let mut ledger: BTreeMap<String, i64> = BTreeMap::new();
    let mut count = 0;
    let read = manta_node::read_audit(&path, |record| {
        count += 1;
        if let AuditEntry::Egress { datasets, bytes, .. } = &record.entry {
            datasets.iter().for_each(|name| *ledger.entry(name.clone()).or_default() += bytes);
        }
        if args.dataset.as_ref().is_none_or(|dataset| record.entry.concerns(dataset)) {
            records.push(record);
        }
    });
    if let Some(dataset) = &args.dataset {
        ledger.retain(|name, _| name == dataset);
    }
    if let Err(AuditFault::Disk { .. }) = &read {
        return Err(missing(read.err().map(|error| error.to_string()).unwrap_or_default()));
    }
    // What stands before a break is shown all the same, and the break is the outcome.
    let head = read.as_ref().ok();
    match form {
        Form::Json => {
            let told = if args.verify { Vec::new() } else { records };
            let end = head.map(|head| json!({"seq": head.seq, "seal": head.seal}));
            out::put_json(&json!({
                "schema_version": SCHEMA_VERSION,
                "whole": head.is_some(),
                "head": end,
                "egress_bytes": ledger,
                "records": told,
            }))?;
        }
        Form::Text if args.verify => {
            if let Some(head) = head {
                out::put(&format!(
                    "{count} records, none changed; the last, {}, has the seal {}\n",
                    head.seq, head.seal
                ))?;
            }
        }
        Form::Text => out::put(&render(&records, &ledger))?,
    }
    read.map(|_| ExitCode::SUCCESS).map_err(|fault| manta_node::NodeError::from(fault).into())
}

fn missing(problem: String) -> Failure {
    let failure = Failure::new(manta_api::ErrorCode::NotFound, problem);
    failure.hint("name the data directory of a node of this machine, with --data-dir, or the node, with --name")
}

fn render(records: &[AuditRecord], ledger: &BTreeMap<String, i64>) -> String {
    let mut text: String = records
        .iter()
        .map(|record| format!("{:>6}  {}  {}\n", record.seq, iso(record.time_ms), clean(&sentence(&record.entry))))
        .collect();
    if !ledger.is_empty() {
        text.push_str("\nleft so far, of attempts that could open it\n");
        for (dataset, left) in ledger {
            text.push_str(&format!("  {}: {}\n", clean(dataset), bytes(left.unsigned_abs())));
        }
    }
    text
}

fn sentence(entry: &AuditEntry) -> String {
    match entry {
        AuditEntry::Started { agent_version, node } => format!("the agent of {node} started, manta {agent_version}"),
        AuditEntry::Policy { digest: Some(digest) } => format!("the policy is {} from here on", short(digest)),
        AuditEntry::Policy { digest: None } => "there is no policy from here on".to_owned(),
        AuditEntry::DatasetAdded { dataset, path } => format!("dataset {dataset} is offered: {path}"),
        AuditEntry::DatasetRemoved { dataset } => format!("dataset {dataset} is offered no more"),
        AuditEntry::Refused { work, why } => format!("refused {}: {why}", of(work)),
        AuditEntry::Began { work, signers } => {
            let by = if signers.is_empty() { String::new() } else { format!(", signed by {}", signers.join(", ")) };
            format!("ran {}{by}", of(work))
        }
        AuditEntry::Egress { attempt, datasets, what, bytes: left } => {
            format!("{what} of {attempt}, {} of {}", bytes(left.unsigned_abs()), datasets.join(", "))
        }
        AuditEntry::Ended { attempt, outcome } => format!("{attempt} ended: {outcome}"),
        AuditEntry::Continued { seal, .. } => format!("this file goes on from the seal {}", seal.short()),
        AuditEntry::Broken { why, file, .. } => format!("what was before is set aside in {file}: {why}"),
    }
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn of(work: &AuditWork) -> String {
    let AuditWork { attempt, swarm_name, task, iteration, module, version, bundle, datasets, .. } = work;
    let datasets = if datasets.is_empty() { "no dataset".to_owned() } else { datasets.join(", ") };
    let bundle = bundle.short();
    format!("{attempt}: {module} {version} ({bundle}) for {swarm_name}/{task} iteration {iteration}, with {datasets}")
}
