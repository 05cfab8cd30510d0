//! Second step: user code runs contained, while its socket is answered and its output read.
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use manta_api::AttemptInputs;
use manta_sandbox::{ExitHow, SandboxError, Start, StartError};
use manta_types::name::printable;
use manta_types::{AttemptFailure, OutcomeClass, Usage};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Order;
use super::outcome::{Evidence, failure, judge, usage};
use super::prepare::{Prepared, inputs};
use super::watch::{Attended, Ends, attend};
use crate::agent::Node;
use crate::dataset::Dataset;
use crate::light::{Channel, Grant, Said, Server, Staged};
use crate::logs::{AttemptLog, Lines};
use crate::parting::Busy;
use crate::runner::{Hold, View};
use crate::supervisor::blocking;

/// What ends a process that touches a page of a mapped file which has become shorter.
const SIGBUS: i32 = 7;
/// How much earlier than a change the time of its file may be: clocks of file systems are coarse.
const CLOCK_STEP: Duration = Duration::from_secs(2);
/// Characters of a file's path in a sentence.
const FILE_CHARS_MAX: usize = 200;

/// What a run left.
pub(crate) struct Ran {
    pub(crate) staged: Staged,
    pub(crate) verdict: Result<(), AttemptFailure>,
    /// How its sandbox was started; none where it could not be.
    pub(crate) way: Option<Start>,
    /// What it used; none where nothing ran.
    pub(crate) usage: Option<Usage>,
    /// When its sandbox was asked for.
    pub(crate) begun: Instant,
    /// From the sandbox's start to the first line of `run()`, and from there to the end.
    pub(crate) start: Duration,
    pub(crate) run: Duration,
    /// Its end is not interrupted before it is on disk.
    pub(crate) busy: Busy,
}

/// What came of running user code.
pub(crate) enum Came {
    /// It has ended.
    Ran(Box<Ran>),
    /// It runs, and another program goes on with it.
    Parted(Box<Underway>),
}

/// A task that runs: its sandbox, our ends of what leads out of it, and what it has said so far.
pub(crate) struct Underway {
    pub(crate) hold: Hold,
    /// Nothing where an image's own program has closed it.
    pub(crate) channel: Option<Channel>,
    pub(crate) stdout: Option<Output>,
    pub(crate) stderr: Option<Output>,
    pub(crate) inputs: AttemptInputs,
    pub(crate) said: Said,
    pub(crate) since: Since,
}

/// What a task writes, and the line that it has begun.
pub(crate) struct Output {
    pub(crate) pipe: Receiver,
    pub(crate) begun: Lines,
}

/// Since when a task runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since {
    /// When its sandbox was asked for.
    pub(crate) begun: Instant,
    /// The same by the wall clock.
    pub(crate) begun_at: SystemTime,
    /// When its sandbox was there.
    pub(crate) launched: Instant,
    /// When the first line of `run()` ran; nothing before.
    pub(crate) first_line: Option<Instant>,
}

/// Runs user code to its end, whatever that is. On cancellation it is killed, and what is returned means nothing.
pub(crate) async fn run(
    node: &Node,
    order: &Order,
    prepared: &Prepared<'_>,
    log: &AttemptLog,
    started: impl Fn() + Send + Sync,
    cancel: &CancellationToken,
    busy: Busy,
) -> Came {
    let (begun, begun_at) = (Instant::now(), SystemTime::now());
    let view = View::new(node, prepared);
    let (launched, inputs) = match begin(node, order, &view, cancel).await {
        Ok(both) => both,
        Err(failed) => return Came::Ran(Box::new(Ran::nothing(failed, begun, busy))),
    };
    let since = Since { begun, begun_at, launched: Instant::now(), first_line: None };
    let Launched { hold, channel, stdout, stderr } = launched;
    let output = |pipe| Some(Output { pipe, begun: Lines::default() });
    let (stdout, stderr, said) = (output(stdout), output(stderr), Said::default());
    let underway = Underway { hold, channel: Some(channel), stdout, stderr, inputs, said, since };
    go_on(node, order, prepared, log, started, cancel, busy, underway).await
}

