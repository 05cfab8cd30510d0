//! What probes of the full form aim at, outside every sandbox, and who of it was spoken to.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::finding::{self, Finding};
use super::{ProbeError, ProbeSuite};

/// Files, listeners, processes and keys for probes to aim at. Dropping it takes everything down.
///
/// Where root puts it up it has a network of its own, in which it also answers at the addresses of metadata services;
/// launchers and runs outside must be started in that network, with [`Stage::within`].
#[derive(Debug)]
pub struct Stage {
    process: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    targets: Value,
    own_network: bool,
}

impl Stage {
    /// Puts everything up; the process to be attacked belongs to `user`, if root calls.
    ///
    /// # Errors
    /// When it does not start, or does not say where everything is.
    pub fn put_up(suite: &ProbeSuite, python: &Path, user: u32) -> io::Result<Self> {
        let own_network = rustix::process::geteuid().is_root();
        let mut command = if own_network { Command::new("unshare") } else { Command::new(python) };
        if own_network {
            command.args(["--net", "--"]).arg(python);
        }
        command.args(["-I", "-B"]).arg(suite.dir()).args(["stage", "--user", &user.to_string()]);
        if own_network {
            command.arg("--own-network");
        }
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let asks = process.stdin.take();
        let mut answers = BufReader::new(process.stdout.take().expect("piped above"));
        let targets = answer(&mut answers)?;
        Ok(Self { process, asks, answers, targets, own_network })
    }

    /// What the suite is told of it.
    pub const fn targets(&self) -> &Value {
        &self.targets
    }

    /// Where the dataset lies that a task of the full form is given.
    pub fn dataset(&self) -> &Path {
        Path::new(self.targets["mine"].as_str().unwrap_or_default())
    }

    /// Adds a target, or says where one appears to a task.
    pub fn tell(&mut self, name: &str, target: impl Into<Value>) {
        self.targets[name] = target.into();
    }

    /// The beginning of a command that runs what follows it in the stage's network.
    pub fn within(&self) -> Vec<String> {
        if !self.own_network {
            return Vec::new();
        }
        vec!["/usr/bin/nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.process.id()), "--".to_owned()]
    }

    /// The beginning of a command that runs the suite outside: with mounts and a name of its own, though the probes harm
    /// nothing and fence themselves off as well, so that three mistakes are needed for one to change the machine.
    pub fn outside(&self) -> Vec<String> {
        let mut command = self.within();
        if self.own_network {
            command.extend(["unshare", "--mount", "--uts", "--propagation", "private", "--"].map(str::to_owned));
        }
        command
    }

    /// Marks what the targets heard as allowed.
    ///
    /// # Errors
    /// When the stage is gone.
    pub fn judge(&mut self, findings: &mut [Finding]) -> Result<(), ProbeError> {
        let asks = self.asks.as_mut().expect("taken only when it is dropped");
        asks.write_all(b"\n")?;
        let heard = answer(&mut self.answers)?;
        let heard: BTreeSet<String> = serde_json::from_value(heard).map_err(io::Error::other)?;
        finding::mark_heard(findings, &heard);
        Ok(())
    }
}

fn answer(answers: &mut BufReader<ChildStdout>) -> io::Result<Value> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    serde_json::from_str(&line).map_err(|_| io::Error::other("the stage of the probes ended without a word"))
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.asks.take());
        // It is our child, and ends with its standard input.
        let _ = self.process.wait();
    }
}
