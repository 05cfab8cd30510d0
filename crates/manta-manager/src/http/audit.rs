//! The audit log: what is noted of a request, and what people read of it.
use std::fmt::Write;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use manta_api::{AuditVerdictView, AuditView};
use manta_store::{AuditEntry, AuditFilter, AuditRecord};
use manta_types::ClusterId;
use manta_types::name::printable;

use super::access::Access;
use super::auth::named_cluster;
use super::call::{Answer, Call, KEY_HEADER, json};
use super::problem::Told;
use super::routes::Route;
use crate::app::App;
use crate::bearer::{Identity, Source};
use crate::clusters::Clusters;

/// Characters of a text of the client's that are noted.
const TEXT_CHARS_MAX: usize = 255;
/// Records in one answer, unless it asks for fewer.
const RECORDS_MAX: usize = 1_000;

/// What an answer made, as the audit log is to name it; in the answer's extensions.
#[derive(Debug, Clone)]
pub(super) struct Made(pub(super) String);

/// Whom an answer let in, as the audit log is to name them; in the answer's extensions.
#[derive(Debug, Clone)]
pub(super) struct SignedIn(pub(super) Identity);

/// Notes in an answer what it made.
pub(super) fn made(mut response: Response, object: impl Into<String>) -> Response {
    response.extensions_mut().insert(Made(object.into()));
    response
}

/// The cluster that an answer concerns, where the request named none; in the answer's extensions.
#[derive(Debug, Clone)]
struct Concerned(ClusterId);

/// Notes in an answer which cluster it concerns.
pub(super) fn concerning(mut response: Response, cluster: &ClusterId) -> Response {
    response.extensions_mut().insert(Concerned(cluster.clone()));
    response
}

/// What is noted of a request, read before it is answered.
pub(super) struct Asked {
    /// Wall clock, ms since 1970.
    pub(super) time_ms: u64,
    entry: AuditEntry,
}

impl Asked {
    pub(super) fn of(clusters: &Clusters, request: &Request, row: Option<&Route>) -> Self {
        let time_ms = clusters.shared().clock.now().wall_ms;
        // What concerns no cluster, or none that is there, is in the first one's log.
        let named = named_cluster(request).filter(|_| row.is_none_or(|row| row.access != Access::Administrator));
        let of = named.and_then(|name| clusters.get(name));
        let cluster = of.map_or_else(|| clusters.first().cluster.clone(), |app| app.cluster.clone());
        let source = request.extensions().get::<Source>().map_or_else(String::new, |source| source.0.to_string());
        let key = request.headers().get(KEY_HEADER).map(|key| String::from_utf8_lossy(key.as_bytes()));
        let entry = AuditEntry {
            time_ms,
            cluster,
            who: String::new(),
            token: None,
            source,
            method: request.method().to_string(),
            route: row.map_or_else(String::new, |row| row.path.to_owned()),
            object: printable(request.uri().path(), TEXT_CHARS_MAX),
            outcome: String::new(),
            key: key.map(|key| printable(&key, TEXT_CHARS_MAX)),
        };
        Self { time_ms, entry }
    }

    /// It is found out which cluster it concerns.
    pub(super) fn concerns(&mut self, cluster: &ClusterId) {
        self.entry.cluster = cluster.clone();
    }

    /// The record of what came of it.
    pub(super) fn entry(self, who: &Identity, outcome: &str) -> AuditEntry {
        let token = who.token().map(str::to_owned);
        AuditEntry { who: who.to_string(), token, outcome: outcome.to_owned(), ..self.entry }
    }

    /// The same, read from the answer.
    pub(super) fn entry_of(self, who: &Identity, response: &Response) -> AuditEntry {
        let outcome = match response.extensions().get::<Told>() {
            Some(Told(code)) => code.clone(),
            None if response.status().is_success() => "done".to_owned(),
            None => format!("status {}", response.status().as_u16()),
        };
        let who = response.extensions().get::<SignedIn>().map_or(who, |SignedIn(who)| who);
        let mut entry = self.entry(who, &outcome);
        if let Some(Concerned(cluster)) = response.extensions().get() {
            entry.cluster = cluster.clone();
        }
        if let Some(Made(object)) = response.extensions().get() {
            entry.object.push(' ');
            entry.object.push_str(&printable(object, TEXT_CHARS_MAX));
        }
        entry
    }
}

pub(super) async fn read(app: App, call: Call) -> Answer {
    let filter = AuditFilter {
        cluster: Some(app.cluster.clone()),
        after: call.query("after")?.unwrap_or(0),
        // What a cluster did that had the name before is not this one's to read.
        since_ms: call.query("since_ms")?.unwrap_or(0).max(app.created_ms),
        who: call.query("user")?,
    };
    let limit = call.query::<usize>("limit")?.unwrap_or(RECORDS_MAX).min(RECORDS_MAX);
    let records = app.people.audit(filter, limit).await?;
    json(StatusCode::OK, &records.into_iter().map(view).collect::<Vec<_>>())
}

pub(super) async fn verdict(app: App, call: Call) -> Answer {
    let (verdict, noted) = app.people.audit_verdict(call.query("seq")?).await?;
    let view = AuditVerdictView {
        records: verdict.records,
        first_seq: verdict.head.first_seq,
        head_seq: verdict.head.seq,
        head: hex(&verdict.head.digest),
        noted: noted.map(|digest| hex(&digest)),
        damage: verdict.damage,
    };
    json(StatusCode::OK, &view)
}

fn view(record: AuditRecord) -> AuditView {
    let AuditRecord { seq, entry, digest } = record;
    let AuditEntry { time_ms, cluster: _, who, token, source, method, route, object, outcome, key } = entry;
    AuditView { seq, time_ms, who, token, source, method, route, object, outcome, key, digest: hex(&digest) }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes any text");
        text
    })
}
