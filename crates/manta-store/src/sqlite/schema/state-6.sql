-- What format 6 adds to the state: signatures of published versions. Rows that are there get checksums over that column too.

ALTER TABLE modules ADD COLUMN signatures TEXT NOT NULL DEFAULT ''; -- one a line

UPDATE modules SET checksum = checksum_of('modules', cluster_id, name, version, digest, size, about, publisher, published_ms, yanked, deprecated, tags, signatures);
