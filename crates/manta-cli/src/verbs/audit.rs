//! `manta audit`: what was done to a cluster and what was denied, and whether the record of it is whole.
use std::process::ExitCode;

use clap::Subcommand;
use manta_api::version::SCHEMA_VERSION;
use manta_api::{AuditVerdictView, AuditView};
use manta_client::AuditFilter;
use serde_json::json;

use crate::connection::ConnectionArgs;
use crate::report::{Failure, Form};
use crate::table::Table;
use crate::text::{count, iso, one_line};
use crate::{keys, out};

/// Columns of an object in a table.
const OBJECT_CHARS: usize = 72;

/// Options of `manta audit`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    read: ReadArgs,
}

/// What else is done with the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Say whether every record is what was written: 1 where one was changed, removed or moved.
    Verify(VerifyArgs),
}

/// Options of `manta audit` itself.
#[derive(Debug, clap::Args)]
pub(crate) struct ReadArgs {
    /// Only what happened since then: a time ago (1h, 7d), a date or an instant.
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,

    /// Only what this user did.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// At most so many records, the newest.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Options of `manta audit verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// What an earlier verification printed as the log's head: then nobody can have written the whole log anew.
    #[arg(long, value_name = "SEQ:DIGEST")]
    expect: Option<String>,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Prints the audit log, or verifies it.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    match args.verb {
        Some(Verb::Verify(args)) => verify(args, form).await,
        None => read(args.read, form).await,
    }
}

async fn read(args: ReadArgs, form: Form) -> Result<ExitCode, Failure> {
    let since_ms = args.since.as_deref().map(since).transpose()?;
    let filter = AuditFilter { since_ms, user: args.user, after: None, limit: Some(args.limit) };
    let records = args.connection.client()?.audit(&filter).await?;
    if form == Form::Json {
        out::put_json(&json!({"schema_version": SCHEMA_VERSION, "records": records}))?;
        return Ok(ExitCode::SUCCESS);
    }
    if records.is_empty() {
        out::say("nothing was done and nothing was denied in that time");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(&["SEQ", "TIME", "WHO", "FROM", "OUTCOME", "WHAT"]);
    for AuditView { seq, time_ms, who, source, method, object, outcome, .. } in records {
        let what = one_line(&format!("{method} {object}"), OBJECT_CHARS);
        table.row(vec![seq.to_string(), iso(time_ms), who, source, one_line(&outcome, 40), what]);
    }
    out::put(&table.render(out::width()))?;
    Ok(ExitCode::SUCCESS)
}

async fn verify(args: VerifyArgs, form: Form) -> Result<ExitCode, Failure> {
    let expected = args.expect.as_deref().map(head).transpose()?;
    let mut verdict = args.connection.client()?.audit_verdict(expected.map(|(seq, _)| seq)).await?;
    let problem = expected.and_then(|(seq, digest)| differs(&verdict, seq, digest));
    verdict.damage.extend(problem);
    let AuditVerdictView { records, head_seq, head, damage, .. } = &verdict;
    if form == Form::Json {
        out::put_json(&json!({"schema_version": SCHEMA_VERSION, "verdict": verdict}))?;
    } else {
        for problem in damage {
            out::put(&format!("{problem}\n"))?;
        }
        let records = count(usize::try_from(*records).unwrap_or(usize::MAX), "record");
        let whole = if damage.is_empty() { "each as it was written" } else { "and not as they were written" };
        out::say(&format!("read {records}, {whole}"));
        out::say(&format!("the head is {head_seq}:{head}; keep it elsewhere, and compare with --expect"));
    }
    Ok(if damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is wrong where a record is not the one that was noted.
fn differs(verdict: &AuditVerdictView, seq: u64, digest: &str) -> Option<String> {
    match &verdict.noted {
        Some(found) if found == digest => None,
        Some(_) => Some(format!("record {seq} is not the one that was noted: the log was written anew")),
        None if seq < verdict.first_seq => Some(format!("record {seq} was forgotten, so it proves nothing any more")),
        None => Some(format!("record {seq} was noted, and the log has none of that number")),
    }
}

fn head(text: &str) -> Result<(u64, &str), Failure> {
    let read = text.split_once(':').and_then(|(seq, digest)| Some((seq.parse().ok()?, digest)));
    let is_digest = |digest: &str| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    read.filter(|(seq, digest)| *seq > 0 && is_digest(digest)).ok_or_else(|| {
        let failure = Failure::usage(format!("--expect `{}` is no head of a log", one_line(text, 80)));
        failure.hint("write what `manta audit verify` printed: a number, a colon and 64 hexadecimal digits")
    })
}

/// A moment of the past: a time ago, a date or an instant.
fn since(text: &str) -> Result<u64, Failure> {
    let utc = jiff::tz::TimeZone::UTC;
    let ago = || {
        let span: jiff::Span = text.parse().ok()?;
        let then = jiff::Timestamp::now().to_zoned(utc).checked_sub(span).ok()?;
        u64::try_from(then.timestamp().as_millisecond()).ok()
    };
    let is_date = text.get(..5).is_some_and(|year| year.ends_with('-'));
    match if is_date { None } else { ago() } {
        Some(ms) => Ok(ms),
        None => keys::moment(text).map_err(|failure| Failure {
            hint: Some("write a time ago such as 1h or 7d, a date or an instant".to_owned()),
            ..failure
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_the_past_is_a_time_ago_or_a_date() {
        for (ago, ms) in [("1h", 3_600_000), ("7d", 7 * 24 * 3_600_000)] {
            let then = since(ago).unwrap();
            let span = keys::now_ms() - then;
            assert!((ms..ms + 60_000).contains(&span), "{ago}: {span}");
        }
        assert_eq!(since("2026-01-01").unwrap(), 1_767_225_600_000);
        assert_eq!(since("2026-01-01T00:00:01Z").unwrap(), 1_767_225_601_000);
        for wrong in ["", "yesterday", "1x", "é"] {
            assert_eq!(since(wrong).unwrap_err().exit, 2, "{wrong}");
        }
    }

    #[test]
    fn a_head_is_a_number_and_a_digest() {
        let digest = "a".repeat(64);
        assert_eq!(head(&format!("7:{digest}")).unwrap(), (7, digest.as_str()));
        for wrong in ["", "7", "7:ab", &format!("0:{digest}"), &format!("x:{digest}")] {
            assert_eq!(head(wrong).unwrap_err().exit, 2, "{wrong}");
        }
    }

    #[test]
    fn a_log_that_was_written_anew_differs_from_the_head_that_was_noted() {
        let (head, damage) = (String::new(), Vec::new());
        let mut verdict =
            AuditVerdictView { records: 2, first_seq: 2, head_seq: 3, head, noted: Some("aa".to_owned()), damage };
        assert_eq!(differs(&verdict, 3, "aa"), None);
        assert!(differs(&verdict, 3, "bb").unwrap().contains("written anew"));
        verdict.noted = None;
        assert!(differs(&verdict, 1, "aa").unwrap().contains("forgotten"));
        assert!(differs(&verdict, 9, "aa").unwrap().contains("none of that number"));
    }
}
