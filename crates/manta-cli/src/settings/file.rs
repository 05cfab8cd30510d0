//! Reads files of settings; every mistake is told with its file, its line, its key and what is known there.
mod manager;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use manta_api::ErrorCode;
use manta_types::name::nearest;
use toml_edit::{Document, Item, Key, TableLike};

pub(crate) use self::manager::issuer;
use super::{Found, Origin};
use crate::report::Failure;
use crate::text::one_line;

/// Bytes of a file of settings.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Keys of a user's file.
const USER_KEYS: [&str; 5] = ["context", "contexts", "python", "registry", "wait_timeout"];
/// Keys of `[tool.manta]` in a project's file: it names a context and never an address, so that a checkout cannot choose
/// where the user's token is sent. `module` is read where modules are packed.
const PROJECT_KEYS: [&str; 5] = ["cluster", "context", "module", "python", "wait_timeout"];
/// Keys of one context.
const CONTEXT_KEYS: [&str; 4] = ["ca_file", "cluster", "manager", "token_file"];

/// What a user's own file says.
#[derive(Debug, Default)]
pub(crate) struct UserFile {
    /// The current context's name.
    pub(crate) context: Option<Found<String>>,
    /// The interpreter.
    pub(crate) python: Option<Found<String>>,
    /// Where published modules are.
    pub(crate) registry: Option<Found<String>>,
    /// How long `manta wait` waits.
    pub(crate) wait_timeout: Option<Found<Duration>>,
    /// All contexts, by name.
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// A manager, and how it is spoken to.
#[derive(Debug)]
pub(crate) struct Context {
    /// Its address.
    pub(crate) manager: Found<String>,
    /// The cluster there.
    pub(crate) cluster: Option<Found<String>>,
    /// The file with the token, where it is not kept with the credentials.
    pub(crate) token_file: Option<Found<String>>,
    /// The file with the certificates that the manager's is checked against.
    pub(crate) ca_file: Option<Found<String>>,
}

/// What a project's file says in `[tool.manta]`.
#[derive(Debug, Default)]
pub(crate) struct ProjectFile {
    /// The context to use.
    pub(crate) context: Option<Found<String>>,
    /// The cluster there.
    pub(crate) cluster: Option<Found<String>>,
    /// The interpreter.
    pub(crate) python: Option<Found<String>>,
    /// How long `manta wait` waits.
    pub(crate) wait_timeout: Option<Found<Duration>>,
}

/// A file's text with its tables.
struct Read<'a> {
    path: &'a Path,
    text: &'a str,
}

/// Reads a user's file; one that is not there says nothing.
pub(crate) fn user(path: &Path) -> Result<UserFile, Failure> {
    let Some(text) = load(path)? else { return Ok(UserFile::default()) };
    let read = Read { path, text: &text };
    let document = read.document()?;
    let table = document.as_table();
    read.known(table, "this file", &USER_KEYS)?;
    let mut contexts = BTreeMap::new();
    if let Some((key, item)) = table.get_key_value("contexts") {
        for (name, inner) in read.table(key, item)?.iter() {
            let (key, _) = read.table(key, item)?.get_key_value(name).expect("it was just listed");
            contexts.insert(name.to_owned(), read.context(name, key, read.table(key, inner)?)?);
        }
    }
    Ok(UserFile {
        context: read.text(table, "context")?,
        python: read.text(table, "python")?,
        registry: read.text(table, "registry")?,
        wait_timeout: read.span(table, "wait_timeout")?,
        contexts,
    })
}

/// Reads `[tool.manta]` of the nearest `pyproject.toml`, from a folder upwards; without one nothing is said.
pub(crate) fn project(folder: &Path) -> Result<ProjectFile, Failure> {
    for folder in folder.ancestors() {
        let path = folder.join("pyproject.toml");
        let Some(text) = load(&path)? else { continue };
        let read = Read { path: &path, text: &text };
        let document = read.document()?;
        let manta = document.get("tool").and_then(|tool| tool.as_table_like()).and_then(|t| t.get_key_value("manta"));
        let Some((key, item)) = manta else { return Ok(ProjectFile::default()) };
        let table = read.table(key, item)?;
        for forbidden in ["manager", "token", "token_file", "registry", "contexts"] {
            if let Some((key, _)) = table.get_key_value(forbidden) {
                let message = format!("`{forbidden}` has no place in a project's file, which others may have written");
                return Err(read.mistake(key, &message).hint(
                    "make a context with `manta context add NAME --manager URL`, and name it here: context = \"NAME\"",
                ));
            }
        }
        read.known(table, "[tool.manta]", &PROJECT_KEYS)?;
        return Ok(ProjectFile {
            context: read.text(table, "context")?,
            cluster: read.text(table, "cluster")?,
            python: read.text(table, "python")?,
            wait_timeout: read.span(table, "wait_timeout")?,
        });
    }
    Ok(ProjectFile::default())
}

