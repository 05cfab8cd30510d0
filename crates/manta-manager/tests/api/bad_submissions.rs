//! Every bad submission of `bad_submissions/rows.jsonl`: refused in one sentence that names the place, and
//! without a trace.
//!
//! A row is a change to a good submission of three tasks over one module (`set`, `remove`, `fill`, …), or a `body` of its
//! own, with the answer that it gets: `status`, `code`, the command line's `exit` code, and words of the sentence.
use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use manta_api::ErrorCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::harness::{Answer, Manager, tcp};
use crate::node::{connect, hello};

const ROWS: &str = include_str!("bad_submissions/rows.jsonl");
/// Characters of a sentence that still is one.
const SENTENCE_CHARS_MAX: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    why: String,
    status: u16,
    code: String,
    exit: u8,
    says: Vec<String>,
    /// Pointer → value put there.
    #[serde(default)]
    set: BTreeMap<String, Value>,
    /// Pointers taken out.
    #[serde(default)]
    remove: Vec<String>,
    /// Pointer → a text so many times.
    #[serde(default)]
    fill: BTreeMap<String, (String, usize)>,
    /// Pointer → a list of so many copies, of the list's own first entry where none is given.
    #[serde(default)]
    copies: BTreeMap<String, (Value, usize)>,
    /// Pointer → JSON that a document cannot hold.
    #[serde(default)]
    text: BTreeMap<String, String>,
    /// Globals of these names.
    #[serde(default)]
    globals: Vec<String>,
    globals_count: Option<usize>,
    labels_count: Option<usize>,
    /// So many tasks.
    tasks: Option<usize>,
    /// So many predecessors of one task.
    edges: Option<usize>,
    /// A further field whose name is a text so many times.
    field: Option<(String, usize)>,
    /// All of it.
    body: Option<String>,
    /// Lists within lists, so deep.
    deep: Option<usize>,
    /// What follows the document.
    #[serde(default)]
    suffix: String,
    /// So many spaces after the document.
    #[serde(default)]
    spaces: usize,
}

fn rows() -> Vec<Row> {
    ROWS.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Puts a value where a pointer says, in an object or at the end of a list.
fn put(document: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}")) {
        Value::Object(members) => drop(members.insert(key.to_owned(), value)),
        Value::Array(entries) if key.parse() == Ok(entries.len()) => entries.push(value),
        Value::Array(entries) => entries[key.parse::<usize>().unwrap()] = value,
        other => panic!("nothing can stand below {other}"),
    }
}

fn take(document: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
}

impl Row {
    fn body(&self, good: &Value) -> Vec<u8> {
        if let Some(body) = &self.body {
            return body.clone().into_bytes();
        }
        if let Some(deep) = self.deep {
            return "[".repeat(deep).into_bytes();
        }
        let mut document = good.clone();
        self.change(&mut document);
        let mut body = document.to_string();
        for (at, text) in self.text.values().enumerate() {
            body = body.replace(&format!("\"@{at}\""), text);
        }
        body.push_str(&self.suffix);
        body.extend(std::iter::repeat_n(' ', self.spaces));
        body.into_bytes()
    }

    fn change(&self, document: &mut Value) {
        let blob = json!({"digest": "0".repeat(64), "size": 1});
        let many = |count: usize, value: Value| -> Value {
            (0..count).map(|index| (format!("n{index}"), value.clone())).collect::<Map<_, _>>().into()
        };
        self.set.iter().for_each(|(pointer, value)| put(document, pointer, value.clone()));
        self.remove.iter().for_each(|pointer| take(document, pointer));
        for (pointer, (text, times)) in &self.fill {
            put(document, pointer, text.repeat(*times).into());
        }
        for (pointer, (value, count)) in &self.copies {
            let own = document.pointer(&format!("{pointer}/0")).cloned().unwrap_or_default();
            let one = if value.is_null() { &own } else { value };
            put(document, pointer, vec![one.clone(); *count].into());
        }
        for (at, pointer) in self.text.keys().enumerate() {
            put(document, pointer, format!("@{at}").into());
        }
        if !self.globals.is_empty() {
            let globals = self.globals.iter().map(|name| (name.clone(), blob.clone())).collect::<Map<_, _>>();
            put(document, "/globals", globals.into());
        }
        if let Some(count) = self.globals_count {
            put(document, "/globals", many(count, blob));
        }
        if let Some(count) = self.labels_count {
            put(document, "/tasks/1/labels", many(count, "x".into()));
        }
        if let Some(count) = self.tasks {
            let task = |index| json!({"alias": format!("t{index}"), "module": 0, "method": "all"});
            put(document, "/tasks", (0..count).map(task).collect::<Vec<_>>().into());
        }
        if let Some(count) = self.edges {
            put(document, "/tasks/1/after", vec![0; count].into());
        }
        if let Some((text, times)) = &self.field {
            put(document, &format!("/{}", text.repeat(*times)), 1.into());
        }
    }
}

/// What is wrong with an answer: it is not as the row says, or not one line that anyone may print.
fn complaint(row: &Row, answer: &Answer) -> Option<String> {
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    let sentence = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    let exit = ErrorCode::from_code(&answer.code()).map_or(0, ErrorCode::exit);
    let lacking = row.says.iter().find(|word| !sentence.contains(word.as_str()));
    let is_right = (answer.status.as_u16(), answer.code()) == (row.status, row.code.clone())
        && (exit == row.exit && exit != 0)
        && lacking.is_none()
        && (1..=SENTENCE_CHARS_MAX).contains(&sentence.chars().count())
        && !sentence.contains(unseen);
    let shown: String = sentence.chars().take(SENTENCE_CHARS_MAX).collect();
    let got = format!("{} {} exit {exit}: {shown:?} lacks {lacking:?}", answer.status, answer.code());
    (!is_right).then(|| format!("{}: {got}", row.why))
}

async fn good(manager: &Manager) -> Value {
    let module = manager.put_module("worker", &[]).await;
    let task = |index: usize| {
        let after: Vec<_> = index.checked_sub(1).into_iter().collect();
        json!({"alias": format!("worker-{index}"), "module": 0, "after": after, "method": "all", "excepted": []})
    };
    json!({"name": "good", "globals": {}, "modules": [module], "tasks": (0..3).map(task).collect::<Vec<_>>()})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_submission_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let manager = Manager::start(dir.path(), tcp()).await;
    let _node = connect(&manager, hello("node-1")).await;
    let (good, rows) = (good(&manager).await, rows());
    let bodies: Vec<_> = rows.iter().map(|row| Bytes::from(row.body(&good))).collect();
    assert!(rows.len() >= 150, "{}", rows.len());
    let mut complaints = Vec::new();
    for (row, body) in rows.iter().zip(bodies) {
        let answer = manager.call(Method::POST, "/swarms", body).await;
        complaints.extend(complaint(row, &answer));
    }
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), rows.len(), complaints.join("\n"));
    assert_eq!(manager.get("/swarms").await.json(), json!([]), "nothing was kept");
    assert!(manager.submit(&good).await.status.is_success(), "what they were made from is good");
    manager.stop().await.unwrap();
}
