-- What format 5 adds to the state: published versions of modules, counted as format 4 counts.

CREATE TABLE modules (
    cluster_id   TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    version      TEXT    NOT NULL,             -- SemVer
    digest       BLOB    NOT NULL,             -- of the bundle's manifest
    size         INTEGER NOT NULL,             -- of the same
    about        TEXT    NOT NULL,             -- JSON: what listings show
    publisher    TEXT    NOT NULL,             -- who published it, as its client said
    published_ms INTEGER NOT NULL,
    yanked       TEXT,                         -- why it is chosen by no range any more
    deprecated   TEXT,                         -- what to do in its place
    tags         TEXT    NOT NULL,             -- its names that move, sorted, with one space between two
    checksum     BLOB    NOT NULL,             -- checksum_of('modules', the columns before it)
    PRIMARY KEY (cluster_id, name, version)
) STRICT, WITHOUT ROWID;

INSERT INTO tallies
SELECT *, checksum_of('tallies', counted, rows, folded)
FROM (SELECT 'modules' AS counted, count(*) AS rows, folded(checksum) AS folded FROM modules);

CREATE TRIGGER modules_more AFTER INSERT ON modules BEGIN
    UPDATE tallies
    SET rows = rows + 1, folded = fold(folded, NEW.checksum), checksum = checksum_of('tallies', counted, rows + 1, fold(folded, NEW.checksum))
    WHERE counted = 'modules';
END;

CREATE TRIGGER modules_other AFTER UPDATE ON modules BEGIN
    UPDATE tallies
    SET rows = rows, folded = fold(fold(folded, OLD.checksum), NEW.checksum), checksum = checksum_of('tallies', counted, rows, fold(fold(folded, OLD.checksum), NEW.checksum))
    WHERE counted = 'modules';
END;
