//! Every limit in one place: its unit, why it is there, and the error that names it.
use std::time::Duration;

/// How long certificates are valid that a manager issues, unless it is told otherwise; they are renewed after half of it.
pub const CERTIFICATE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes in the name of a task, global, result or dataset; longer names are refused where they are given.
pub const NAME_BYTES_MAX: usize = 255;
/// Tasks (vertices) in one swarm; keeps a submission's validation in milliseconds.
pub const TASKS_PER_SWARM_MAX: usize = 10_000;
/// Edges of one swarm's graph: a task's predecessors, summed over all tasks; whoever walks it may do so often.
pub const EDGES_PER_SWARM_MAX: usize = 100_000;
/// Node names that one task may leave out or ask for.
pub const NODES_PER_TASK_MAX: usize = 100_000;
/// Labels that one task may ask for.
pub const LABELS_PER_TASK_MAX: usize = 1_000;
/// Datasets that one module may list.
pub const DATASETS_PER_MODULE_MAX: usize = 1_000;
/// Further attempts that a task may ask for after one whose user code failed.
pub const RETRIES_MAX: u32 = 1_000;
/// Iterations of one swarm; a loop that nobody bounded ends here, failed, with this limit named.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// The highest priority of a swarm; the lowest is its negative.
pub const PRIORITY_MAX: i32 = 100;
/// Steps of one rollout.
pub const ROLLOUT_STEPS_MAX: usize = 100;
/// Gates of one rollout.
pub const ROLLOUT_GATES_MAX: usize = 20;
/// Rollouts of one swarm; each is kept as long as the swarm is.
pub const ROLLOUTS_PER_SWARM_MAX: usize = 1_000;
/// The longest that one step of a rollout may be given.
pub const ROLLOUT_DEADLINE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Metrics of one attempt whose newest values its node reports with its end; further names are in the log alone.
pub const METRICS_PER_ATTEMPT_MAX: usize = 100;
/// Results that one attempt may publish.
pub const RESULTS_PER_ATTEMPT_MAX: usize = 10_000;
/// Results of a failed attempt that are kept for people: those that it published last.
pub const FAILED_RESULTS_MAX: usize = 100;
/// Bytes of a failed attempt's results that are kept for people.
pub const FAILED_RESULTS_BYTES_MAX: u64 = 256 << 20;
/// Globals that one swarm may hold.
pub const GLOBALS_PER_SWARM_MAX: usize = 10_000;
/// Names that one task may keep as state on a node.
pub const STATE_NAMES_MAX: usize = 10_000;
/// Files in one bundle; packaging refuses more, naming the largest folders.
pub const BUNDLE_FILES_MAX: usize = 10_000;
/// Bytes in one bundle.
pub const BUNDLE_BYTES_MAX: u64 = 1 << 30;
/// Processors' architectures that one module may name.
pub const ARCHITECTURES_PER_MODULE_MAX: usize = 16;
/// Runtimes that the dependencies of one module may be locked for.
pub const LOCKS_PER_MODULE_MAX: usize = 32;
/// Bytes of one lock of dependencies.
pub const LOCK_BYTES_MAX: u64 = 4 << 20;
/// Wheels of one lock.
pub const WHEELS_PER_LOCK_MAX: usize = 1_000;
/// Bytes of the wheels of one lock; numerical libraries with their drivers take a few gigabytes.
pub const WHEELS_BYTES_MAX: u64 = 16 << 30;
/// Bytes that the wheels of one lock may take on a node, unpacked.
pub const LAYER_BYTES_MAX: u64 = 64 << 30;
/// Files and directories that the wheels of one lock may hold, unpacked.
pub const LAYER_ENTRIES_MAX: u64 = 1_000_000;
/// Bytes of one detached signature, written as text.
pub const SIGNATURE_BYTES_MAX: usize = 4 << 10;
/// Signatures of one version of a module; a key has at most one of them.
pub const SIGNATURES_PER_VERSION_MAX: usize = 64;
/// Bytes of a JSON request body; values travel as blobs beside it.
pub const REQUEST_BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes in one blob.
pub const BLOB_BYTES_MAX: u64 = 1 << 40;
/// How long a blob stays after it was uploaded or asked for, though nothing names it yet.
pub const BLOB_HELD: Duration = Duration::from_secs(24 * 60 * 60);
/// Days for which a swarm that has ended is kept, unless the manager is told otherwise.
pub const KEEP_DAYS: u32 = 30;
/// How often the manager looks after what it stores: purges, sweeps, checks.
pub const UPKEEP_EVERY: Duration = Duration::from_secs(60 * 60);
/// Free bytes of the manager's file system below which it takes no submission, blob or result, and of a node's below which it
/// takes no value of a task; a quarter of a file system that is smaller than four times this.
pub const STORAGE_RESERVE_BYTES: u64 = 64 << 20;

/// Bytes of a file system of so many that are kept free.
pub const fn storage_reserve(total_bytes: u64) -> u64 {
    let part = total_bytes / 4;
    if part < STORAGE_RESERVE_BYTES { part } else { STORAGE_RESERVE_BYTES }
}

