//! One process of an embedded platform: held by a pipe, started again when it dies, ended in time.
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::report::{ErrorObject, Failure};
use crate::text::one_line;

/// How long a child may take to end in order before it is killed.
const GRACE: Duration = Duration::from_millis(1500);
/// The first wait before a child that died is started again; doubled each time.
const RESTART: Duration = Duration::from_millis(100);
/// The longest such wait.
const RESTART_MAX: Duration = Duration::from_secs(5);
/// A child that lives this long has started well.
const SETTLED: Duration = Duration::from_secs(10);
/// Starts in a row that did not go well, after which it is given up.
const STARTS_MAX: u32 = 5;
/// How long a dead child's last words may take.
const LAST_LINES: Duration = Duration::from_millis(200);
/// Lines of standard error that are kept to tell why a child ended.
const LINES_KEPT: usize = 20;

/// How to start a child.
#[derive(Debug, Clone)]
pub(crate) struct ChildPlan {
    /// What people call it: `manager`, `node-1`.
    pub(crate) name: String,
    /// This very program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
}

/// What a child has to say to the platform.
#[derive(Debug)]
pub(crate) enum Word {
    /// It wrote a line on standard output, as the manager does once it listens.
    Ready,
    /// It died and is started again; in one sentence.
    Restarted(String),
    /// It will not run.
    GivenUp(Failure),
}

/// Keeps a child running until `stop` turns true; then ends it.
pub(crate) async fn keep_running(plan: ChildPlan, mut stop: watch::Receiver<bool>, words: mpsc::Sender<Word>) {
    let (mut wait, mut starts) = (RESTART, 0);
    loop {
        let started = Instant::now();
        let (ending, lines) = match run_once(&plan, &mut stop, &words).await {
            Ok(Some(ended)) => ended,
            Ok(None) => return,
            Err(error) => {
                let message = format!("`{}` cannot be started: {error}", plan.program.display());
                return tell(&words, Word::GivenUp(Failure::internal(message))).await;
            }
        };
        if started.elapsed() >= SETTLED {
            (wait, starts) = (RESTART, 0);
        }
        starts += 1;
        if let Some(failure) = verdict(&plan.name, ending, &lines, starts) {
            return tell(&words, Word::GivenUp(failure)).await;
        }
        tell(&words, Word::Restarted(format!("{} ended unexpectedly ({ending}) and is started again", plan.name)))
            .await;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        wait = (wait * 2).min(RESTART_MAX);
    }
}

async fn tell(words: &mpsc::Sender<Word>, word: Word) {
    // A platform that no longer listens is being torn down.
    let _ = words.send(word).await;
}

type Ended = (ExitStatus, Vec<String>);

/// Runs a child to its own end, or to ours: then nothing comes back.
async fn run_once(
    plan: &ChildPlan,
    stop: &mut watch::Receiver<bool>,
    words: &mpsc::Sender<Word>,
) -> std::io::Result<Option<Ended>> {
    if *stop.borrow() {
        return Ok(None);
    }
    let mut child = Command::new(&plan.program)
        .args(&plan.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // The terminal's Ctrl-C is for this process, which ends its children in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let lifeline = child.stdin.take();
    let output = child.stdout.take().expect("piped above");
    let errors = child.stderr.take().expect("piped above");
    let lines = Arc::new(Mutex::new(VecDeque::new()));
    let forwarding = tokio::spawn(forward(output, words.clone()));
    let mut keeping = tokio::spawn(keep_last(errors, lines.clone()));
    let ending = tokio::select! {
        ending = child.wait() => Some(ending?),
        _ = stop.wait_for(|stop| *stop) => None,
    };
    let Some(ending) = ending else {
        drop(lifeline);
        end(&mut child).await;
        forwarding.abort();
        keeping.abort();
        return Ok(None);
    };
    // A grandchild may hold the stream open: what has come by then is what there is.
    let _ = tokio::time::timeout(LAST_LINES, &mut keeping).await;
    forwarding.abort();
    keeping.abort();
    let lines = std::mem::take(&mut *lines.lock().expect("no holder of the lock can panic"));
    Ok(Some((ending, lines.into())))
}

/// Waits for a child whose pipe was closed; kills it when its time is over.
async fn end(child: &mut Child) {
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        // One that is gone already cannot be killed, which is as well.
        let _ = child.kill().await;
    }
}

