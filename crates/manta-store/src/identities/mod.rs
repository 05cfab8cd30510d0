//! Who may join and who joined: one-time tokens, enrolments and certificates, beside the state in a file of their own.
//!
//! A token is consumed in the transaction that stores the certificate which it was given for, so that of two that use it at
//! once one wins. A certificate is renewed once: whoever asks again with the same key gets the same answer, and with another
//! key the directory that held the former one was copied.
mod record;

use std::collections::BTreeMap;
use std::path::Path;

use manta_types::{ClusterId, NodeId, NodeName};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

pub use self::record::{CertificateRecord, Enrolment, JoinTokenRecord, Joined, Renewed};
use crate::StoreError;
use crate::sqlite::checksum::{check, columns, is_sound, put};
use crate::sqlite::database::{self, Format, StoredId, check_structure, corrupt, named};

const IDENTITY_FILE: &str = "identities.db";
const IDENTITIES: Format = Format {
    application_id: i32::from_be_bytes(*b"MnId"),
    version: 1,
    schema: include_str!("../sqlite/schema/identities-1.sql"),
    migrations: &[],
    synchronous: "FULL",
    is_checked: true,
};

const TOKENS: &str = concat!(
    "SELECT ",
    columns!(join_tokens),
    ", ",
    is_sound!(join_tokens),
    " FROM join_tokens WHERE cluster_id = ?1 AND token_id = ?2"
);
const ENROLMENTS: &str = concat!(
    "SELECT ",
    columns!(enrolments),
    ", ",
    is_sound!(enrolments),
    " FROM enrolments WHERE cluster_id = ?1 ORDER BY node"
);
const ENROLMENT: &str = concat!(
    "SELECT ",
    columns!(enrolments),
    ", ",
    is_sound!(enrolments),
    " FROM enrolments WHERE cluster_id = ?1 AND node = ?2"
);
const FOLLOWER: &str = concat!(
    "SELECT ",
    columns!(certificates),
    ", ",
    is_sound!(certificates),
    " FROM certificates WHERE cluster_id = ?1 AND follows = ?2"
);

/// The identities of a manager's nodes.
#[derive(Debug)]
pub struct IdentityStore {
    connection: Connection,
}