/// Goes on with a task that runs, to its end.
#[expect(clippy::too_many_arguments, reason = "all that an attempt has, once")]
pub(crate) async fn go_on(
    node: &Node,
    order: &Order,
    prepared: &Prepared<'_>,
    log: &AttemptLog,
    started: impl Fn() + Send + Sync,
    cancel: &CancellationToken,
    busy: Busy,
    underway: Underway,
) -> Came {
    let Underway { hold, channel, stdout, stderr, inputs, said, since } = underway;
    let first_line = OnceLock::new();
    if let Some(before) = since.first_line {
        first_line.get_or_init(|| before);
    }
    let note_start = || {
        if first_line.set(Instant::now()).is_ok() {
            started();
            tracing::debug!("the first line runs");
            manta_types::crash_point!("node.attempt.started");
        }
    };
    let view = View::new(node, prepared);
    let (way, is_program) = (hold.start().clone(), hold.is_program());
    if is_program {
        note_start();
    }
    let mut server = Server::new(grant(node, order, prepared, &inputs, &view, log, &note_start), said);
    let ends = Ends { channel, stdout, stderr };
    let attended = attend(node, order, (hold, since.launched), ends, &mut server, log, cancel, busy).await;
    let said = server.into_said();
    let first_line = first_line.get().copied();
    let since = Since { first_line, ..since };
    let (evidence, busy) = match attended {
        Attended::Ended(evidence, busy) => (evidence, busy),
        Attended::Parted(hold, Ends { channel, stdout, stderr }) => {
            return Came::Parted(Box::new(Underway { hold, channel, stdout, stderr, inputs, said, since }));
        }
    };
    let damage = damage(&evidence, &prepared.datasets, since.begun_at).await;
    let staged = said.staged;
    Came::Ran(Box::new(Ran {
        usage: Some(usage(&evidence.exit, staged.bytes())),
        staged,
        verdict: damage.map_or_else(|| judge(evidence, &order.resources), Err),
        way: Some(way),
        begun: since.begun,
        start: first_line.map_or_else(|| since.begun.elapsed(), |first| first - since.begun),
        run: first_line.map_or(Duration::ZERO, |first| first.elapsed()),
        busy,
    }))
}

/// Starts the sandbox while what the task may read is fetched: its first question waits for that, and user code for its answer.
async fn begin(
    node: &Node,
    order: &Order,
    view: &View<'_>,
    cancel: &CancellationToken,
) -> Result<(Launched, AttemptInputs), AttemptFailure> {
    let gone = cancel.child_token();
    let launching = async {
        let launched = launch(view, order).await;
        if launched.is_err() {
            gone.cancel();
        }
        launched
    };
    // A sandbox that is being started is waited for, whatever becomes of the rest: dropped, it would go on without us.
    let (launched, inputs) = tokio::join!(launching, gone.run_until_cancelled(inputs(node, order)));
    let launched = launched?;
    let start = launched.hold.start();
    tracing::debug!(%start, "a sandbox was started");
    match inputs {
        Some(Ok(inputs)) => Ok((launched, inputs)),
        unusable => {
            launched.end().await;
            let cancelled = || failure(OutcomeClass::Platform, "the attempt was cancelled");
            Err(unusable.and_then(Result::err).unwrap_or_else(cancelled))
        }
    }
}

