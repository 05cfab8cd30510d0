//! A network namespace for one node, joined to ours by a pair of virtual interfaces, with packet filters of its own.
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};

use crate::disk::run;
use crate::site::{MARK, own_prefix};

/// The beginning of the names of a harness's namespaces: an interface's may have 15 bytes.
pub(crate) fn prefix(harness: u32) -> String {
    format!("mc{}-", harness % 100_000)
}

/// The chains of a namespace: what comes in and what goes out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    /// From the manager to the node.
    In,
    /// From the node to the manager.
    Out,
}

/// A namespace that is removed when dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    link: String,
    outside: String,
}

impl Namespace {
    /// Makes one; the addresses are of a block for documentation (RFC 5737), so that no real host is hidden by them.
    pub(crate) fn make() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}", prefix(std::process::id()));
        let link = name.replacen("mc", "mv", 1);
        let base = 4 * (number % 60);
        let (outside, inside) = (format!("203.0.113.{}", base + 1), format!("203.0.113.{}", base + 2));
        let made = Self { name, link, outside };
        let (name, link) = (made.name.as_str(), made.link.as_str());
        run("ip", &["netns", "add", name])?;
        run("ip", &["link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        run("ip", &["address", "add", &format!("{}/30", made.outside), "dev", link])?;
        run("ip", &["link", "set", link, "up"])?;
        for command in [
            &["address", "add", &format!("{inside}/30"), "dev", "eth0"][..],
            &["link", "set", "eth0", "up"],
            &["link", "set", "lo", "up"],
        ] {
            run("ip", &[&["-n", name], command].concat())?;
        }
        Ok(made)
    }

    /// The address at which our side is seen from inside.
    pub(crate) fn outside(&self) -> &str {
        &self.outside
    }

    /// Runs a program inside.
    pub(crate) fn spawn(&self, program: &Path, arguments: &[&str]) -> Result<Child> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).args(arguments).stdin(Stdio::null());
        command.env(MARK, format!("{}wire", own_prefix()));
        command.spawn().context("starting `ip`")
    }

    /// Has a rule of nft's followed for all that passes in a direction, until [`Namespace::heal`].
    pub(crate) fn rule(&self, direction: Direction, rule: &str) -> Result<()> {
        let hook = match direction {
            Direction::In => "input",
            Direction::Out => "output",
        };
        // One statement a line: nft reads no other form of a chain with a rule.
        let table = format!(
            "table inet chaos {{\n chain {hook} {{\n type filter hook {hook} priority 0; policy accept;\n {rule}\n }}\n}}\n"
        );
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.name, "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting `nft`")?;
        nft.stdin.take().context("nft reads from a pipe")?.write_all(table.as_bytes())?;
        let output = nft.wait_with_output()?;
        ensure!(output.status.success(), "nft refused `{rule}`: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Lets everything pass again.
    pub(crate) fn heal(&self) -> Result<()> {
        run("ip", &["netns", "exec", &self.name, "nft", "flush", "ruleset"])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The pair goes with the namespace, unless a process still lives there.
        let _ = Command::new("ip").args(["link", "delete", &self.link]).stderr(Stdio::null()).status();
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).stderr(Stdio::null()).status();
    }
}
