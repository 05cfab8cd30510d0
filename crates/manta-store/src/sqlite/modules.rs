//! Published versions of modules: what each is, for ever, and what is said of it.
use manta_types::{Blob, ClusterId, Digest};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::checksum::{check, columns, is_sound, put as insert};
use super::commit::run;
use crate::{CommitError, ModuleRecord, StoreError};

const SELECT: &str = concat!("SELECT ", columns!(modules), ", ", is_sound!(modules), " FROM modules");

/// Stores a version that is new, or what is said of one that is not; its bundle stays what it was.
pub(super) fn put(db: &Connection, cluster: &ClusterId, module: &ModuleRecord) -> Result<(), CommitError> {
    let ModuleRecord { name, version, bundle, about, publisher, published_ms, yanked, deprecated, tags, signatures } =
        module;
    let known = db
        .prepare_cached(&format!("{SELECT} WHERE cluster_id = ?1 AND name = ?2 AND version = ?3"))?
        .query_row([cluster.as_str(), name.as_str(), version.as_str()], |row| Ok(read(row)))
        .optional()?
        .transpose()?;
    if known.is_some_and(|known| !known.is_same_version(module)) {
        return Err(CommitError::Published { name: name.clone(), version: version.clone() });
    }
    run(
        db,
        concat!(
            insert!("INSERT", modules, "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12"),
            " ON CONFLICT (cluster_id, name, version) DO UPDATE SET yanked = excluded.yanked, \
             deprecated = excluded.deprecated, tags = excluded.tags, signatures = excluded.signatures, checksum = excluded.checksum"
        ),
        params![
            cluster.as_str(),
            name,
            version,
            bundle.digest.bytes(),
            bundle.size,
            about,
            publisher,
            published_ms,
            yanked,
            deprecated,
            tags.join(" "),
            signatures.join("\n")
        ],
    )?;
    Ok(())
}

/// All versions of a cluster's modules, by name and then by the text of the version. All rows of the table are read and
/// checked, as those of swarms are.
pub(super) fn all(db: &Connection, cluster: &ClusterId) -> Result<Vec<ModuleRecord>, StoreError> {
    let mut select = db.prepare_cached(&format!("{SELECT} NOT INDEXED"))?;
    let mut rows = select.query([])?;
    let mut modules = Vec::new();
    while let Some(row) = rows.next()? {
        let module = read(row)?;
        if row.get_ref(0)?.as_str().is_ok_and(|owner| owner == cluster.as_str()) {
            modules.push(module);
        }
    }
    modules.sort_unstable_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(modules)
}

fn read(row: &Row<'_>) -> Result<ModuleRecord, StoreError> {
    check(row, 12, || match (row.get::<_, String>(1), row.get::<_, String>(2)) {
        (Ok(name), Ok(version)) => format!("version {version} of module `{name}`"),
        _ => "a version of a module".to_owned(),
    })?;
    let (tags, signatures): (String, String) = (row.get(10)?, row.get(11)?);
    Ok(ModuleRecord {
        name: row.get(1)?,
        version: row.get(2)?,
        bundle: Blob { digest: Digest::from_bytes(row.get(3)?), size: row.get(4)? },
        about: row.get(5)?,
        publisher: row.get(6)?,
        published_ms: row.get(7)?,
        yanked: row.get(8)?,
        deprecated: row.get(9)?,
        tags: tags.split_whitespace().map(str::to_owned).collect(),
        signatures: signatures.lines().map(str::to_owned).collect(),
    })
}
