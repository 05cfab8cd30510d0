//! Changes a user's file of settings and the tokens beside it: one change at a time, whole or not at all, with the user's
//! own comments and order kept.
use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use manta_api::ErrorCode;
use manta_types::name::check_label;
use rustix::fs::{FlockOperation, flock};
use toml_edit::{DocumentMut, Item, Table, value};

use super::{credentials_file, file, user_file};
use crate::home;
use crate::report::Failure;

/// A context to add.
#[derive(Debug)]
pub(crate) struct NewContext<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The manager's address.
    pub(crate) manager: &'a str,
    /// The cluster there.
    pub(crate) cluster: Option<&'a str>,
    /// The file with the token.
    pub(crate) token_file: Option<&'a Path>,
    /// The token itself, to be kept with the credentials.
    pub(crate) token: Option<&'a str>,
    /// The file with certificates.
    pub(crate) ca_file: Option<&'a Path>,
}

/// The folder of settings, held against other commands that change it.
struct Held {
    folder: PathBuf,
    _lock: File,
}

/// Adds a context; whether it is the current one now, as it is the first.
pub(crate) fn add(new: &NewContext<'_>) -> Result<bool, Failure> {
    check_label("context", new.name).map_err(|error| Failure::usage(error.to_string()))?;
    let held = hold()?;
    let user = file::user(&user_file(&held.folder))?;
    if user.contexts.contains_key(new.name) {
        let failure = Failure::new(ErrorCode::Conflict, format!("there is a context `{}` already", new.name));
        return Err(failure.hint(format!("`manta context rm {}` takes it away first", new.name)));
    }
    if let Some(token) = new.token {
        held.keep_token(new.name, token)?;
    }
    let text = |path: Option<&Path>| path.map(|path| path.display().to_string());
    let is_first = user.context.is_none();
    held.change(&user_file(&held.folder), |document| {
        let fields = [
            ("manager", Some(new.manager.to_owned())),
            ("cluster", new.cluster.map(str::to_owned)),
            ("token_file", text(new.token_file)),
            ("ca_file", text(new.ca_file)),
        ];
        contexts(document).insert(new.name, Item::Table(table(fields)));
        if is_first {
            document.insert("context", value(new.name));
        }
    })?;
    Ok(is_first)
}

/// Makes a context the current one.
pub(crate) fn make_current(name: &str) -> Result<(), Failure> {
    let held = hold()?;
    super::Files::read()?.context(name)?;
    held.change(&user_file(&held.folder), |document| {
        document.insert("context", value(name));
    })
}

/// Takes a context away, with its token; whether it was the current one.
pub(crate) fn remove(name: &str) -> Result<bool, Failure> {
    let held = hold()?;
    let files = super::Files::read()?;
    files.context(name)?;
    let was_current = files.user.context.as_ref().is_some_and(|current| current.value == name);
    held.change(&user_file(&held.folder), |document| {
        contexts(document).remove(name);
        if was_current {
            document.remove("context");
        }
    })?;
    held.drop_token(name)?;
    Ok(was_current)
}

/// Keeps a token for a context, in the place of another.
pub(crate) fn keep_token(name: &str, token: &str) -> Result<(), Failure> {
    let held = hold()?;
    super::Files::read()?.context(name)?;
    // What others can read is neither read nor added to.
    file::credential(&credentials_file(&held.folder), name)?;
    held.keep_token(name, token)
}

/// Takes the token away that is kept for a context.
pub(crate) fn drop_token(name: &str) -> Result<(), Failure> {
    hold()?.drop_token(name)
}

fn hold() -> Result<Held, Failure> {
    let folder = home::config().ok_or_else(|| {
        Failure::new(ErrorCode::Configuration, "it is not known where your settings lie")
            .hint("set HOME, XDG_CONFIG_HOME or MANTA_HOME")
    })?;
    let failed = |error: std::io::Error| Failure::file("the folder of settings cannot be used:", &folder, &error);
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
    let lock = File::open(&folder).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    Ok(Held { folder, _lock: lock })
}

impl Held {
    fn keep_token(&self, name: &str, token: &str) -> Result<(), Failure> {
        self.change(&credentials_file(&self.folder), |document| {
            contexts(document).insert(name, Item::Table(table([("token", Some(token.to_owned()))])));
        })
    }

    fn drop_token(&self, name: &str) -> Result<(), Failure> {
        let credentials = credentials_file(&self.folder);
        if file::credential(&credentials, name)?.is_some() {
            self.change(&credentials, |document| {
                contexts(document).remove(name);
            })?;
        }
        Ok(())
    }

    /// Reads a file, changes it, and puts it in place of the old one; only its owner can read it.
    fn change(&self, path: &Path, with: impl FnOnce(&mut DocumentMut)) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::file("the settings cannot be written:", path, &error);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            Failure::new(ErrorCode::Configuration, format!("{}: {}", path.display(), error.message()))
        })?;
        with(&mut document);
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).map_err(failed)?;
        file.write_all(document.to_string().as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// The table of contexts, made where there is none.
fn contexts(document: &mut DocumentMut) -> &mut dyn toml_edit::TableLike {
    let made = || {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    };
    let item = document.entry("contexts").or_insert_with(made);
    item.as_table_like_mut().expect("the file was read before, and has a table there")
}

fn table<const N: usize>(fields: [(&str, Option<String>); N]) -> Table {
    let mut table = Table::new();
    for (name, text) in fields {
        if let Some(text) = text {
            table.insert(name, value(text));
        }
    }
    table
}
