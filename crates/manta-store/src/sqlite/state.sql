-- The state of clusters, format 2. Ids are UUIDs of 16 bytes, digests 32 bytes, times ms since 1970.

CREATE TABLE swarms (
    cluster_id TEXT    NOT NULL,
    swarm_id   BLOB    NOT NULL,
    ordinal    INTEGER NOT NULL,             -- position in the cluster's list of swarms, from 1
    name       TEXT    NOT NULL,
    submission TEXT    NOT NULL,             -- JSON
    created_ms INTEGER NOT NULL,
    seq        INTEGER NOT NULL DEFAULT 0,   -- last event written
    finished   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (cluster_id, swarm_id),
    UNIQUE (cluster_id, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    cluster_id TEXT NOT NULL,
    key        TEXT NOT NULL,
    request    TEXT NOT NULL,                -- digest of the request that used it
    swarm_id   BLOB NOT NULL,
    PRIMARY KEY (cluster_id, key),
    FOREIGN KEY (cluster_id, swarm_id) REFERENCES swarms
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    cluster_id  TEXT    NOT NULL,
    node_id     BLOB    NOT NULL,
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,            -- JSON
    joined_ms   INTEGER NOT NULL,
    PRIMARY KEY (cluster_id, node_id),
    UNIQUE (cluster_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    cluster_id TEXT    NOT NULL,
    swarm_id   BLOB    NOT NULL,
    seq        INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    time_ms    INTEGER NOT NULL,
    subject    TEXT    NOT NULL,             -- JSON: iteration, task, node, attempt
    cause      TEXT    NOT NULL,             -- JSON
    event      TEXT    NOT NULL,             -- JSON, with its kind
    PRIMARY KEY (cluster_id, swarm_id, seq),
    FOREIGN KEY (cluster_id, swarm_id) REFERENCES swarms
) STRICT, WITHOUT ROWID;

-- Derived from events, in their transaction: which attempt was offered where.
CREATE TABLE attempts (
    cluster_id TEXT    NOT NULL,
    swarm_id   BLOB    NOT NULL,
    attempt_id BLOB    NOT NULL,
    iteration  INTEGER NOT NULL,
    task       INTEGER NOT NULL,
    slot       INTEGER NOT NULL,
    node       TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    PRIMARY KEY (cluster_id, swarm_id, attempt_id),
    FOREIGN KEY (cluster_id, swarm_id) REFERENCES swarms
) STRICT, WITHOUT ROWID;

-- Derived from events, in their transaction: the fence. Whose attempt a slot takes, and whether it has taken it.
CREATE TABLE slots (
    cluster_id TEXT    NOT NULL,
    swarm_id   BLOB    NOT NULL,
    iteration  INTEGER NOT NULL,
    task       INTEGER NOT NULL,
    slot       INTEGER NOT NULL,
    attempt_id BLOB    NOT NULL,
    epoch      INTEGER NOT NULL,
    accepted   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (cluster_id, swarm_id, iteration, task, slot),
    FOREIGN KEY (cluster_id, swarm_id, attempt_id) REFERENCES attempts
) STRICT, WITHOUT ROWID;

-- Derived from events, in their transaction.
CREATE TABLE results (
    cluster_id TEXT    NOT NULL,
    swarm_id   BLOB    NOT NULL,
    iteration  INTEGER NOT NULL,
    task       INTEGER NOT NULL,
    node       TEXT    NOT NULL,
    attempt_id BLOB    NOT NULL,
    position   INTEGER NOT NULL,             -- order of publication in the attempt
    name       TEXT    NOT NULL,
    digest     BLOB    NOT NULL,
    size       INTEGER NOT NULL,
    accepted   INTEGER NOT NULL,
    PRIMARY KEY (cluster_id, swarm_id, iteration, task, node, attempt_id, position),
    FOREIGN KEY (cluster_id, swarm_id, attempt_id) REFERENCES attempts
) STRICT, WITHOUT ROWID;

-- Derived from events, in their transaction: the current values.
CREATE TABLE globals (
    cluster_id TEXT    NOT NULL,
    swarm_id   BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    writer     TEXT    NOT NULL,
    digest     BLOB    NOT NULL,
    size       INTEGER NOT NULL,
    PRIMARY KEY (cluster_id, swarm_id, name),
    FOREIGN KEY (cluster_id, swarm_id) REFERENCES swarms
) STRICT, WITHOUT ROWID;
