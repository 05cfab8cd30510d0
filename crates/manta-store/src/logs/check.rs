//! Checks all logs of a data directory beside whoever writes them: every line for itself, and that none is missing.
use std::collections::BTreeMap;
use std::path::Path;

use manta_types::SwarmId;
use rusqlite::Connection;

use super::{LOG_FILE, LOGS, LogStore};
use crate::StoreError;
use crate::sqlite::checksum::is_sound;
use crate::sqlite::database::{self, StoredId, check_structure, corrupt, named};

/// What is found of one swarm's log.
#[derive(Debug, Default)]
struct Found {
    /// The last line that is as it was written.
    last: u64,
    /// How far the log goes, where that can be read.
    end: Option<u64>,
    /// Lines that should be there, and are not or not as they were written.
    lost: u64,
    /// The first of them.
    first: Option<u64>,
}

impl Found {
    /// Follows a line that is as it was written.
    fn follow(&mut self, seq: u64) {
        self.lose_until(seq - 1);
        self.last = seq;
    }

    fn lose_until(&mut self, seq: u64) {
        if seq > self.last {
            self.lost += seq - self.last;
            self.first = self.first.or(Some(self.last + 1));
        }
    }

    /// What is wrong, once all lines are seen.
    fn problem(mut self) -> Option<String> {
        let Some(end) = self.end.filter(|end| *end >= self.last) else {
            return Some(format!("how far it goes is damaged, its last whole line is {}", self.last));
        };
        self.lose_until(end);
        let Self { lost, first, .. } = self;
        first.map(|first| format!("{lost} of {end} lines are damaged or missing, the first is line {first}"))
    }
}

impl LogStore {
    /// Checks the logs of a data directory, whether a manager writes them or not, and changes nothing. Names what is damaged,
    /// once for the file and once for each swarm; where there are no logs, nothing is.
    ///
    /// # Errors
    /// When the file cannot be read at all.
    pub fn check(dir: &Path) -> Result<Vec<StoreError>, StoreError> {
        let path = dir.join(LOG_FILE);
        if !path.try_exists().map_err(database::io_at(&path))? {
            return Ok(Vec::new());
        }
        let mut damage = Vec::new();
        let found = database::open_to_read(&path, &LOGS).and_then(|connection| {
            let snapshot = connection.unchecked_transaction()?;
            damage.extend(named(&path, check_structure(&snapshot)).err());
            named(&path, read(&snapshot))
        });
        match found {
            Ok(found) => damage.extend(found.into_iter().filter_map(|((_, swarm), found)| {
                found.problem().map(|problem| corrupt(&format!("the log of swarm `{swarm}`"), &problem))
            })),
            Err(error @ StoreError::Corrupt { .. }) if damage.is_empty() => damage.push(error),
            Err(StoreError::Corrupt { .. }) => {}
            Err(other) => return Err(other),
        }
        Ok(damage)
    }
}

fn read(connection: &Connection) -> Result<BTreeMap<(String, SwarmId), Found>, StoreError> {
    let mut logs: BTreeMap<_, Found> = BTreeMap::new();
    let mut show = |rows: &'static str, take: fn(&mut Found, u64)| -> Result<(), StoreError> {
        let mut select = connection.prepare(rows)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let swarm = (row.get(0)?, SwarmId::from_uuid(row.get::<_, StoredId>(1)?.0));
            take(logs.entry(swarm).or_default(), row.get(2)?);
        }
        Ok(())
    };
    const LINES: &str = concat!(
        "SELECT cluster_id, swarm_id, seq FROM log_lines WHERE ",
        is_sound!(log_lines),
        " ORDER BY cluster_id, swarm_id, seq"
    );
    const ENDS: &str = concat!("SELECT cluster_id, swarm_id, seq FROM log_ends WHERE ", is_sound!(log_ends));
    show(LINES, Found::follow)?;
    show(ENDS, |found, seq| found.end = Some(seq))?;
    Ok(logs)
}