async fn forward(output: ChildStdout, words: mpsc::Sender<Word>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(_)) = lines.next_line().await {
        tell(&words, Word::Ready).await;
    }
}

/// Reads a stream to its end and keeps its last lines.
async fn keep_last(errors: ChildStderr, kept: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(errors).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut kept = kept.lock().expect("no holder of the lock can panic");
        kept.push_back(line);
        if kept.len() > LINES_KEPT {
            kept.pop_front();
        }
    }
}

/// Why a child is not started again: it refused by itself, with a reason, or fails again and again.
fn verdict(name: &str, ending: ExitStatus, lines: &[String], starts: u32) -> Option<Failure> {
    let told = lines.iter().rev().find_map(|line| serde_json::from_str::<ErrorObject>(line).ok());
    // 1 and 101 are failures of ours or of the system, which may pass; every other code is an answer.
    let answered = ending.code().is_some_and(|code| !matches!(code, 0 | 1 | 101));
    if !answered && starts < STARTS_MAX {
        return None;
    }
    if let Some(object) = told {
        let failure = Failure::from(object);
        return Some(Failure { message: format!("{name}: {}", failure.message), ..failure });
    }
    let last = lines.iter().rev().find(|line| !line.trim().is_empty());
    let last = last.map(|line| format!(": {}", one_line(line, 200))).unwrap_or_default();
    Some(Failure::internal(format!("{name} does not stay up ({ending}){last}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn plan(script: &str) -> ChildPlan {
        let arguments = vec!["-c".into(), script.into()];
        ChildPlan { name: "node-1".into(), program: "/bin/sh".into(), arguments }
    }

    async fn first_words(script: &str, count: usize) -> Vec<String> {
        let (stop, stopped) = watch::channel(false);
        let (send, mut words) = mpsc::channel(8);
        let running = tokio::spawn(keep_running(plan(script), stopped, send));
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.push(match words.recv().await.unwrap() {
                Word::Ready => "up".to_owned(),
                Word::Restarted(sentence) => sentence,
                Word::GivenUp(failure) => format!("{} {}", failure.exit, failure.message),
            });
        }
        let _ = stop.send(true);
        running.await.unwrap();
        seen
    }

    #[tokio::test]
    async fn a_child_lives_until_its_pipe_closes() {
        assert_eq!(first_words("echo up; cat; exit 0", 1).await, ["up"]);
    }

    #[tokio::test]
    async fn a_child_that_dies_is_started_again() {
        let words = first_words("echo up; kill -9 $$", 3).await;
        assert_eq!(words[2], "up");
        assert!(words[1].contains("signal: 9") && words[1].contains("started again"), "{words:?}");
    }

    #[tokio::test]
    async fn a_child_that_refuses_is_not_started_again() {
        let script = r#"echo talk >&2; echo '{"code":"MANTA-0206","message":"no data","hint":null}' >&2; exit 4"#;
        assert_eq!(first_words(script, 1).await, ["4 node-1: no data"]);
    }

    #[tokio::test]
    async fn a_child_that_does_not_listen_is_killed_in_time() {
        let started = Instant::now();
        assert_eq!(first_words("trap '' TERM; echo up; while :; do sleep 1; done", 1).await, ["up"]);
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn what_keeps_failing_is_given_up_with_its_last_line() {
        let lines = ["boom".to_owned()];
        assert_eq!(verdict("node-2", ExitStatus::from_raw(9), &lines, 1), None);
        let failure = verdict("node-2", ExitStatus::from_raw(9), &lines, STARTS_MAX).unwrap();
        assert_eq!(failure.message, "node-2 does not stay up (signal: 9 (SIGKILL)): boom");
    }
}
