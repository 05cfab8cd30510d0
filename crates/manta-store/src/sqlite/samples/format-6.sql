-- A state file of format 6 as that format wrote it: every kind of event, every table filled.
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

INSERT INTO generations VALUES (1795650184391, 1795650184391, 'created', X'd7c33890e85808f760b1cdeb994e8cdc');
INSERT INTO swarms VALUES ('default', X'00000000000000000000000000000001', 1, 'swarm 1', '{"name":"é","max_iteration":1,"globals":{},"modules":[{"bundle":"1c59db3c8170b21d04027c78b8a4d29c3b864df3fe480839feb523dac052dfc9","name":"work","version":"0.0.0+037d689db661","image":"manta_light:latest","datasets":[],"resources":{}}],"tasks":[{"alias":"work","module":0,"after":[],"method":"all","maximum":{"kind":"unlimited"}}]}', 1700000000000, X'1374de517de74581b38791079b0825e2', 7, NULL, X'881bbfeea1c934200552dca71106d567', X'1cd792cad641a47d5c04ffb880bd106a');
INSERT INTO swarms VALUES ('default', X'00000000000000000000000000000002', 2, 'swarm 2', '{"name":"é","max_iteration":1,"globals":{},"modules":[{"bundle":"1c59db3c8170b21d04027c78b8a4d29c3b864df3fe480839feb523dac052dfc9","name":"work","version":"0.0.0+037d689db661","image":"manta_light:latest","datasets":[],"resources":{}}],"tasks":[{"alias":"work","module":0,"after":[],"method":"all","maximum":{"kind":"unlimited"}}]}', 1700000000000, X'a59c0e7b0074742522ab1f676dbb6285', 21, 1700000000021, X'5b13f7c5718f31a05f68c68018aae728', X'c04cd589d630c901453df68b8c05a764');
INSERT INTO idempotency_keys VALUES ('default', 'key', 'request', X'00000000000000000000000000000001', '', 1700000000000, X'50a5501430b91c842d707dc42f38caf4');
INSERT INTO nodes VALUES ('default', X'00000000000000000000000000000000', 'node-0', '{}', 1700000000000, 'active', NULL, X'de1cad14c9ea406208fe898196d8989a');
INSERT INTO nodes VALUES ('default', X'00000000000000000000000000000001', 'node-1', '{}', 1700000000000, 'active', NULL, X'e030028e5d7c9eccde37af9708d76991');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 1, 'attempt_offered', 1700000000001, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_offered","attempt":"at_00000000000000000000000001","iteration":0,"task":0,"slot":0,"node":"node-0","epoch":1,"reason":"first"}', X'49988b47be9c67a21cd62e183a28553a');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 2, 'attempt_offered', 1700000000002, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_offered","attempt":"at_00000000000000000000000002","iteration":0,"task":0,"slot":1,"node":"node-1","epoch":1,"reason":"first"}', X'cbcc1f9c6cb84124ada524f5ddfa3132');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 3, 'attempt_failed', 1700000000003, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_failed","attempt":"at_00000000000000000000000001","failure":{"class":"user_error","message":"ValueError: \u0000\"🐟","traceback":"Traceback\n","location":"worker.py:12","log_tail":["last"]},"results":[{"name":"half","blob":{"digest":"0101010101010101010101010101010101010101010101010101010101010101","size":8589934592}}],"timings":{"queue_ms":0,"prepare_ms":0,"start_ms":0,"run_ms":7,"upload_ms":0},"retry_after_ms":500}', X'97607520561069a10ca11d635540a474');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 4, 'attempt_offered', 1700000000004, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_offered","attempt":"at_00000000000000000000000003","iteration":0,"task":0,"slot":0,"node":"node-0","epoch":2,"reason":"first"}', X'2aebe7fcc297f331d5dd31d5855c90b7');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 5, 'attempt_accepted', 1700000000005, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_accepted","attempt":"at_00000000000000000000000003","outputs":{"results":[{"name":"weights","blob":{"digest":"0202020202020202020202020202020202020202020202020202020202020202","size":17179869184}},{"name":"loss","blob":{"digest":"0303030303030303030303030303030303030303030303030303030303030303","size":25769803776}}],"globals":[],"stop_swarm":false},"timings":{"queue_ms":0,"prepare_ms":0,"start_ms":0,"run_ms":0,"upload_ms":0}}', X'4e0ec07b1f34eef25ac9c10d3d4f5a49');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 6, 'attempt_accepted', 1700000000006, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_accepted","attempt":"at_00000000000000000000000002","outputs":{"results":[{"name":"weights","blob":{"digest":"0202020202020202020202020202020202020202020202020202020202020202","size":17179869184}},{"name":"loss","blob":{"digest":"0303030303030303030303030303030303030303030303030303030303030303","size":25769803776}}],"globals":[],"stop_swarm":false},"timings":{"queue_ms":0,"prepare_ms":0,"start_ms":0,"run_ms":0,"upload_ms":0}}', X'cca11351653c6529492d2242360b7e87');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000001', 7, 'task_run_closed', 1700000000007, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"task_run_closed","iteration":0,"task":0,"succeeded":true,"reason":"all accepted","globals":[{"name":"rate","blob":{"digest":"0404040404040404040404040404040404040404040404040404040404040404","size":34359738368},"revision":1,"writer":"node-4"}],"conflicts":["rate: node-1, node-2"]}', X'881bbfeea1c934200552dca71106d567');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 1, 'swarm_admitted', 1700000000001, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"swarm_admitted"}', X'1e8502c5c43d1c80401616474bd6ba42');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 2, 'iteration_started', 1700000000002, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"iteration_started","iteration":0,"requests":[{"task":"worker","nodes":["node-1"]}]}', X'ad752691c0cc375eb65aee0b435b6502');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 3, 'task_run_ready', 1700000000003, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"task_run_ready","iteration":0,"task":0}', X'5e97306d2eb1d03a67c2f238ee3c2f74');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 4, 'task_run_started', 1700000000004, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"task_run_started","iteration":0,"task":0,"nodes":["node-0"],"movable":true,"globals_revision":0}', X'd22e0f1ae09bdb3a5f472c899507dc40');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 5, 'attempt_offered', 1700000000005, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_offered","attempt":"at_00000000000000000000000035","iteration":0,"task":0,"slot":0,"node":"node-0","epoch":1,"reason":"first"}', X'262c100325f7a468fede558ef0e6bbc2');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 6, 'attempt_progressed', 1700000000006, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_progressed","attempt":"at_00000000000000000000000035","state":"preparing"}', X'092a25a75245354850045663bd008cbe');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 7, 'attempt_progressed', 1700000000007, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_progressed","attempt":"at_00000000000000000000000035","state":"running"}', X'9fabf34dd6f265b7c191137da0c2b998');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 8, 'attempt_progressed', 1700000000008, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_progressed","attempt":"at_00000000000000000000000035","state":"silent"}', X'74f9d62caa21f5e29ba2afe27782cc5b');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 9, 'attempt_progressed', 1700000000009, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_progressed","attempt":"at_00000000000000000000000035","state":"uploading"}', X'd9a8f8f01d0ab45ef7efcdb997464286');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 10, 'attempt_failed', 1700000000010, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_failed","attempt":"at_00000000000000000000000035","failure":{"class":"user_error","message":"ValueError: \u0000\"🐟","traceback":"Traceback\n","location":"worker.py:12","log_tail":["last"]},"results":[{"name":"half","blob":{"digest":"0101010101010101010101010101010101010101010101010101010101010101","size":8589934592}}],"timings":{"queue_ms":0,"prepare_ms":0,"start_ms":0,"run_ms":7,"upload_ms":0},"retry_after_ms":500}', X'd774dce5bf64bf585ad18d67a33be5ea');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 11, 'attempt_offered', 1700000000011, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_offered","attempt":"at_00000000000000000000000036","iteration":0,"task":0,"slot":0,"node":"node-0","epoch":2,"reason":"first"}', X'1e458118bda99bcaf8cbc0e903d53cdd');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 12, 'attempt_lost', 1700000000012, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_lost","attempt":"at_00000000000000000000000036","reason":"because"}', X'6955cb5e64a2d0b84de1c32c0a92b93f');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 13, 'attempt_offered', 1700000000013, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_offered","attempt":"at_00000000000000000000000037","iteration":0,"task":0,"slot":0,"node":"node-0","epoch":3,"reason":"first"}', X'bf814e31f054aa1d3451445585f9c729');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 14, 'attempt_accepted', 1700000000014, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_accepted","attempt":"at_00000000000000000000000037","outputs":{"results":[{"name":"weights","blob":{"digest":"0202020202020202020202020202020202020202020202020202020202020202","size":17179869184}},{"name":"loss","blob":{"digest":"0303030303030303030303030303030303030303030303030303030303030303","size":25769803776}}],"globals":[],"stop_swarm":false},"timings":{"queue_ms":0,"prepare_ms":0,"start_ms":0,"run_ms":0,"upload_ms":0}}', X'3603140353ef3bfcccb1c159bd82cb78');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 15, 'attempt_offered', 1700000000015, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_offered","attempt":"at_00000000000000000000000038","iteration":0,"task":0,"slot":1,"node":"node-1","epoch":1,"reason":"first"}', X'0fb48b85d40e18c3d545411f660797a8');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 16, 'attempt_cancelled', 1700000000016, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"attempt_cancelled","attempt":"at_00000000000000000000000038","reason":"because"}', X'cd7f98c2c2eb0c8837862299e8c0e386');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 17, 'node_excused', 1700000000017, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"node_excused","iteration":0,"task":0,"slot":1,"node":"node-1","reason":"because"}', X'218f88e01f1b197cb9962167bc860065');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 18, 'task_run_closed', 1700000000018, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"task_run_closed","iteration":0,"task":0,"succeeded":true,"reason":"all accepted","globals":[{"name":"rate","blob":{"digest":"0404040404040404040404040404040404040404040404040404040404040404","size":34359738368},"revision":1,"writer":"node-4"}],"conflicts":["rate: node-1, node-2"]}', X'5ea63ee7c3b0738a43b39ff896cd89f3');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 19, 'task_run_skipped', 1700000000019, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"task_run_skipped","iteration":0,"task":1,"reason":"because"}', X'f16bfd1209faf4e54d78f4be99f08b37');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 20, 'iteration_finished', 1700000000020, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"iteration_finished","iteration":0,"elapsed_ms":12}', X'fe5be9c221bc2bae4c0df64b6c41ec7c');
INSERT INTO events VALUES ('default', X'00000000000000000000000000000002', 21, 'swarm_failed', 1700000000021, '{"iteration":1}', '{"by":"user","action":"submit"}', '{"kind":"swarm_failed","reason":"because","attempt":"at_00000000000000000000000035"}', X'5b13f7c5718f31a05f68c68018aae728');
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000001', X'00000000000000000000000000000001', 0, 0, 0, 'node-0', 1, X'67c9716180cf5c133bae8837c1c59272');
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000001', X'00000000000000000000000000000002', 0, 0, 1, 'node-1', 1, X'f74436466b443a5f6993879b576c99ab');
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000001', X'00000000000000000000000000000003', 0, 0, 0, 'node-0', 2, X'450097082b3d3fc7480b8bbd246e406a');
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000002', X'00000000000000000000000000000065', 0, 0, 0, 'node-0', 1, X'9377628d0d01e4948bb5f53b35502435');
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000002', X'00000000000000000000000000000066', 0, 0, 0, 'node-0', 2, X'23c78e5b2a83959c0a3b1e1870728a19');
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000002', X'00000000000000000000000000000067', 0, 0, 0, 'node-0', 3, X'46f51b893ffa6981c40a8c7388edcabe');
INSERT INTO attempts VALUES ('default', X'00000000000000000000000000000002', X'00000000000000000000000000000068', 0, 0, 1, 'node-1', 1, X'581f8433918b19d2895247fbe1692512');
INSERT INTO slots VALUES ('default', X'00000000000000000000000000000001', 0, 0, 0, X'00000000000000000000000000000003', 2, 1, X'659ef7a937233640db175119c27043fc');
INSERT INTO slots VALUES ('default', X'00000000000000000000000000000001', 0, 0, 1, X'00000000000000000000000000000002', 1, 1, X'916d12bb1022a252b9d43975a9dd4492');
INSERT INTO slots VALUES ('default', X'00000000000000000000000000000002', 0, 0, 0, X'00000000000000000000000000000067', 3, 1, X'54e4a97e232dca28365f0f6fc3d926f9');
INSERT INTO slots VALUES ('default', X'00000000000000000000000000000002', 0, 0, 1, X'00000000000000000000000000000068', 1, 0, X'54ee7f2905e39788e2f5cd949c8a7f12');
INSERT INTO results VALUES ('default', X'00000000000000000000000000000001', 0, 0, 'node-0', X'00000000000000000000000000000001', 0, 'half', X'0101010101010101010101010101010101010101010101010101010101010101', 8589934592, 0, X'2d7121b430b29a95a62353a9e2717309');
INSERT INTO results VALUES ('default', X'00000000000000000000000000000001', 0, 0, 'node-0', X'00000000000000000000000000000003', 0, 'weights', X'0202020202020202020202020202020202020202020202020202020202020202', 17179869184, 1, X'e2c8cd3af95ae153c95e44a3e42bb2cc');
INSERT INTO results VALUES ('default', X'00000000000000000000000000000001', 0, 0, 'node-0', X'00000000000000000000000000000003', 1, 'loss', X'0303030303030303030303030303030303030303030303030303030303030303', 25769803776, 1, X'163c1c49845bf48d0fa6898525cd1e82');
INSERT INTO results VALUES ('default', X'00000000000000000000000000000001', 0, 0, 'node-1', X'00000000000000000000000000000002', 0, 'weights', X'0202020202020202020202020202020202020202020202020202020202020202', 17179869184, 1, X'd64cde083c1c348c27a37a69b2497c7a');
INSERT INTO results VALUES ('default', X'00000000000000000000000000000001', 0, 0, 'node-1', X'00000000000000000000000000000002', 1, 'loss', X'0303030303030303030303030303030303030303030303030303030303030303', 25769803776, 1, X'71f0f9a421ca129e55f99f3926845c41');
INSERT INTO results VALUES ('default', X'00000000000000000000000000000002', 0, 0, 'node-0', X'00000000000000000000000000000065', 0, 'half', X'0101010101010101010101010101010101010101010101010101010101010101', 8589934592, 0, X'43cb6c1dd9955f57851f60d209116d5c');
INSERT INTO results VALUES ('default', X'00000000000000000000000000000002', 0, 0, 'node-0', X'00000000000000000000000000000067', 0, 'weights', X'0202020202020202020202020202020202020202020202020202020202020202', 17179869184, 1, X'901addf7d10f5e2732fd914d3c9f7015');
INSERT INTO results VALUES ('default', X'00000000000000000000000000000002', 0, 0, 'node-0', X'00000000000000000000000000000067', 1, 'loss', X'0303030303030303030303030303030303030303030303030303030303030303', 25769803776, 1, X'e18a86aaf570571e46d9cf20c682021e');
INSERT INTO globals VALUES ('default', X'00000000000000000000000000000001', 'rate', 1, 'node-4', X'0404040404040404040404040404040404040404040404040404040404040404', 34359738368, X'086a80645657baf4ed9518b9a0d59a42');
INSERT INTO globals VALUES ('default', X'00000000000000000000000000000002', 'rate', 1, 'node-4', X'0404040404040404040404040404040404040404040404040404040404040404', 34359738368, X'5ed8ab8271e53f573aa40258f3d69c53');

