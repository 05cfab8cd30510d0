//! Opens a SQLite file of ours: makes it whole or not at all, brings an older format up to date, and refuses what is
//! foreign, damaged or of a newer format.
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlResult, ValueRef};
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::{checksum, migrate, wal};
use crate::{CommitError, StoreError};

/// What marks a file as ours, and how it is kept.
pub(crate) struct Format {
    /// SQLite's `application_id`: which kind of file this is.
    pub(crate) application_id: i32,
    /// SQLite's `user_version`: the version of the schema.
    pub(crate) version: i64,
    /// The tables.
    pub(crate) schema: &'static str,
    /// The steps from each format to the next, the first from 1 to 2.
    pub(crate) migrations: &'static [migrate::Step],
    /// `FULL` where a commit must outlive a power cut, `NORMAL` where the last moments may go.
    pub(crate) synchronous: &'static str,
    /// Whether the file's structure is checked whenever it is opened.
    pub(crate) is_checked: bool,
}

const STATEMENTS_CACHED: usize = 64;
/// How long a reader waits for a database that its writer is just opening or closing.
const READERS_WAIT: Duration = Duration::from_secs(5);

/// The 16 bytes of a stored id.
pub(crate) struct StoredId(pub(crate) Uuid);

impl FromSql for StoredId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 16]>::column_result(value).map(|bytes| Self(Uuid::from_bytes(bytes)))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match (&error, error.sqlite_error_code()) {
            (_, Some(DatabaseCorrupt | NotADatabase)) => corrupt("the database", &error.to_string()),
            (
                E::FromSqlConversionFailure(..)
                | E::InvalidColumnType(..)
                | E::IntegralValueOutOfRange(..)
                | E::Utf8Error(..),
                _,
            ) => corrupt("a record of the database", &error.to_string()),
            _ => Self::Database(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for CommitError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

pub(crate) fn corrupt(what: &str, problem: &str) -> StoreError {
    StoreError::Corrupt { what: what.to_owned(), problem: problem.to_owned() }
}

/// Names the path of an I/O error.
pub(crate) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.display().to_string();
    move |source| StoreError::Io { path, source }
}

/// Makes a private directory, with the ones above it, unless it is there.
pub(crate) fn make_private_dir(dir: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_at(dir))
}

/// Opens the database at `path`, after making it where nothing is.
///
/// # Errors
/// `Corrupt` and `Version` name the path and leave the file as it is.
pub(crate) fn open(path: &Path, format: &Format) -> Result<Connection, StoreError> {
    if !path.try_exists().map_err(io_at(path))? {
        create(path, format)?;
    }
    wal::check(&beside(path, "-wal"), &name(path))?;
    let mut connection = open_raw(path)?;
    named(path, set_up(&mut connection, path, format))?;
    Ok(connection)
}

/// A connection that writes and knows our checksums, and nothing else yet.
pub(super) fn open_raw(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    checksum::register(&connection)?;
    Ok(connection)
}

/// Opens the database at `path` beside whoever writes it, to read.
///
/// # Errors
/// `Io` where nothing is there; `Corrupt` and `Version` name the path.
pub(crate) fn open_to_read(path: &Path, format: &Format) -> Result<Connection, StoreError> {
    fs::metadata(path).map_err(io_at(path))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    checksum::register(&connection)?;
    connection.busy_timeout(READERS_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    let found = named(path, format_of(&connection, path, format))?;
    if found == format.version {
        named(path, check_schema(&connection, format))?;
        Ok(connection)
    } else {
        Err(StoreError::Version { path: path.display().to_string(), found, wanted: format.version })
    }
}

fn set_up(connection: &mut Connection, path: &Path, format: &Format) -> Result<(), StoreError> {
    let found = format_of(connection, path, format)?;
    if !(1..=format.version).contains(&found) {
        return Err(StoreError::Version { path: path.display().to_string(), found, wanted: format.version });
    }
    configure(connection, format.synchronous)?;
    check_length(connection, path)?;
    if format.is_checked {
        check_structure(connection)?;
    }
    migrate::bring_up(connection, path, format, found)?;
    check_schema(connection, format)?;
    Ok(connection.pragma_update(None, "foreign_keys", true)?)
}

/// Names the file of whatever is damaged in it.
pub(crate) fn named<T>(path: &Path, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
    outcome.map_err(|error| match error {
        StoreError::Corrupt { problem, .. } => corrupt(&name(path), &problem),
        other => other,
    })
}

/// A database that lives and dies with its connection.
pub(crate) fn open_in_memory(format: &Format) -> Result<Connection, StoreError> {
    let connection = Connection::open_in_memory()?;
    checksum::register(&connection)?;
    connection.execute_batch(format.schema)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

/// Copies a database into a new private file, whole and durable or not at all.
pub(crate) fn copy(connection: &Connection, target: &Path) -> Result<(), StoreError> {
    let draft = make_draft(target)?;
    let text = draft.to_str().ok_or_else(|| StoreError::Database(format!("`{}` is not UTF-8", draft.display())))?;
    connection.execute("VACUUM INTO ?1", [text])?;
    keep_draft(&draft, target)
}

fn name(path: &Path) -> String {
    format!("`{}`", path.display())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Writes the schema under another name first, so that a crash leaves either no database or a whole one.
fn create(path: &Path, format: &Format) -> Result<(), StoreError> {
    if fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(corrupt(&name(path), "its write-ahead log is there, the database itself is missing"));
    }
    let draft = make_draft(path)?;
    let mut connection = open_raw(&draft)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(format.schema)?;
    transaction.pragma_update(None, "application_id", format.application_id)?;
    transaction.pragma_update(None, "user_version", format.version)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)?;
    keep_draft(&draft, path)
}

/// An empty file beside `path`, in place of one that was not finished.
fn make_draft(path: &Path) -> Result<PathBuf, StoreError> {
    let draft = beside(path, ".new");
    for leftover in [&draft, &beside(&draft, "-journal")] {
        match fs::remove_file(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_at(leftover)(error)),
            _ => {}
        }
    }
    // SQLite gives its log the mode of the database, so making the file privately makes all of them private.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(io_at(&draft))?;
    Ok(draft)
}

