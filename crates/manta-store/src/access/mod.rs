//! Who may use a manager, and the audit log of what they did, in a file of their own beside the state.
//!
//! Users, tokens and keys are few and are read whole at the start. A row that changed on the disk is refused by its
//! checksum; one that is gone lets nobody in.
mod audit;
mod chain;

use std::path::Path;

use manta_types::{ClusterId, Quota, QuotaError, Role};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

pub use self::audit::{AuditFilter, AuditHead, AuditRecord, AuditVerdict};
pub use self::chain::AuditEntry;
use crate::StoreError;
use crate::sqlite::checksum::{check, columns, is_sound, put};
use crate::sqlite::database::{self, Format, corrupt};
use crate::sqlite::migrate;

const ACCESS_FILE: &str = "access.db";
const ACCESS: Format = Format {
    application_id: i32::from_be_bytes(*b"MnAc"),
    version: 2,
    schema: concat!(include_str!("../sqlite/schema/access-1.sql"), include_str!("../sqlite/schema/access-2.sql")),
    migrations: &[migrate::access_to_2],
    synchronous: "FULL",
    is_checked: true,
};

/// A person or a program of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The cluster.
    pub cluster: ClusterId,
    /// Unique in the cluster.
    pub name: String,
    /// The most that any token of theirs may do.
    pub role: Role,
    /// Wall clock, ms since 1970.
    pub created_ms: u64,
    /// Who they are for the issuer of identities: its address and what it calls them for ever; absent before they first sign in.
    pub subject: Option<String>,
    /// Who gave them the role.
    pub role_from: RoleFrom,
}

/// Who gave a user their role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleFrom {
    /// An admin of the cluster.
    Admin,
    /// The issuer of identities, by the user's groups or for want of any.
    Issuer,
}

impl RoleFrom {
    const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Issuer => "issuer",
        }
    }
}

/// A token as stored: never its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// The cluster.
    pub cluster: ClusterId,
    /// What names it, in lists and in the token itself.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// The most that it may do.
    pub role: Role,
    /// SHA-256 of the whole token.
    pub digest: [u8; 32],
    /// Wall clock, ms since 1970.
    pub created_ms: u64,
    /// From when on it counts no more; wall clock, ms since 1970.
    pub expires_ms: u64,
    /// When it was last used, to the minute.
    pub used_ms: Option<u64>,
    /// When it was revoked.
    pub revoked_ms: Option<u64>,
}

impl std::fmt::Debug for TokenRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenRecord").field("id", &self.id).field("user", &self.user).finish_non_exhaustive()
    }
}

/// A change that was answered: a client that never heard of it asks again under the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The cluster.
    pub cluster: ClusterId,
    /// The client's idempotency key.
    pub key: String,
    /// A digest of the request that used it.
    pub request: String,
    /// What was done, in words.
    pub answer: String,
    /// Wall clock, ms since 1970.
    pub used_ms: u64,
}

/// A change of who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessChange {
    /// A user is new, or has another role now.
    User(UserRecord),
    /// A user goes, with all their tokens; that they were there is kept from this moment on (wall clock, ms since 1970) until
    /// somebody adds them again.
    UserGone(ClusterId, String, u64),
    /// A token is new, was used, or was revoked.
    Token(TokenRecord),
    /// A token goes.
    TokenGone(ClusterId, String),
    /// A quota has another value, or none.
    Quota(ClusterId, Quota, Option<u64>),
    /// A request is answered with this.
    Key(AccessKey),
    /// Keys that were used before this moment go; wall clock, ms since 1970.
    KeysBefore(u64),
    /// A cluster goes, with its users, tokens, quotas and keys; what is on record of it stays.
    ClusterGone(ClusterId),
}

/// Users, tokens and the audit log of a manager. All calls block; a change is durable when its call returns.
#[derive(Debug)]
pub struct AccessStore {
    connection: Connection,
}

