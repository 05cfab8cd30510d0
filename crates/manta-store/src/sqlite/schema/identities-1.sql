-- Format 1 of what lets nodes in: tokens to join with, who joined, and the certificates that were issued.

CREATE TABLE join_tokens (
    cluster_id TEXT    NOT NULL,
    token_id   BLOB    NOT NULL,
    secret     BLOB    NOT NULL,               -- SHA-256
    name       TEXT,                           -- the only node that may use it
    labels     TEXT    NOT NULL,               -- JSON: what the node that uses it is labelled with
    made_ms    INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    used_ms    INTEGER,
    used_by    TEXT,                           -- a node's name
    checksum   BLOB    NOT NULL,               -- checksum_of('join_tokens', the columns before it)
    PRIMARY KEY (cluster_id, token_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE enrolments (
    cluster_id TEXT    NOT NULL,
    node       TEXT    NOT NULL,
    node_id    BLOB    NOT NULL,
    labels     TEXT    NOT NULL,               -- JSON, of its token
    joined_ms  INTEGER NOT NULL,
    flag       TEXT,                           -- why its identity is not to be believed
    checksum   BLOB    NOT NULL,               -- checksum_of('enrolments', the columns before it)
    PRIMARY KEY (cluster_id, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE certificates (
    cluster_id TEXT    NOT NULL,
    serial     BLOB    NOT NULL,
    node       TEXT    NOT NULL,
    key        BLOB    NOT NULL,               -- SHA-256 of the public key's SPKI
    follows    BLOB,                           -- serial of the one that it renews
    pem        TEXT    NOT NULL,
    issued_ms  INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    checksum   BLOB    NOT NULL,               -- checksum_of('certificates', the columns before it)
    PRIMARY KEY (cluster_id, serial)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX certificates_by_former ON certificates (cluster_id, follows) WHERE follows IS NOT NULL;
CREATE INDEX certificates_by_node ON certificates (cluster_id, node, expires_ms);