/// Messages that a task may send its node each second, with a second's worth at once; a task that sends faster waits.
pub const LIGHT_MESSAGES_PER_SECOND_MAX: u64 = 10_000;
/// Bytes of a message that count as one message more.
pub const LIGHT_MESSAGE_BYTES_COUNTED: u64 = 8 << 10;
/// Messages that one counts as which is refused: to say what is near to what was asked costs more than an answer.
pub const LIGHT_REFUSAL_COUNTED: u64 = 100;
/// Bytes that one attempt may publish and keep as state, with what its task keeps already, unless its node is told otherwise; bounds
/// what hostile code can do to a node's disk.
pub const PUBLISHED_BYTES_MAX: u64 = 64 << 30;
/// Bytes in one frame of the light protocol, from the node to a task.
pub const LIGHT_FRAME_BYTES_MAX: usize = 16 << 20;
/// Bytes in one frame that a task sends: JSON of small pieces takes many times its size in the node's memory.
pub const LIGHT_MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Bytes of one log line; the rest of a longer line is cut and counted.
pub const LOG_LINE_BYTES_MAX: usize = 16 << 10;
/// Bytes of the JSON of one metric or progress line; larger ones are kept as text alone.
pub const LOG_DATA_BYTES_MAX: usize = 64 << 10;
/// Bytes of log output that one attempt may send, unless its node is told otherwise; what follows is counted, not kept.
pub const LOG_BYTES_PER_ATTEMPT_MAX: u64 = 64 << 20;
/// Bytes of log output that one attempt may write each second, unless its node is told otherwise; a task that writes faster
/// waits, so that a flood costs its node little.
pub const LOG_BYTES_PER_SECOND_MAX: u64 = 8 << 20;
/// Bytes that a log line is counted as beside its text, so that empty lines are not free.
pub const LOG_LINE_BYTES_COUNTED: usize = 16;
/// Bytes of one message between a node and the manager; the largest report that the limits below allow fits twice.
pub const NODE_MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Swarms that one message between a node and the manager names when they settle what state the node still keeps.
pub const STATE_SWARMS_PER_MESSAGE_MAX: usize = 10_000;
/// Log lines kept with a failed attempt.
pub const FAILURE_LOG_LINES: usize = 50;
/// Bytes of a traceback kept with a failed attempt.
pub const TRACEBACK_BYTES_MAX: usize = 64 << 10;
/// Swarms that run at once; further ones wait for their turn, with that as their reason.
pub const SWARMS_RUNNING_MAX: usize = 256;
/// Attempts that a node holds per slot: one runs, and the next is there already, so that no slot waits for a round trip.
pub const OFFERS_PER_SLOT: u32 = 2;
/// Attempts lost to platform, image or node trouble before an assignment is given up.
pub const LOST_ATTEMPTS_MAX: u32 = 5;

/// How often a node says that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a node's word lasts: silent for longer, its attempts are `silent`.
pub const LEASE: Duration = Duration::from_secs(6);
/// How long a node may be silent before a task that must run on it goes on without it.
pub const NODE_GRACE: Duration = Duration::from_secs(20);
/// The first wait before user code that failed is tried again; doubled each time.
pub const RETRY_BACKOFF: Duration = Duration::from_millis(500);
/// The longest wait before user code that failed is tried again.
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Memory of an attempt when the node's own share cannot be told, in bytes.
pub const MEMORY_BYTES_DEFAULT: u64 = 2 << 30;
/// Memory that a node keeps for the agent and the system, in bytes.
pub const MEMORY_BYTES_RESERVED: u64 = 1 << 30;

/// Memory of an attempt that asks for none, in bytes: an even share of what the node has.
pub const fn memory_share(memory_bytes: u64, slots: u32) -> u64 {
    let slots = if slots == 0 { 1 } else { slots };
    match memory_bytes.saturating_sub(MEMORY_BYTES_RESERVED) / slots as u64 {
        0 => MEMORY_BYTES_DEFAULT,
        share => share,
    }
}

/// Processes and threads of one attempt.
pub const PIDS_DEFAULT: u32 = 256;
/// Processes and threads of one attempt that can be asked for: those that one Linux can have.
pub const PIDS_MAX: u32 = 4 << 20;
/// Private scratch of one attempt, in bytes.
pub const TMP_BYTES_DEFAULT: u64 = 1 << 30;
/// Files and directories in the private scratch of one attempt, unless its node is told otherwise.
pub const TMP_FILES_MAX: u64 = 100_000;
/// Clusters of one manager, the first among them.
pub const CLUSTERS_MAX: usize = 100;
/// Users of one cluster.
pub const USERS_PER_CLUSTER_MAX: usize = 1_000;
/// Users of one cluster that were removed and are remembered, so that no issuer of identities brings them back.
pub const USERS_REMOVED_MAX: usize = 10_000;
/// Tokens of one cluster that are kept, those that expired or were revoked among them; the oldest of these go first.
pub const TOKENS_PER_CLUSTER_MAX: usize = 10_000;
/// How long a token counts unless its maker says otherwise.
pub const TOKEN_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// The longest that a token may count.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// How long a token counts that a sign-in gives, unless the manager is told otherwise.
pub const SIGN_IN_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a person has to sign in, from the first request to the last.
pub const SIGN_IN_WITHIN: Duration = Duration::from_secs(10 * 60);
/// Requests to the issuer of identities that wait at the same time; further ones wait their turn.
pub const SIGN_INS_AT_ONCE_MAX: usize = 16;
/// Bytes of an answer of the issuer of identities.
pub const ISSUER_ANSWER_BYTES_MAX: usize = 1 << 20;
/// How far the clock of the issuer of identities may be from the manager's.
pub const ISSUER_CLOCK_APART_MAX: Duration = Duration::from_secs(60);
/// Bytes of texts in the audit log; the oldest records go beyond that, and what they were digested to stays.
pub const AUDIT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a node's own audit, in two files; the older one goes when the newer is full, and the chain goes on.
pub const NODE_AUDIT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a node's own audit that wait to be synced to its disk; nothing more is written, run or sent beyond that.
pub const NODE_AUDIT_UNSYNCED_BYTES_MAX: usize = 1 << 20;
/// Denials that the audit log names one by one in a minute; further ones are counted.
pub const DENIALS_PER_MINUTE_MAX: u32 = 60;