impl AccessStore {
    /// Opens the file in a data directory, making both where they are not there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a foreign or damaged file, [`StoreError::Version`] for another format.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        database::make_private_dir(dir)?;
        Ok(Self { connection: database::open(&dir.join(ACCESS_FILE), &ACCESS)? })
    }

    /// The same, as long as this value lives.
    ///
    /// # Errors
    /// When SQLite cannot work at all.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self { connection: database::open_in_memory(&ACCESS)? })
    }

    /// Copies the file of a data directory, as of one moment, into another, whether a manager writes it or not; where there
    /// is none, nothing is made.
    ///
    /// # Errors
    /// When the storage fails; then the other directory has no such file.
    pub fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
        match open_beside(from)? {
            Some(connection) => database::copy(&connection, &to.join(ACCESS_FILE)),
            None => Ok(()),
        }
    }

    /// Checks the file of a data directory, whether a manager writes it or not, and changes nothing; names what is damaged.
    ///
    /// # Errors
    /// When the file cannot be read at all.
    pub fn check(dir: &Path) -> Result<Vec<StoreError>, StoreError> {
        let Some(connection) = open_beside(dir)? else { return Ok(Vec::new()) };
        let store = Self { connection };
        let mut damage = Vec::new();
        let checks = [
            database::check_structure(&store.connection),
            store.users().map(drop),
            store.users_removed().map(drop),
            store.tokens().map(drop),
            store.quotas().map(drop),
        ];
        for found in checks.into_iter().filter_map(Result::err) {
            match found {
                StoreError::Corrupt { .. } => damage.push(found),
                other => return Err(other),
            }
        }
        let verdict = store.audit_verdict()?;
        damage.extend(verdict.damage.iter().map(|problem| corrupt("the audit log", problem)));
        Ok(damage)
    }

    /// Makes changes, all of them or none.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn apply(&mut self, changes: &[AccessChange]) -> Result<(), StoreError> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        changes.iter().try_for_each(|change| write(&writing, change))?;
        Ok(writing.commit()?)
    }

    /// All users of all clusters.
    ///
    /// # Errors
    /// When the storage fails, or a row is not what was written.
    pub fn users(&self) -> Result<Vec<UserRecord>, StoreError> {
        let mut select = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(users),
            ", ",
            is_sound!(users),
            " FROM users NOT INDEXED"
        ))?;
        let mut rows = select.query([])?;
        let mut users = Vec::new();
        while let Some(row) = rows.next()? {
            check(row, 6, || "a user".to_owned())?;
            users.push(UserRecord {
                cluster: cluster(row, 0)?,
                name: row.get(1)?,
                role: role(row, 2)?,
                created_ms: row.get(3)?,
                subject: row.get(4)?,
                role_from: role_from(row, 5)?,
            });
        }
        Ok(users)
    }

    /// The users who were removed and not added again.
    ///
    /// # Errors
    /// When the storage fails, or a row is not what was written.
    pub fn users_removed(&self) -> Result<Vec<(ClusterId, String)>, StoreError> {
        let mut select = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(users_removed),
            ", ",
            is_sound!(users_removed),
            " FROM users_removed NOT INDEXED"
        ))?;
        let mut rows = select.query([])?;
        let mut removed = Vec::new();
        while let Some(row) = rows.next()? {
            check(row, 3, || "a user who was removed".to_owned())?;
            removed.push((cluster(row, 0)?, row.get(1)?));
        }
        Ok(removed)
    }

    /// All tokens of all clusters.
    ///
    /// # Errors
    /// When the storage fails, or a row is not what was written.
    pub fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let mut select = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(tokens),
            ", ",
            is_sound!(tokens),
            " FROM tokens NOT INDEXED"
        ))?;
        let mut rows = select.query([])?;
        let mut tokens = Vec::new();
        while let Some(row) = rows.next()? {
            check(row, 9, || "a token".to_owned())?;
            tokens.push(TokenRecord {
                cluster: cluster(row, 0)?,
                id: row.get(1)?,
                user: row.get(2)?,
                role: role(row, 3)?,
                digest: row.get(4)?,
                created_ms: row.get(5)?,
                expires_ms: row.get(6)?,
                used_ms: row.get(7)?,
                revoked_ms: row.get(8)?,
            });
        }
        Ok(tokens)
    }

    /// All quotas of all clusters.
    ///
    /// # Errors
    /// When the storage fails, or a row is not what was written.
    pub fn quotas(&self) -> Result<Vec<(ClusterId, Quota, u64)>, StoreError> {
        let mut select = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(quotas),
            ", ",
            is_sound!(quotas),
            " FROM quotas NOT INDEXED"
        ))?;
        let mut rows = select.query([])?;
        let mut quotas = Vec::new();
        while let Some(row) = rows.next()? {
            check(row, 3, || "a quota".to_owned())?;
            let name: String = row.get(1)?;
            let quota = name.parse().map_err(|error: QuotaError| corrupt("a quota", &error.to_string()))?;
            quotas.push((cluster(row, 0)?, quota, row.get(2)?));
        }
        Ok(quotas)
    }

    /// What an idempotency key was used for.
    ///
    /// # Errors
    /// When the storage fails, or the row is not what was written.
    pub fn key(&self, of: &ClusterId, key: &str) -> Result<Option<AccessKey>, StoreError> {
        let mut select = self.connection.prepare_cached(concat!(
            "SELECT ",
            columns!(access_keys),
            ", ",
            is_sound!(access_keys),
            " FROM access_keys WHERE cluster_id = ?1 AND key = ?2"
        ))?;
        let read = |row: &Row<'_>| -> Result<AccessKey, StoreError> {
            check(row, 5, || "an idempotency key".to_owned())?;
            let (cluster, key, request) = (cluster(row, 0)?, row.get(1)?, row.get(2)?);
            Ok(AccessKey { cluster, key, request, answer: row.get(3)?, used_ms: row.get(4)? })
        };
        select.query_row(params![of.as_str(), key], |row| Ok(read(row))).optional()?.transpose()
    }
}

