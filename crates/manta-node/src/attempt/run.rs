//! Second step: user code runs contained, while its socket is answered and its output read.
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use manta_api::AttemptInputs;
use manta_sandbox::{Exit, ExitHow, SandboxError, Start, StartError};
use manta_types::name::printable;
use manta_types::{AttemptFailure, OutcomeClass, Usage};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Order;
use super::outcome::{Cut, Evidence, failure, judge, usage};
use super::prepare::{Prepared, inputs};
use crate::agent::Node;
use crate::dataset::Dataset;
use crate::light::{Channel, Ending, Grant, Server, Staged};
use crate::logs::{AttemptLog, Stream};
use crate::runner::{Hold, View};
use crate::supervisor::blocking;

/// How long a task may take to go after it said that it is done.
const GRACE: Duration = Duration::from_secs(5);
/// How long what a dead task left in its pipes is read.
const DRAIN: Duration = Duration::from_millis(500);

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
    /// From the sandbox's start to the first line of `run()`, and from there to the end.
    pub(crate) start: Duration,
    pub(crate) run: Duration,
}

/// Runs user code to its end, whatever that is. On cancellation it is killed, and what is returned means nothing.
pub(crate) async fn run(
    node: &Node,
    order: &Order,
    prepared: &Prepared<'_>,
    log: &AttemptLog,
    started: impl Fn() + Send + Sync,
    cancel: &CancellationToken,
) -> Ran {
    let (begun, begun_at) = (Instant::now(), SystemTime::now());
    let first_line: OnceLock<Instant> = OnceLock::new();
    let view = View::new(node, prepared);
    let note_start = || {
        if first_line.set(Instant::now()).is_ok() {
            started();
            tracing::debug!("the first line runs");
            manta_types::crash_point!("node.attempt.started");
        }
    };
    let (launched, inputs) = match begin(node, order, &view, cancel).await {
        Ok(both) => both,
        Err(failed) => return Ran::nothing(failed, begun.elapsed()),
    };
    let mut server = Server::new(grant(node, order, prepared, &inputs, &view, log, &note_start));
    let way = Some(launched.hold.start().clone());
    if launched.hold.is_program() {
        note_start();
    }
    let evidence = attend(node, order, launched, &mut server, log, cancel).await;
    let damage = damage(&evidence, &prepared.datasets, begun_at).await;
    let first_line = first_line.get().copied();
    let staged = server.into_staged();
    Ran {
        usage: Some(usage(&evidence.exit, staged.bytes())),
        staged,
        verdict: damage.map_or_else(|| judge(evidence, &order.resources), Err),
        way,
        start: first_line.map_or_else(|| begun.elapsed(), |first| first - begun),
        run: first_line.map_or(Duration::ZERO, |first| first.elapsed()),
    }
}

/// Starts the sandbox while what the task may read is fetched: its first question waits for that, and user code for its answer.
async fn begin<'a>(
    node: &Node,
    order: &Order,
    view: &View<'a>,
    cancel: &CancellationToken,
) -> Result<(Launched<'a>, AttemptInputs), AttemptFailure> {
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
    fn nothing(failed: AttemptFailure, start: Duration) -> Self {
        let (way, usage, run) = (None, None, Duration::ZERO);
        Self { staged: Staged::default(), verdict: Err(failed), way, usage, start, run }
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
struct Launched<'a> {
    hold: Hold<'a>,
    channel: Channel,
    stdout: Receiver,
    stderr: Receiver,
}

impl Launched<'_> {
    /// Ends it before anything of the user's ran.
    async fn end(mut self) {
        self.hold.killer()();
        self.hold.exit().await;
    }
}

async fn launch<'a>(view: &View<'a>, order: &Order) -> Result<Launched<'a>, AttemptFailure> {
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

/// Does everything at once until the task has ended and all it left has been read.
async fn attend(
    node: &Node,
    order: &Order,
    launched: Launched<'_>,
    server: &mut Server<'_>,
    log: &AttemptLog,
    cancel: &CancellationToken,
) -> Evidence {
    let Launched { hold, channel, stdout, stderr } = launched;
    let gone = CancellationToken::new();
    let reading = async {
        let pumps = async { tokio::join!(log.pump(Stream::Stdout, stdout), log.pump(Stream::Stderr, stderr)) };
        tokio::pin!(pumps);
        tokio::select! {
            _ = &mut pumps => {}
            () = gone.cancelled() => {
                if timeout(DRAIN, &mut pumps).await.is_err() {
                    log.platform("warning", "the rest of the output could not be read in time").await;
                }
            }
        }
    };
    let watching = async {
        let evidence = watch(node, order, hold, &channel, server, cancel).await;
        gone.cancel();
        evidence
    };
    let (evidence, ()) = tokio::join!(watching, reading);
    evidence
}

/// Waits for the end of the task, and brings it about where it has to be.
async fn watch(
    node: &Node,
    order: &Order,
    mut hold: Hold<'_>,
    channel: &Channel,
    server: &mut Server<'_>,
    cancel: &CancellationToken,
) -> Evidence {
    let (kill, is_program) = (hold.killer(), hold.is_program());
    let mut cut = None;
    let mut ending = None;
    let mut served = false;
    let exit = {
        let serving = server.serve(channel);
        let cut_off = node.link.cut_for(order.stop_after);
        let time_over = time_over(order.timeout);
        let exiting = hold.exit();
        tokio::pin!(serving, cut_off, time_over, exiting);
        let mut grace = None;
        let exit: Exit = loop {
            let open = cut.is_none();
            // In this order: after a pause of the agent itself all may be due, and a task that ended in time did so.
            tokio::select! {
                biased;
                how = &mut serving, if !served => {
                    served = true;
                    if is_program && how == Ending::Closed {
                        // It may well have no use for it.
                        continue;
                    }
                    if let (Ending::Violation(words), true) = (&how, open) {
                        cut = Some(Cut::Violation(words.clone()));
                        kill();
                    }
                    ending = Some(how);
                    grace = Some(Instant::now() + GRACE);
                }
                exit = &mut exiting => break exit,
                () = sleep_until(grace), if grace.is_some() => {
                    grace = None;
                    if open && matches!(ending, Some(Ending::Closed)) {
                        cut = Some(Cut::Violation("closed its socket and went on".to_owned()));
                    }
                    kill();
                }
                () = cancel.cancelled(), if open => {
                    cut = Some(Cut::Cancelled);
                    kill();
                }
                () = &mut time_over, if open && ending.is_none() => {
                    cut = order.timeout.map(Cut::Timeout);
                    kill();
                }
                () = &mut cut_off, if open && ending.is_none() => {
                    cut = order.stop_after.map(Cut::Disconnected);
                    kill();
                }
            }
        };
        // The last words of a task that is gone may still be in its socket.
        if !served && cut.is_none() {
            ending = timeout(DRAIN, &mut serving).await.ok();
        }
        exit
    };
    match ending {
        Some(Ending::Finished(said)) => Evidence { said: Some(said), cut, exit, is_program },
        Some(Ending::Violation(words)) => {
            Evidence { said: None, cut: cut.or(Some(Cut::Violation(words))), exit, is_program }
        }
        Some(Ending::Closed) | None => Evidence { said: None, cut, exit, is_program },
    }
}

async fn time_over(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
