-- What format 7 adds to the state: the clusters beyond the first, counted as format 4 counts. With a cluster go all of its rows,
-- so nodes and modules may become fewer too.

CREATE TABLE clusters (
    cluster_id TEXT    NOT NULL PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    removing   INTEGER NOT NULL,             -- 1 from when on it goes: what is left of it is removed at the next start
    checksum   BLOB    NOT NULL              -- checksum_of('clusters', the columns before it)
) STRICT, WITHOUT ROWID;

INSERT INTO tallies
SELECT *, checksum_of('tallies', counted, rows, folded)
FROM (SELECT 'clusters' AS counted, count(*) AS rows, folded(checksum) AS folded FROM clusters);

CREATE TRIGGER clusters_more AFTER INSERT ON clusters BEGIN
    UPDATE tallies
    SET rows = rows + 1, folded = fold(folded, NEW.checksum), checksum = checksum_of('tallies', counted, rows + 1, fold(folded, NEW.checksum))
    WHERE counted = 'clusters';
END;

CREATE TRIGGER clusters_other AFTER UPDATE ON clusters BEGIN
    UPDATE tallies
    SET rows = rows, folded = fold(fold(folded, OLD.checksum), NEW.checksum), checksum = checksum_of('tallies', counted, rows, fold(fold(folded, OLD.checksum), NEW.checksum))
    WHERE counted = 'clusters';
END;

CREATE TRIGGER clusters_less AFTER DELETE ON clusters BEGIN
    UPDATE tallies
    SET rows = rows - 1, folded = fold(folded, OLD.checksum), checksum = checksum_of('tallies', counted, rows - 1, fold(folded, OLD.checksum))
    WHERE counted = 'clusters';
END;

CREATE TRIGGER nodes_less AFTER DELETE ON nodes BEGIN
    UPDATE tallies
    SET rows = rows - 1, folded = fold(folded, OLD.checksum), checksum = checksum_of('tallies', counted, rows - 1, fold(folded, OLD.checksum))
    WHERE counted = 'nodes';
END;

CREATE TRIGGER modules_less AFTER DELETE ON modules BEGIN
    UPDATE tallies
    SET rows = rows - 1, folded = fold(folded, OLD.checksum), checksum = checksum_of('tallies', counted, rows - 1, fold(folded, OLD.checksum))
    WHERE counted = 'modules';
END;