CREATE TABLE tallies (
    counted  TEXT    NOT NULL PRIMARY KEY,   -- name of the table
    rows     INTEGER NOT NULL,
    folded   BLOB    NOT NULL,               -- the checksums of its rows, exclusive or
    checksum BLOB    NOT NULL                -- checksum_of('tallies', the columns before it)
) STRICT, WITHOUT ROWID;

INSERT INTO tallies VALUES ('generations', 1, X'd7c33890e85808f760b1cdeb994e8cdc', X'a37877a8483eff32173fa83dd22642ea');
INSERT INTO tallies VALUES ('idempotency_keys', 1, X'50a5501430b91c842d707dc42f38caf4', X'3f3edd64938f807303a23b663c5cbfe0');
INSERT INTO tallies VALUES ('nodes', 2, X'3e2caf9a9496deaed6c926169e0ff10b', X'e45737bd296bde20aefd7fad689381fa');
INSERT INTO tallies VALUES ('swarms', 2, X'b6e8d02a7d9331a4912c8e60f6b34767', X'b27a6e204cea66ad7101a8535b7cbd3c');

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

ALTER TABLE modules ADD COLUMN signatures TEXT NOT NULL DEFAULT '';

INSERT INTO modules VALUES ('default', 'worker', '1.0.0', X'0303030303030303030303030303030303030303030303030303030303030303', 30, '{}', 'ada', 5, 'wrong mean', NULL, 'old stable', X'69e99d7ccb6c4a6b6c84be8b1870c45a', '');
INSERT INTO modules VALUES ('default', 'worker', '1.1.0', X'0404040404040404040404040404040404040404040404040404040404040404', 40, '{}', 'ada', 6, NULL, NULL, '', X'341b7abc9420800b0cf8d57401b94d33', '');
INSERT INTO tallies VALUES ('modules', 2, X'5df2e7c05f4cca60607c6bff19c98969', X'b3289bdccdc6a8f3c37b46064dc370cd');

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

PRAGMA application_id = 1299075956;
PRAGMA user_version = 6;
