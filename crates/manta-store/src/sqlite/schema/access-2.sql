-- What format 2 adds to users: who they are for the issuer of identities, and who was removed.

ALTER TABLE users ADD COLUMN subject TEXT;                          -- the issuer and what it calls them, for ever
ALTER TABLE users ADD COLUMN role_from TEXT NOT NULL DEFAULT 'admin'; -- `admin`, or `issuer`

-- A row that was damaged before stays damaged.
UPDATE users SET checksum = checksum_of('users', cluster_id, name, role, created_ms, subject, role_from)
WHERE checksum = checksum_of('users', cluster_id, name, role, created_ms);

CREATE TABLE users_removed (
    cluster_id TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    removed_ms INTEGER NOT NULL,
    checksum   BLOB    NOT NULL,
    PRIMARY KEY (cluster_id, name)
) STRICT, WITHOUT ROWID;
