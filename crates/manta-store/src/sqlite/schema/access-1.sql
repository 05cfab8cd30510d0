-- Who may use a manager, and what was done with it.

CREATE TABLE users (
    cluster_id TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL,               -- the most that any token of theirs may do
    created_ms INTEGER NOT NULL,
    checksum   BLOB    NOT NULL,               -- checksum_of('users', the columns before it)
    PRIMARY KEY (cluster_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    cluster_id TEXT    NOT NULL,
    token_id   TEXT    NOT NULL,
    user       TEXT    NOT NULL,
    role       TEXT    NOT NULL,
    digest     BLOB    NOT NULL,               -- SHA-256 of the whole token
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    used_ms    INTEGER,                        -- to the minute
    revoked_ms INTEGER,
    checksum   BLOB    NOT NULL,
    PRIMARY KEY (cluster_id, token_id),
    FOREIGN KEY (cluster_id, user) REFERENCES users (cluster_id, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE access_keys (
    cluster_id TEXT    NOT NULL,
    key        TEXT    NOT NULL,               -- of an idempotent request
    request    TEXT    NOT NULL,               -- a digest of it
    answer     TEXT    NOT NULL,               -- what was done, in words
    used_ms    INTEGER NOT NULL,
    checksum   BLOB    NOT NULL,
    PRIMARY KEY (cluster_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE quotas (
    cluster_id TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    value      INTEGER NOT NULL,
    checksum   BLOB    NOT NULL,
    PRIMARY KEY (cluster_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    seq        INTEGER NOT NULL PRIMARY KEY,   -- from 1, without gaps
    time_ms    INTEGER NOT NULL,
    cluster_id TEXT    NOT NULL,
    who        TEXT    NOT NULL,
    token      TEXT,                           -- its id
    source     TEXT    NOT NULL,               -- where the request came from
    method     TEXT    NOT NULL,
    route      TEXT    NOT NULL,
    object     TEXT    NOT NULL,
    outcome    TEXT    NOT NULL,
    key        TEXT,                           -- the idempotency key
    digest     BLOB    NOT NULL                -- of the digest before it and of all columns before this one
) STRICT;

CREATE TABLE audit_ends (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    first_seq  INTEGER NOT NULL,               -- of the oldest record that is kept
    before     BLOB    NOT NULL,               -- the digest of the record before that; zeros before the first
    last_seq   INTEGER NOT NULL,
    last       BLOB    NOT NULL,               -- the digest of the newest record
    bytes      INTEGER NOT NULL,               -- of the texts of all records that are kept
    checksum   BLOB    NOT NULL
) STRICT;

INSERT INTO audit_ends
SELECT *, checksum_of('audit_ends', id, first_seq, before, last_seq, last, bytes)
FROM (SELECT 1 AS id, 1 AS first_seq, zeroblob(32) AS before, 0 AS last_seq, zeroblob(32) AS last, 0 AS bytes);