/// The failure of a task under which a file of its datasets was cut short: what it had mapped is gone, which no exception tells it.
async fn damage(evidence: &Evidence, datasets: &[Arc<Dataset>], begun: SystemTime) -> Option<AttemptFailure> {
    if evidence.said.is_some() || evidence.cut.is_some() || evidence.exit.how != ExitHow::Signaled(SIGBUS) {
        return None;
    }
    let datasets = datasets.to_vec();
    let since = begun.checked_sub(CLOCK_STEP)?;
    let changed = move || datasets.iter().find_map(|set| Some((set.name.clone(), set.changed_since(since)?)));
    let (name, file) = blocking(changed).await?;
    let words = format!(
        "DataCorruptionError: the dataset \"{name}\" ({}) was changed while it was open, and what the task had mapped of it is gone \
         (SIGBUS); put a new version beside the old one, and offer it when it is whole",
        printable(&file.to_string_lossy(), FILE_CHARS_MAX)
    );
    Some(failure(OutcomeClass::Dataset, words))
}

impl Ran {
    /// What an attempt left of which nothing ran.
    fn nothing(failed: AttemptFailure, begun: Instant, busy: Busy) -> Self {
        let (way, usage, run) = (None, None, Duration::ZERO);
        let (staged, start) = (Staged::default(), begun.elapsed());
        Self { staged, verdict: Err(failed), way, usage, begun, start, run, busy }
    }
}

fn grant<'a>(
    node: &'a Node,
    order: &'a Order,
    prepared: &'a Prepared<'_>,
    inputs: &'a AttemptInputs,
    view: &View<'_>,
    log: &'a AttemptLog,
    started: &'a (dyn Fn() + Send + Sync),
) -> Grant<'a> {
    let datasets = prepared.datasets.iter().map(|set| (set.name.as_str(), (view.dataset(set), set.file_name())));
    Grant {
        node: &node.name,
        labels: &node.labels,
        node_datasets: prepared.node_datasets.iter().map(String::as_str).collect(),
        datasets: datasets.collect(),
        code: view.code(),
        packages: view.packages(),
        order,
        manifest: &prepared.bundle.manifest,
        gpus: gpus_of(node, prepared),
        inputs,
        values: &node.values,
        state: &node.state,
        link: &node.link,
        usage: &node.usage,
        node_gpus: &node.gpus,
        lends_memory: !node.engine.passes_descriptors_out(),
        log,
        started,
    }
}

/// How many GPUs the attempt has, and the memory that it may use on each.
fn gpus_of(node: &Node, prepared: &Prepared<'_>) -> (usize, u64) {
    prepared.gpus.as_ref().map_or((0, 0), |claim| (claim.numbers().len(), node.gpus.memory_bytes(claim)))
}

/// A started sandbox and our ends of what leads out of it.
struct Launched {
    hold: Hold,
    channel: Channel,
    stdout: Receiver,
    stderr: Receiver,
}

impl Launched {
    /// Ends it before anything of the user's ran.
    async fn end(mut self) {
        self.hold.killer()();
        self.hold.exit().await;
    }
}

async fn launch(view: &View<'_>, order: &Order) -> Result<Launched, AttemptFailure> {
    let platform =
        |what: &str, error: &dyn std::fmt::Display| failure(OutcomeClass::Platform, format!("{what}: {error}"));
    let ends = || {
        let (channel, light) = Channel::pair()?;
        let ((stdout, out), (stderr, err)) = (output()?, output()?);
        Ok::<_, io::Error>((channel, light, stdout, stderr, (out, err)))
    };
    let (channel, light, stdout, stderr, outputs) =
        ends().map_err(|e| platform("the sandbox's pipes cannot be made", &e))?;
    view.contained().await.map_err(|why| failure(OutcomeClass::Platform, why))?;
    let started = view.start(order, light, outputs).await;
    let hold = started.map_err(|error| match error {
        SandboxError::Start(StartError::Program { program, cause }) => {
            let words = format!("the program `{program}` of the image `{}` cannot be started: {cause}", order.image);
            failure(OutcomeClass::Image, words)
        }
        error => platform("the sandbox cannot be started", &error),
    })?;
    Ok(Launched { hold, channel, stdout, stderr })
}

/// A pipe: our end, which is read without blocking, and the task's.
fn output() -> io::Result<(Receiver, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((Receiver::from_owned_fd(ours)?, theirs))
}
