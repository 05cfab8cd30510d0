-- Lines of tasks' logs, since format 2. Ids are UUIDs of 16 bytes, times ms since 1970.

CREATE TABLE log_lines (
    cluster_id TEXT    NOT NULL,
    swarm_id   BLOB    NOT NULL,
    seq        INTEGER NOT NULL,             -- position in the swarm's log, from 1
    time_ms    INTEGER NOT NULL,             -- the node's clock
    attempt_id BLOB    NOT NULL,
    task       TEXT    NOT NULL,
    node       TEXT    NOT NULL,
    iteration  INTEGER NOT NULL,
    level      TEXT    NOT NULL,
    severity   INTEGER NOT NULL,             -- the level as a number, rising
    source     TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    data       TEXT,                         -- JSON of metrics and progress
    checksum   BLOB    NOT NULL,             -- checksum_of('log_lines', the columns before it)
    PRIMARY KEY (cluster_id, swarm_id, seq)
) STRICT, WITHOUT ROWID;