impl IdentityStore {
    /// Opens the identities in a data directory, making both where they are not there.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a foreign or damaged file, [`StoreError::Version`] for another format.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        database::make_private_dir(dir)?;
        Ok(Self { connection: database::open(&dir.join(IDENTITY_FILE), &IDENTITIES)? })
    }

    /// Identities that live as long as this value.
    ///
    /// # Errors
    /// When SQLite cannot work at all.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self { connection: database::open_in_memory(&IDENTITIES)? })
    }

    /// Copies the identities of a data directory, as of one moment, into a new file of another, whether a manager writes them
    /// or not; where there are none, nothing is made. No token comes with them: one that was used since would let another in.
    ///
    /// # Errors
    /// When the storage fails; then the directory has no such file.
    pub fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
        let path = from.join(IDENTITY_FILE);
        if !path.try_exists().map_err(database::io_at(&path))? {
            return Ok(());
        }
        database::copy(&database::open_to_read(&path, &IDENTITIES)?, &to.join(IDENTITY_FILE))?;
        let copy = Self::open(to)?;
        copy.connection.execute("DELETE FROM join_tokens", [])?;
        copy.connection.close().map_err(|(_, error)| error.into())
    }

    /// Checks the identities of a data directory, whether a manager writes them or not, and changes nothing; names what is
    /// damaged.
    ///
    /// # Errors
    /// When the file cannot be read at all.
    pub fn check(dir: &Path) -> Result<Vec<StoreError>, StoreError> {
        let path = dir.join(IDENTITY_FILE);
        if !path.try_exists().map_err(database::io_at(&path))? {
            return Ok(Vec::new());
        }
        let found = database::open_to_read(&path, &IDENTITIES).and_then(|connection| {
            named(&path, check_structure(&connection))?;
            named(&path, check_rows(&connection))
        });
        match found {
            Ok(()) => Ok(Vec::new()),
            Err(damage @ StoreError::Corrupt { .. }) => Ok(vec![damage]),
            Err(other) => Err(other),
        }
    }

    /// Keeps a new token, and forgets those that expired before this moment; wall clock, ms since 1970.
    ///
    /// # Errors
    /// When the storage fails; then nothing was changed.
    pub fn add_token(
        &mut self,
        cluster: &ClusterId,
        token: &JoinTokenRecord,
        forget_before_ms: u64,
    ) -> Result<(), StoreError> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        writing.execute(
            "DELETE FROM join_tokens WHERE cluster_id = ?1 AND expires_ms < ?2",
            params![cluster.as_str(), forget_before_ms],
        )?;
        put_token(&writing, cluster, token)?;
        Ok(writing.commit()?)
    }

    /// The cluster that a token lets nodes into, used or not.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn cluster_of(&mut self, token: [u8; 8]) -> Result<Option<ClusterId>, StoreError> {
        let mut select = self.connection.prepare_cached("SELECT cluster_id FROM join_tokens WHERE token_id = ?1")?;
        let name: Option<String> = select.query_row(params![token], |row| row.get(0)).optional()?;
        let read = |name: String| ClusterId::new(&name);
        name.map(read).transpose().map_err(|error| corrupt("the cluster of a token to join with", &error.to_string()))
    }

    /// Forgets all that lets nodes into a cluster, and who joined it.
    ///
    /// # Errors
    /// When the storage fails; then nothing was changed.
    pub fn forget(&mut self, cluster: &ClusterId) -> Result<(), StoreError> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for table in ["join_tokens", "enrolments", "certificates"] {
            writing.execute(&format!("DELETE FROM {table} WHERE cluster_id = ?1"), [cluster.as_str()])?;
        }
        Ok(writing.commit()?)
    }

    /// A token, used or not.
    ///
    /// # Errors
    /// When the storage fails, or the record is damaged.
    pub fn token(&mut self, cluster: &ClusterId, id: [u8; 8]) -> Result<Option<JoinTokenRecord>, StoreError> {
        token(&self.connection, cluster, id)
    }

    /// Consumes a token and keeps the certificate that is given for it, together or not at all.
    ///
    /// # Errors
    /// When the storage fails; then nothing was changed.
    pub fn join(
        &mut self,
        cluster: &ClusterId,
        token_id: [u8; 8],
        enrolment: &Enrolment,
        certificate: &CertificateRecord,
    ) -> Result<Joined, StoreError> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(mut token) = token(&writing, cluster, token_id)? else { return Ok(Joined::UnknownToken) };
        if let Some((at_ms, by)) = token.used {
            return Ok(Joined::TokenUsed { at_ms, by });
        }
        if self::enrolment(&writing, cluster, &enrolment.node)?.is_some_and(|held| held.node_id != enrolment.node_id) {
            return Ok(Joined::NameTaken);
        }
        token.used = Some((enrolment.joined_ms, enrolment.node.to_string()));
        put_token(&writing, cluster, &token)?;
        put_enrolment(&writing, cluster, enrolment)?;
        put_certificate(&writing, cluster, certificate)?;
        writing.commit()?;
        Ok(Joined::Done)
    }

    /// Keeps a certificate that renews another, once; forgets those of the node that expired before this moment.
    ///
    /// # Errors
    /// When the storage fails; then nothing was changed.
    pub fn renew(
        &mut self,
        cluster: &ClusterId,
        certificate: &CertificateRecord,
        forget_before_ms: u64,
    ) -> Result<Renewed, StoreError> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let former = writing
            .prepare_cached(FOLLOWER)?
            .query_row(params![cluster.as_str(), certificate.follows], |row| Ok(read_certificate(row)))
            .optional()?
            .transpose()?;
        match former {
            Some(former) if former.key == certificate.key => return Ok(Renewed::Again(Box::new(former))),
            Some(_) => return Ok(Renewed::WithAnotherKey),
            None => {}
        }
        writing.execute(
            "DELETE FROM certificates WHERE cluster_id = ?1 AND node = ?2 AND expires_ms < ?3",
            params![cluster.as_str(), certificate.node.as_str(), forget_before_ms],
        )?;
        put_certificate(&writing, cluster, certificate)?;
        writing.commit()?;
        Ok(Renewed::Done)
    }

    /// All nodes that joined with a token, by name.
    ///
    /// # Errors
    /// When the storage fails, or a record is damaged.
    pub fn enrolments(&mut self, cluster: &ClusterId) -> Result<Vec<Enrolment>, StoreError> {
        let mut select = self.connection.prepare_cached(ENROLMENTS)?;
        let mut rows = select.query(params![cluster.as_str()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read_enrolment(row)?);
        }
        Ok(found)
    }

    /// Says why a node's identity is not to be believed; what was said first stays.
    ///
    /// # Errors
    /// When the storage fails, or the record is damaged.
    pub fn flag(&mut self, cluster: &ClusterId, node: &NodeName, why: &str) -> Result<(), StoreError> {
        let writing = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(mut held) = enrolment(&writing, cluster, node)?.filter(|held| held.flag.is_none()) {
            held.flag = Some(why.to_owned());
            put_enrolment(&writing, cluster, &held)?;
        }
        Ok(writing.commit()?)
    }
}

