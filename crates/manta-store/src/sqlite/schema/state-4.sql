-- What format 4 adds to the state: how many rows the tables hold whose rows no history vouches for, and what their checksums
-- come to, so that a row shows that is lost, or no longer found under its key.

CREATE TABLE tallies (
    counted  TEXT    NOT NULL PRIMARY KEY,   -- name of the table
    rows     INTEGER NOT NULL,
    folded   BLOB    NOT NULL,               -- the checksums of its rows, exclusive or
    checksum BLOB    NOT NULL                -- checksum_of('tallies', the columns before it)
) STRICT, WITHOUT ROWID;

INSERT INTO tallies
SELECT *, checksum_of('tallies', counted, rows, folded)
FROM (
    SELECT 'generations' AS counted, count(*) AS rows, folded(checksum) AS folded FROM generations
    UNION ALL SELECT 'swarms', count(*), folded(checksum) FROM swarms
    UNION ALL SELECT 'idempotency_keys', count(*), folded(checksum) FROM idempotency_keys
    UNION ALL SELECT 'nodes', count(*), folded(checksum) FROM nodes
);

CREATE TRIGGER generations_more AFTER INSERT ON generations BEGIN
    UPDATE tallies
    SET rows = rows + 1, folded = fold(folded, NEW.checksum), checksum = checksum_of('tallies', counted, rows + 1, fold(folded, NEW.checksum))
    WHERE counted = 'generations';
END;

CREATE TRIGGER swarms_more AFTER INSERT ON swarms BEGIN
    UPDATE tallies
    SET rows = rows + 1, folded = fold(folded, NEW.checksum), checksum = checksum_of('tallies', counted, rows + 1, fold(folded, NEW.checksum))
    WHERE counted = 'swarms';
END;

CREATE TRIGGER swarms_less AFTER DELETE ON swarms BEGIN
    UPDATE tallies
    SET rows = rows - 1, folded = fold(folded, OLD.checksum), checksum = checksum_of('tallies', counted, rows - 1, fold(folded, OLD.checksum))
    WHERE counted = 'swarms';
END;

CREATE TRIGGER idempotency_keys_more AFTER INSERT ON idempotency_keys BEGIN
    UPDATE tallies
    SET rows = rows + 1, folded = fold(folded, NEW.checksum), checksum = checksum_of('tallies', counted, rows + 1, fold(folded, NEW.checksum))
    WHERE counted = 'idempotency_keys';
END;

CREATE TRIGGER idempotency_keys_less AFTER DELETE ON idempotency_keys BEGIN
    UPDATE tallies
    SET rows = rows - 1, folded = fold(folded, OLD.checksum), checksum = checksum_of('tallies', counted, rows - 1, fold(folded, OLD.checksum))
    WHERE counted = 'idempotency_keys';
END;

CREATE TRIGGER nodes_more AFTER INSERT ON nodes BEGIN
    UPDATE tallies
    SET rows = rows + 1, folded = fold(folded, NEW.checksum), checksum = checksum_of('tallies', counted, rows + 1, fold(folded, NEW.checksum))
    WHERE counted = 'nodes';
END;

CREATE TRIGGER nodes_other AFTER UPDATE ON nodes BEGIN
    UPDATE tallies
    SET rows = rows, folded = fold(fold(folded, OLD.checksum), NEW.checksum), checksum = checksum_of('tallies', counted, rows, fold(fold(folded, OLD.checksum), NEW.checksum))
    WHERE counted = 'nodes';
END;
