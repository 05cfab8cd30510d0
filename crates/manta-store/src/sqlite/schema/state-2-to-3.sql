-- Copies the rows of format 2, out of tables that were renamed to `old_…`, into those of format 3. Events follow after.

INSERT INTO swarms
SELECT cluster_id, swarm_id, ordinal, name, submission, created_ms, checksum, seq, ended_ms, checksum, checksum
FROM (
    SELECT s.*, checksum_of('swarms', cluster_id, swarm_id, ordinal, name, submission, created_ms) AS checksum, (
        SELECT time_ms FROM old_events e
        WHERE e.cluster_id = s.cluster_id AND e.swarm_id = s.swarm_id
          AND kind IN ('swarm_succeeded', 'swarm_failed', 'swarm_stopped')
        ORDER BY e.seq LIMIT 1
    ) AS ended_ms
    FROM old_swarms s
);

INSERT INTO idempotency_keys
SELECT cluster_id, key, request, swarm_id, '', created_ms,
       checksum_of('idempotency_keys', cluster_id, key, request, swarm_id, '', created_ms)
FROM old_idempotency_keys JOIN old_swarms USING (cluster_id, swarm_id);

INSERT INTO nodes
SELECT *, 'active', NULL,
       checksum_of('nodes', cluster_id, node_id, name, description, joined_ms, 'active', NULL)
FROM old_nodes;

INSERT INTO attempts
SELECT *, checksum_of('attempts', cluster_id, swarm_id, attempt_id, iteration, task, slot, node, epoch)
FROM old_attempts;

INSERT INTO slots
SELECT *, checksum_of('slots', cluster_id, swarm_id, iteration, task, slot, attempt_id, epoch, accepted)
FROM old_slots;

INSERT INTO results
SELECT *, checksum_of('results', cluster_id, swarm_id, iteration, task, node, attempt_id, position, name, digest, size,
                      accepted)
FROM old_results;

INSERT INTO globals
SELECT *, checksum_of('globals', cluster_id, swarm_id, name, revision, writer, digest, size)
FROM old_globals;