fn check_rows(connection: &Connection) -> Result<(), StoreError> {
    const DAMAGED: [(&str, &str); 3] = [
        ("a token to join with", concat!("SELECT 1 FROM join_tokens WHERE NOT (", is_sound!(join_tokens), ")")),
        ("a node that joined", concat!("SELECT 1 FROM enrolments WHERE NOT (", is_sound!(enrolments), ")")),
        ("a node's certificate", concat!("SELECT 1 FROM certificates WHERE NOT (", is_sound!(certificates), ")")),
    ];
    for (what, select) in DAMAGED {
        if connection.prepare(select)?.exists([])? {
            return Err(corrupt(what, &format!("{what} is not what was written")));
        }
    }
    Ok(())
}

fn token(connection: &Connection, cluster: &ClusterId, id: [u8; 8]) -> Result<Option<JoinTokenRecord>, StoreError> {
    let mut select = connection.prepare_cached(TOKENS)?;
    let found = select.query_row(params![cluster.as_str(), id], |row| Ok(read_token(row))).optional()?;
    found.transpose()
}

fn enrolment(connection: &Connection, cluster: &ClusterId, node: &NodeName) -> Result<Option<Enrolment>, StoreError> {
    let mut select = connection.prepare_cached(ENROLMENT)?;
    let found = select.query_row(params![cluster.as_str(), node.as_str()], |row| Ok(read_enrolment(row))).optional()?;
    found.transpose()
}

fn read_token(row: &Row<'_>) -> Result<JoinTokenRecord, StoreError> {
    check(row, 9, || "a token to join with".to_owned())?;
    let (used_ms, used_by): (Option<u64>, Option<String>) = (row.get(7)?, row.get(8)?);
    Ok(JoinTokenRecord {
        id: row.get(1)?,
        secret: row.get(2)?,
        name: row.get::<_, Option<String>>(3)?.map(name).transpose()?,
        labels: labels(&row.get::<_, String>(4)?)?,
        made_ms: row.get(5)?,
        expires_ms: row.get(6)?,
        used: used_ms.zip(used_by),
    })
}

fn read_enrolment(row: &Row<'_>) -> Result<Enrolment, StoreError> {
    check(row, 6, || "a node that joined".to_owned())?;
    Ok(Enrolment {
        node: name(row.get(1)?)?,
        node_id: NodeId::from_uuid(row.get::<_, StoredId>(2)?.0),
        labels: labels(&row.get::<_, String>(3)?)?,
        joined_ms: row.get(4)?,
        flag: row.get(5)?,
    })
}

fn read_certificate(row: &Row<'_>) -> Result<CertificateRecord, StoreError> {
    check(row, 8, || "a node's certificate".to_owned())?;
    Ok(CertificateRecord {
        serial: row.get(1)?,
        node: name(row.get(2)?)?,
        key: row.get(3)?,
        follows: row.get(4)?,
        pem: row.get(5)?,
        issued_ms: row.get(6)?,
        expires_ms: row.get(7)?,
    })
}

fn name(text: String) -> Result<NodeName, StoreError> {
    NodeName::new(&text).map_err(|error| corrupt("the name of a node that joined", &error.to_string()))
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt("the labels of a node that joined", &error.to_string()))
}

fn label_text(labels: &BTreeMap<String, String>) -> String {
    serde_json::to_string(labels).expect("texts by texts: always JSON")
}

fn put_token(connection: &Connection, cluster: &ClusterId, token: &JoinTokenRecord) -> Result<(), StoreError> {
    let (used_ms, used_by) = token.used.clone().unzip();
    let mut insert =
        connection.prepare_cached(put!("INSERT OR REPLACE", join_tokens, "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9"))?;
    let name = token.name.as_ref().map(NodeName::as_str);
    let (labels, made_ms, expires_ms) = (label_text(&token.labels), token.made_ms, token.expires_ms);
    insert.execute(params![
        cluster.as_str(),
        token.id,
        token.secret,
        name,
        labels,
        made_ms,
        expires_ms,
        used_ms,
        used_by
    ])?;
    Ok(())
}

fn put_enrolment(connection: &Connection, cluster: &ClusterId, enrolment: &Enrolment) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(put!("INSERT OR REPLACE", enrolments, "?1, ?2, ?3, ?4, ?5, ?6"))?;
    let Enrolment { node, node_id, labels, joined_ms, flag } = enrolment;
    insert.execute(params![cluster.as_str(), node.as_str(), node_id.bytes(), label_text(labels), joined_ms, flag])?;
    Ok(())
}

fn put_certificate(
    connection: &Connection,
    cluster: &ClusterId,
    certificate: &CertificateRecord,
) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(put!("INSERT", certificates, "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8"))?;
    let CertificateRecord { serial, node, key, follows, pem, issued_ms, expires_ms } = certificate;
    insert.execute(params![cluster.as_str(), serial, node.as_str(), key, follows, pem, issued_ms, expires_ms])?;
    Ok(())
}

#[cfg(test)]
mod tests;
