-- What format 3 adds to logs: how far each goes, beside its lines, so that missing ones show, also at its end.

CREATE TABLE log_ends (
    cluster_id TEXT    NOT NULL,
    swarm_id   BLOB    NOT NULL,
    seq        INTEGER NOT NULL,             -- that of the last line
    checksum   BLOB    NOT NULL,             -- checksum_of('log_ends', the columns before it)
    PRIMARY KEY (cluster_id, swarm_id)
) STRICT, WITHOUT ROWID;
