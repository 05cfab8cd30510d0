-- A state file of format 1 as that format wrote it: every kind of event, every table filled.
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
INSERT INTO swarms VALUES ('default', X'00000000000000000000000000000001', 1, 'swarm 1', '{"name":"é","max_iteration":1,"globals":{},"modules":[{"bundle":"1c59db3c8170b21d04027c78b8a4d29c3b864df3fe480839feb523dac052dfc9","name":"work","version":"0.0.0+037d689db661","image":"manta_light:latest","datasets":[],"resources":{}}],"tasks":[{"alias":"work","module":0,"after":[],"method":"all","maximum":{"kind":"unlimited"}}]}', 1700000000000, 7, 0);
INSERT INTO swarms VALUES ('default', X'00000000000000000000000000000002', 2, 'swarm 2', '{"name":"é","max_iteration":1,"globals":{},"modules":[{"bundle":"1c59db3c8170b21d04027c78b8a4d29c3b864df3fe480839feb523dac052dfc9","name":"work","version":"0.0.0+037d689db661","image":"manta_light:latest","datasets":[],"resources":{}}],"tasks":[{"alias":"work","module":0,"after":[],"method":"all","maximum":{"kind":"unlimited"}}]}', 1700000000000, 21, 1);
INSERT INTO idempotency_keys VALUES ('default', 'key', 'request', X'00000000000000000000000000000001');
INSERT INTO nodes VALUES ('default', X'00000000000000000000000000000000', 'node-0', '{}', 1700000000000);
INSERT INTO nodes VALUES ('default', X'00000000000000000000000000000001', 'node-1', '{}', 1700000000000);
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 1, 'attempt_offered', 1700000000001, '{"kind":"attempt_offered","attempt":"at_00000000000000000000000001","iteration":0,"task":0,"slot":0,"node":"node-0","epoch":1,"reason":"first"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 2, 'attempt_offered', 1700000000002, '{"kind":"attempt_offered","attempt":"at_00000000000000000000000002","iteration":0,"task":0,"slot":1,"node":"node-1","epoch":1,"reason":"first"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 3, 'attempt_failed', 1700000000003, '{"kind":"attempt_failed","attempt":"at_00000000000000000000000001","failure":{"class":"user_error","message":"ValueError: \u0000\"🐟","traceback":"Traceback\n","location":"worker.py:12","log_tail":["last"]},"results":[{"name":"half","blob":{"digest":"0101010101010101010101010101010101010101010101010101010101010101","size":8589934592}}],"timings":{"queue_ms":0,"prepare_ms":0,"start_ms":0,"run_ms":7,"upload_ms":0},"retry_after_ms":500}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 4, 'attempt_offered', 1700000000004, '{"kind":"attempt_offered","attempt":"at_00000000000000000000000003","iteration":0,"task":0,"slot":0,"node":"node-0","epoch":2,"reason":"first"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 5, 'attempt_accepted', 1700000000005, '{"kind":"attempt_accepted","attempt":"at_00000000000000000000000003","outputs":{"results":[{"name":"weights","blob":{"digest":"0202020202020202020202020202020202020202020202020202020202020202","size":17179869184}},{"name":"loss","blob":{"digest":"0303030303030303030303030303030303030303030303030303030303030303","size":25769803776}}],"globals":[],"stop_swarm":false},"timings":{"queue_ms":0,"prepare_ms":0,"start_ms":0,"run_ms":0,"upload_ms":0}}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 6, 'attempt_accepted', 1700000000006, '{"kind":"attempt_accepted","attempt":"at_00000000000000000000000002","outputs":{"results":[{"name":"weights","blob":{"digest":"0202020202020202020202020202020202020202020202020202020202020202","size":17179869184}},{"name":"loss","blob":{"digest":"0303030303030303030303030303030303030303030303030303030303030303","size":25769803776}}],"globals":[],"stop_swarm":false},"timings":{"queue_ms":0,"prepare_ms":0,"start_ms":0,"run_ms":0,"upload_ms":0}}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 7, 'task_run_closed', 1700000000007, '{"kind":"task_run_closed","iteration":0,"task":0,"succeeded":true,"reason":"all accepted","globals":[{"name":"rate","blob":{"digest":"0404040404040404040404040404040404040404040404040404040404040404","size":34359738368},"revision":1,"writer":"node-4"}],"conflicts":["rate: node-1, node-2"]}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 1, 'swarm_admitted', 1700000000001, '{"kind":"swarm_admitted"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 2, 'iteration_started', 1700000000002, '{"kind":"iteration_started","iteration":0,"requests":[{"task":"worker","nodes":["node-1"]}]}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 3, 'task_run_ready', 1700000000003, '{"kind":"task_run_ready","iteration":0,"task":0}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 4, 'task_run_started', 1700000000004, '{"kind":"task_run_started","iteration":0,"task":0,"nodes":["node-0"],"movable":true,"globals_revision":0}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 5, 'attempt_offered', 1700000000005, '{"kind":"attempt_offered","attempt":"at_00000000000000000000000035","iteration":0,"task":0,"slot":0,"node":"node-0","epoch":1,"reason":"first"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 6, 'attempt_progressed', 1700000000006, '{"kind":"attempt_progressed","attempt":"at_00000000000000000000000035","state":"preparing"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 7, 'attempt_progressed', 1700000000007, '{"kind":"attempt_progressed","attempt":"at_00000000000000000000000035","state":"running"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 8, 'attempt_progressed', 1700000000008, '{"kind":"attempt_progressed","attempt":"at_00000000000000000000000035","state":"silent"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 9, 'attempt_progressed', 1700000000009, '{"kind":"attempt_progressed","attempt":"at_00000000000000000000000035","state":"uploading"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 10, 'attempt_failed', 1700000000010, '{"kind":"attempt_failed","attempt":"at_00000000000000000000000035","failure":{"class":"user_error","message":"ValueError: \u0000\"🐟","traceback":"Traceback\n","location":"worker.py:12","log_tail":["last"]},"results":[{"name":"half","blob":{"digest":"0101010101010101010101010101010101010101010101010101010101010101","size":8589934592}}],"timings":{"queue_ms":0,"prepare_ms":0,"start_ms":0,"run_ms":7,"upload_ms":0},"retry_after_ms":500}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 11, 'attempt_offered', 1700000000011, '{"kind":"attempt_offered","attempt":"at_00000000000000000000000036","iteration":0,"task":0,"slot":0,"node":"node-0","epoch":2,"reason":"first"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 12, 'attempt_lost', 1700000000012, '{"kind":"attempt_lost","attempt":"at_00000000000000000000000036","reason":"because"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 13, 'attempt_offered', 1700000000013, '{"kind":"attempt_offered","attempt":"at_00000000000000000000000037","iteration":0,"task":0,"slot":0,"node":"node-0","epoch":3,"reason":"first"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 14, 'attempt_accepted', 1700000000014, '{"kind":"attempt_accepted","attempt":"at_00000000000000000000000037","outputs":{"results":[{"name":"weights","blob":{"digest":"0202020202020202020202020202020202020202020202020202020202020202","size":17179869184}},{"name":"loss","blob":{"digest":"0303030303030303030303030303030303030303030303030303030303030303","size":25769803776}}],"globals":[],"stop_swarm":false},"timings":{"queue_ms":0,"prepare_ms":0,"start_ms":0,"run_ms":0,"upload_ms":0}}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 15, 'attempt_offered', 1700000000015, '{"kind":"attempt_offered","attempt":"at_00000000000000000000000038","iteration":0,"task":0,"slot":1,"node":"node-1","epoch":1,"reason":"first"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 16, 'attempt_cancelled', 1700000000016, '{"kind":"attempt_cancelled","attempt":"at_00000000000000000000000038","reason":"because"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 17, 'node_excused', 1700000000017, '{"kind":"node_excused","iteration":0,"task":0,"slot":1,"node":"node-1","reason":"because"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 18, 'task_run_closed', 1700000000018, '{"kind":"task_run_closed","iteration":0,"task":0,"succeeded":true,"reason":"all accepted","globals":[{"name":"rate","blob":{"digest":"0404040404040404040404040404040404040404040404040404040404040404","size":34359738368},"revision":1,"writer":"node-4"}],"conflicts":["rate: node-1, node-2"]}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 19, 'task_run_skipped', 1700000000019, '{"kind":"task_run_skipped","iteration":0,"task":1,"reason":"because"}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 20, 'iteration_finished', 1700000000020, '{"kind":"iteration_finished","iteration":0,"elapsed_ms":12}');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 21, 'swarm_failed', 1700000000021, '{"kind":"swarm_failed","reason":"because","attempt":"at_00000000000000000000000035"}');
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000001', X'00000000000000000000000000000001', 0, 0, 0, 'node-0', 1);
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000001', X'00000000000000000000000000000002', 0, 0, 1, 'node-1', 1);
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000001', X'00000000000000000000000000000003', 0, 0, 0, 'node-0', 2);
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000002', X'00000000000000000000000000000065', 0, 0, 0, 'node-0', 1);
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000002', X'00000000000000000000000000000066', 0, 0, 0, 'node-0', 2);
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000002', X'00000000000000000000000000000067', 0, 0, 0, 'node-0', 3);
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000002', X'00000000000000000000000000000068', 0, 0, 1, 'node-1', 1);
INSERT INTO slots VALUES ('default', X'00000000000000000000000000000001', 0, 0, 0, X'00000000000000000000000000000003', 2, 1);
INSERT INTO slots VALUES ('default', X'00000000000000000000000000000001', 0, 0, 1, X'00000000000000000000000000000002', 1, 1);
INSERT INTO slots VALUES ('default', X'00000000000000000000000000000002', 0, 0, 0, X'00000000000000000000000000000067', 3, 1);
INSERT INTO slots VALUES ('default', X'00000000000000000000000000000002', 0, 0, 1, X'00000000000000000000000000000068', 1, 0);
INSERT INTO results VALUES ('default', X'00000000000000000000000000000001', 0, 0, 'node-0', X'00000000000000000000000000000001', 0, 'half', X'0101010101010101010101010101010101010101010101010101010101010101', 8589934592, 0);
INSERT INTO results VALUES ('default', X'00000000000000000000000000000001', 0, 0, 'node-0', X'00000000000000000000000000000003', 0, 'weights', X'0202020202020202020202020202020202020202020202020202020202020202', 17179869184, 1);
INSERT INTO results VALUES ('default', X'00000000000000000000000000000001', 0, 0, 'node-0', X'00000000000000000000000000000003', 1, 'loss', X'0303030303030303030303030303030303030303030303030303030303030303', 25769803776, 1);
INSERT INTO results VALUES ('default', X'00000000000000000000000000000001', 0, 0, 'node-1', X'00000000000000000000000000000002', 0, 'weights', X'0202020202020202020202020202020202020202020202020202020202020202', 17179869184, 1);
INSERT INTO results VALUES ('default', X'00000000000000000000000000000001', 0, 0, 'node-1', X'00000000000000000000000000000002', 1, 'loss', X'0303030303030303030303030303030303030303030303030303030303030303', 25769803776, 1);
INSERT INTO results VALUES ('default', X'00000000000000000000000000000002', 0, 0, 'node-0', X'00000000000000000000000000000065', 0, 'half', X'0101010101010101010101010101010101010101010101010101010101010101', 8589934592, 0);
INSERT INTO results VALUES ('default', X'00000000000000000000000000000002', 0, 0, 'node-0', X'00000000000000000000000000000067', 0, 'weights', X'0202020202020202020202020202020202020202020202020202020202020202', 17179869184, 1);
INSERT INTO results VALUES ('default', X'00000000000000000000000000000002', 0, 0, 'node-0', X'00000000000000000000000000000067', 1, 'loss', X'0303030303030303030303030303030303030303030303030303030303030303', 25769803776, 1);
INSERT INTO globals VALUES ('default', X'00000000000000000000000000000001', 'rate', 1, 'node-4', X'0404040404040404040404040404040404040404040404040404040404040404', 34359738368);
INSERT INTO globals VALUES ('default', X'00000000000000000000000000000002', 'rate', 1, 'node-4', X'0404040404040404040404040404040404040404040404040404040404040404', 34359738368);
PRAGMA application_id = 1299075956;
PRAGMA user_version = 1;