/// Gives a finished file its name, durably.
fn keep_draft(draft: &Path, path: &Path) -> Result<(), StoreError> {
    File::open(draft).and_then(|file| file.sync_all()).map_err(io_at(draft))?;
    fs::rename(draft, path).map_err(io_at(path))?;
    let dir = path.parent().expect("a database's path has a directory");
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at(dir))
}

/// Reads the marks before anything is changed.
fn format_of(connection: &Connection, path: &Path, format: &Format) -> Result<i64, StoreError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("application_id")? != i64::from(format.application_id) {
        return Err(corrupt(&name(path), "it is empty or was not made by Manta"));
    }
    Ok(pragma("user_version")?)
}

fn configure(connection: &Connection, synchronous: &str) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::ZERO)?;
    let journal: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if journal != "wal" {
        return Err(StoreError::Database(format!(
            "write-ahead logging cannot be had, the journal mode is `{journal}`"
        )));
    }
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(())
}

/// Finds a file that lost its end: SQLite sees whole pages that are missing, but reads a torn last page as zeros.
fn check_length(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let wanted = number("page_count")? * number("page_size")?;
    let found = fs::metadata(path).map_err(io_at(path))?.len();
    if found < wanted {
        return Err(corrupt(&name(path), &format!("it has {found} bytes of {wanted}")));
    }
    Ok(())
}

/// Runs SQLite's own check of a file, its indexes included, and a check of references between tables.
pub(crate) fn check_structure(connection: &Connection) -> Result<(), StoreError> {
    let problem: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if problem != "ok" {
        return Err(corrupt("the database", &problem.replace('\n', " ")));
    }
    check_references(connection)
}

/// Finds tables, indexes and triggers that are not those which the format makes: SQLite reads their text, and checks it for
/// nothing but sense.
fn check_schema(connection: &Connection, format: &Format) -> Result<(), StoreError> {
    let made = schema_of(&open_in_memory(format)?)?;
    let found = schema_of(connection)?;
    let differs = made.iter().find(|(name, sql)| found.get(*name) != Some(sql));
    match differs.or_else(|| found.iter().find(|(name, _)| !made.contains_key(*name))) {
        None => Ok(()),
        Some((name, _)) => Err(corrupt("the database", &format!("`{name}` in it is not as it was made"))),
    }
}

/// What a database consists of: name → how it was made, where SQLite was told that.
fn schema_of(connection: &Connection) -> Result<BTreeMap<String, Option<String>>, StoreError> {
    let mut select = connection.prepare("SELECT type || ' ' || name || ' of ' || tbl_name, sql FROM sqlite_schema")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds a row whose swarm or attempt is not there.
pub(crate) fn check_references(connection: &Connection) -> Result<(), StoreError> {
    let mut check = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = check.query([])?;
    match rows.next()? {
        None => Ok(()),
        Some(row) => {
            let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
            Err(corrupt("the database", &format!("a row of `{table}` names one of `{parent}` that is not there")))
        }
    }
}