/// The token of a context among a user's credentials.
pub(crate) fn credential(path: &Path, context: &str) -> Result<Option<String>, Failure> {
    let Some(text) = load(path)? else { return Ok(None) };
    let mode = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!("the credentials in `{}` can be read by others (mode {mode:o})", path.display());
        return Err(Failure::new(ErrorCode::Configuration, message).hint(format!("chmod 600 {}", path.display())));
    }
    let read = Read { path, text: &text };
    let document = read.document()?;
    read.known(document.as_table(), "this file", &["contexts"])?;
    let Some((key, item)) = document.get_key_value("contexts") else { return Ok(None) };
    let contexts = read.table(key, item)?;
    let Some((key, item)) = contexts.get_key_value(context) else { return Ok(None) };
    let table = read.table(key, item)?;
    read.known(table, &format!("[contexts.{context}]"), &["token"])?;
    Ok(read.text(table, "token")?.map(|found| found.value))
}

fn load(path: &Path) -> Result<Option<String>, Failure> {
    let size = match std::fs::metadata(path) {
        Ok(about) => about.len(),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(path, &error)),
    };
    if size > FILE_BYTES_MAX {
        let message = format!("`{}` has {size} bytes; {FILE_BYTES_MAX} are the limit", path.display());
        return Err(Failure::new(ErrorCode::Configuration, message));
    }
    std::fs::read_to_string(path).map(Some).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(ErrorCode::Configuration, format!("`{}` cannot be read: {error}", path.display()))
}

impl Read<'_> {
    fn document(&self) -> Result<Document<&str>, Failure> {
        Document::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.at(at, &one_line(error.message(), 200))
        })
    }

    /// Refuses keys that mean nothing, with the nearest that does.
    fn known(&self, table: &dyn TableLike, whose: &str, known: &[&str]) -> Result<(), Failure> {
        if let Some((name, _)) = table.iter().find(|(name, _)| !known.contains(name)) {
            let (key, _) = table.get_key_value(name).expect("it was just listed");
            let failure = self.mistake(key, &format!("`{}` is no key of {whose}", one_line(name, 64)));
            return Err(match nearest(name, known.iter().copied()) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint(format!("its keys are {}", known.join(", "))),
            });
        }
        Ok(())
    }

    fn context(&self, name: &str, at: &Key, table: &dyn TableLike) -> Result<Context, Failure> {
        self.known(table, &format!("[contexts.{name}]"), &CONTEXT_KEYS)?;
        let manager = self.text(table, "manager")?.ok_or_else(|| {
            self.mistake(at, &format!("the context `{}` has no `manager`", one_line(name, 64)))
                .hint("add its address, as manager = \"http://127.0.0.1:7766\"")
        })?;
        Ok(Context {
            manager,
            cluster: self.text(table, "cluster")?,
            token_file: self.text(table, "token_file")?,
            ca_file: self.text(table, "ca_file")?,
        })
    }

    fn table<'i>(&self, key: &Key, item: &'i Item) -> Result<&'i dyn TableLike, Failure> {
        item.as_table_like()
            .ok_or_else(|| self.mistake(key, &format!("`{}` is a table, not {}", key.get(), kind(item))))
    }

    fn text(&self, table: &dyn TableLike, name: &str) -> Result<Option<Found<String>>, Failure> {
        let Some((key, item)) = table.get_key_value(name) else { return Ok(None) };
        match item.as_str() {
            Some(value) if !value.trim().is_empty() => Ok(Some(self.found(key, value.to_owned()))),
            Some(_) => Err(self.mistake(key, &format!("`{name}` is empty"))),
            None => Err(self.mistake(key, &format!("`{name}` is a text in quotes, not {}", kind(item)))),
        }
    }

    fn span(&self, table: &dyn TableLike, name: &str) -> Result<Option<Found<Duration>>, Failure> {
        let Some((key, item)) = table.get_key_value(name) else { return Ok(None) };
        let unit = "give a whole number with s, m, h or d in quotes, as \"10m\"";
        let refuse =
            |what: String| self.mistake(key, &format!("`{name}` is a time with its unit, not {what}")).hint(unit);
        let Some(text) = item.as_str() else { return Err(refuse(kind(item).to_owned())) };
        match crate::text::span(text) {
            Ok(span) => Ok(Some(self.found(key, span))),
            Err(_) => Err(refuse(format!("`{}`", one_line(text, 40)))),
        }
    }

    fn found<T>(&self, key: &Key, value: T) -> Found<T> {
        let line = self.line(key.span().map_or(0, |span| span.start));
        Found { value, origin: Origin::File { path: self.path.to_owned(), line } }
    }

    fn mistake(&self, key: &Key, message: &str) -> Failure {
        self.at(key.span().map_or(0, |span| span.start), message)
    }

    fn at(&self, offset: usize, message: &str) -> Failure {
        let place = format!("{}:{}", self.path.display(), self.line(offset));
        Failure::new(ErrorCode::Configuration, format!("{place}: {message}"))
    }

    fn line(&self, offset: usize) -> usize {
        self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
    }
}

/// What a value is, for people.
fn kind(item: &Item) -> &'static str {
    match item.type_name() {
        "string" => "a text",
        "integer" | "float" => "a number",
        "boolean" => "a truth value",
        "array" | "array of tables" => "a list",
        "table" | "inline table" => "a table",
        _ => "a date",
    }
}

/// A path of the user's file: `~/` is the home directory, anything else is taken from the file's folder.
pub(crate) fn path(found: &Found<String>) -> PathBuf {
    let home = crate::connection::variable("HOME");
    match (found.value.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => match &found.origin {
            Origin::File { path, .. } => path.parent().unwrap_or(path).join(&found.value),
            _ => PathBuf::from(&found.value),
        },
    }
}