/// The file of a data directory, beside whoever writes it; nothing where there is none.
fn open_beside(dir: &Path) -> Result<Option<Connection>, StoreError> {
    let path = dir.join(ACCESS_FILE);
    let is_there = path.try_exists().map_err(database::io_at(&path))?;
    is_there.then(|| database::open_to_read(&path, &ACCESS)).transpose()
}

fn write(db: &Connection, change: &AccessChange) -> Result<(), StoreError> {
    match change {
        AccessChange::User(UserRecord { cluster, name, role, created_ms, subject, role_from }) => {
            db.prepare_cached("DELETE FROM users_removed WHERE cluster_id = ?1 AND name = ?2")?
                .execute(params![cluster.as_str(), name])?;
            db.prepare_cached(concat!(
                put!("INSERT", users, "?1, ?2, ?3, ?4, ?5, ?6"),
                " ON CONFLICT (cluster_id, name) DO UPDATE SET role = excluded.role, created_ms = excluded.created_ms, \
                 subject = excluded.subject, role_from = excluded.role_from, checksum = excluded.checksum"
            ))?
            .execute(params![
                cluster.as_str(),
                name,
                role.name(),
                created_ms,
                subject,
                role_from.name()
            ])?
        }
        AccessChange::UserGone(cluster, name, removed_ms) => {
            db.prepare_cached("DELETE FROM users WHERE cluster_id = ?1 AND name = ?2")?
                .execute(params![cluster.as_str(), name])?;
            db.prepare_cached(put!("INSERT OR REPLACE", users_removed, "?1, ?2, ?3"))?.execute(params![
                cluster.as_str(),
                name,
                removed_ms
            ])?
        }
        AccessChange::Token(token) => {
            let TokenRecord { cluster, id, user, role, digest, created_ms, expires_ms, used_ms, revoked_ms } = token;
            db.prepare_cached(put!("INSERT OR REPLACE", tokens, "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9"))?.execute(
                params![cluster.as_str(), id, user, role.name(), digest, created_ms, expires_ms, used_ms, revoked_ms],
            )?
        }
        AccessChange::TokenGone(cluster, id) => db
            .prepare_cached("DELETE FROM tokens WHERE cluster_id = ?1 AND token_id = ?2")?
            .execute(params![cluster.as_str(), id])?,
        AccessChange::Quota(cluster, quota, None) => db
            .prepare_cached("DELETE FROM quotas WHERE cluster_id = ?1 AND name = ?2")?
            .execute(params![cluster.as_str(), quota.name()])?,
        AccessChange::Quota(cluster, quota, Some(value)) => db
            .prepare_cached(put!("INSERT OR REPLACE", quotas, "?1, ?2, ?3"))?
            .execute(params![cluster.as_str(), quota.name(), value])?,
        AccessChange::Key(AccessKey { cluster, key, request, answer, used_ms }) => db
            .prepare_cached(put!("INSERT", access_keys, "?1, ?2, ?3, ?4, ?5"))?
            .execute(params![cluster.as_str(), key, request, answer, used_ms])?,
        AccessChange::KeysBefore(before_ms) => {
            db.prepare_cached("DELETE FROM access_keys WHERE used_ms < ?1")?.execute(params![before_ms])?
        }
        AccessChange::ClusterGone(cluster) => {
            let tables = ["tokens", "users", "users_removed", "quotas", "access_keys"];
            let delete = |table| db.execute(&format!("DELETE FROM {table} WHERE cluster_id = ?1"), [cluster.as_str()]);
            tables.into_iter().map(delete).sum::<Result<usize, _>>()?
        }
    };
    Ok(())
}

fn cluster(row: &Row<'_>, index: usize) -> Result<ClusterId, StoreError> {
    let name: String = row.get(index)?;
    ClusterId::new(&name).map_err(|error| corrupt("a cluster's name", &error.to_string()))
}

fn role(row: &Row<'_>, index: usize) -> Result<Role, StoreError> {
    let name: String = row.get(index)?;
    name.parse().map_err(|error: manta_types::RoleError| corrupt("a role", &error.to_string()))
}

fn role_from(row: &Row<'_>, index: usize) -> Result<RoleFrom, StoreError> {
    let name: String = row.get(index)?;
    [RoleFrom::Admin, RoleFrom::Issuer]
        .into_iter()
        .find(|known| known.name() == name)
        .ok_or_else(|| corrupt("who gave a role", &format!("`{name}` is nobody")))
}

#[cfg(test)]
mod tests;
