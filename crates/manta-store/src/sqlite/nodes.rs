//! Nodes: who has which name, what each said of itself, and what it is used for.
use manta_types::{ClusterId, NodeDuty, NodeId, NodeName};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{check, columns, is_sound, put as insert};
use super::commit::run;
use super::database::{StoredId, corrupt};
use super::query::Parsed;
use crate::{CommitError, NodeRecord, StoreError};

/// Stores a node that is new or has changed; names are for life.
pub(super) fn put(db: &Connection, cluster: &ClusterId, node: &NodeRecord) -> Result<(), CommitError> {
    let owner = db
        .prepare_cached("SELECT node_id FROM nodes WHERE cluster_id = ?1 AND name = ?2")?
        .query_row([cluster.as_str(), node.name.as_str()], |row| row.get::<_, StoredId>(0))
        .optional()?;
    if owner.is_some_and(|owner| NodeId::from_uuid(owner.0) != node.id) {
        return Err(CommitError::NameTaken { name: node.name.clone() });
    }
    let known = db
        .prepare_cached(concat!(
            "SELECT ",
            columns!(nodes),
            ", ",
            is_sound!(nodes),
            " FROM nodes WHERE cluster_id = ?1 AND node_id = ?2"
        ))?
        .query_row(params![cluster.as_str(), node.id.bytes()], |row| Ok(read(row)))
        .optional()?
        .transpose()?;
    let joined_ms = match known {
        Some(known) if known.name != node.name => {
            return Err(CommitError::Renamed { id: node.id, name: known.name, wanted: node.name.clone() });
        }
        Some(known) => known.joined_ms,
        None => node.joined_ms,
    };
    let NodeRecord { id, name, description, duty, drain_left_ms, .. } = node;
    run(
        db,
        concat!(
            insert!("INSERT", nodes, "?1, ?2, ?3, ?4, ?5, ?6, ?7"),
            " ON CONFLICT (cluster_id, node_id) DO UPDATE SET description = excluded.description, \
             duty = excluded.duty, drain_left_ms = excluded.drain_left_ms, checksum = excluded.checksum"
        ),
        params![cluster.as_str(), id.bytes(), name.as_str(), description, joined_ms, duty.name(), drain_left_ms],
    )?;
    Ok(())
}

/// All nodes of a cluster, by name. All rows of the table are read and checked, as those of swarms are.
pub(super) fn all(db: &Connection, cluster: &ClusterId) -> Result<Vec<NodeRecord>, StoreError> {
    let mut select =
        db.prepare_cached(concat!("SELECT ", columns!(nodes), ", ", is_sound!(nodes), " FROM nodes NOT INDEXED"))?;
    let mut rows = select.query([])?;
    let mut nodes = Vec::new();
    while let Some(row) = rows.next()? {
        let node = read(row)?;
        if row.get_ref(0)?.as_str().is_ok_and(|owner| owner == cluster.as_str()) {
            nodes.push(node);
        }
    }
    nodes.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(nodes)
}

fn read(row: &Row<'_>) -> Result<NodeRecord, StoreError> {
    check(row, 7, || match row.get::<_, String>(2) {
        Ok(name) => format!("node `{name}`"),
        Err(_) => "a node".to_owned(),
    })?;
    let duty: String = row.get(5)?;
    Ok(NodeRecord {
        id: NodeId::from_uuid(row.get::<_, StoredId>(1)?.0),
        name: row.get::<_, Parsed<NodeName>>(2)?.0,
        description: row.get(3)?,
        joined_ms: row.get(4)?,
        duty: NodeDuty::from_name(&duty).ok_or_else(|| corrupt("a node", &format!("its duty is `{duty}`")))?,
        drain_left_ms: row.get(6)?,
    })
}
