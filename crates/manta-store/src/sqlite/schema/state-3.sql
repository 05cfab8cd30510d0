-- The state of clusters, format 3. Ids are UUIDs of 16 bytes, digests 32 bytes, times ms since 1970.
--
-- `checksum` is `checksum_of(table, the columns before it)`, 16 bytes. Those of a history are chained: an event's covers
-- the one before it, and the first event's that of its swarm.

CREATE TABLE generations (
    generation INTEGER NOT NULL PRIMARY KEY,
    since_ms   INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    checksum   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE swarms (
    cluster_id TEXT    NOT NULL,
    swarm_id   BLOB    NOT NULL,
    ordinal    INTEGER NOT NULL,             -- position in the cluster's list of swarms, from 1
    name       TEXT    NOT NULL,
    submission TEXT    NOT NULL,             -- JSON
    created_ms INTEGER NOT NULL,
    checksum   BLOB    NOT NULL,
    seq        INTEGER NOT NULL,             -- last event written
    ended_ms   INTEGER,                      -- the time of its first final event
    tail       BLOB    NOT NULL,             -- checksum of the last event, or of the swarm before its first
    head       BLOB    NOT NULL,             -- checksum_of('heads', cluster_id, swarm_id, seq, ended_ms, tail)
    PRIMARY KEY (cluster_id, swarm_id),
    UNIQUE (cluster_id, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    cluster_id TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    request    TEXT    NOT NULL,             -- digest of the request that used it
    swarm_id   BLOB,                         -- the swarm that it made or changed
    answer     TEXT    NOT NULL,
    used_ms    INTEGER NOT NULL,
    checksum   BLOB    NOT NULL,
    PRIMARY KEY (cluster_id, key),
    FOREIGN KEY (cluster_id, swarm_id) REFERENCES swarms
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_of_swarms ON idempotency_keys (cluster_id, swarm_id);

CREATE TABLE nodes (
    cluster_id    TEXT    NOT NULL,
    node_id       BLOB    NOT NULL,
    name          TEXT    NOT NULL,
    description   TEXT    NOT NULL,          -- JSON
    joined_ms     INTEGER NOT NULL,
    duty          TEXT    NOT NULL,
    drain_left_ms INTEGER,
    checksum      BLOB    NOT NULL,
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
    checksum   BLOB    NOT NULL,             -- checksum_of('events', the checksum before it, the columns before this)
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
    checksum   BLOB    NOT NULL,
    PRIMARY KEY (cluster_id, swarm_id, attempt_id),
    UNIQUE (cluster_id, attempt_id),
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
    accepted   INTEGER NOT NULL,
    checksum   BLOB    NOT NULL,
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
    checksum   BLOB    NOT NULL,
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
    checksum   BLOB    NOT NULL,
    PRIMARY KEY (cluster_id, swarm_id, name),
    FOREIGN KEY (cluster_id, swarm_id) REFERENCES swarms
) STRICT, WITHOUT ROWID;

INSERT INTO generations
SELECT now, now, 'created', checksum_of('generations', now, now, 'created')
FROM (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now);
