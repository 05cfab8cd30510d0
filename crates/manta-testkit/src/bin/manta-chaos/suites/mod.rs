//! The suites, in the order in which they run.
mod abuse;
mod agent_phases;
mod backups;
mod clock;
mod clusters;
mod crash_points;
mod damaged_data;
mod failing_disk;
mod full_disk;
mod hostile_node;
mod migrations;
mod network;
mod pauses;
mod power_cut;
mod random_kills;
mod upkeep;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use anyhow::{Result, bail};

use crate::options::Plan;
use crate::report::Finding;

/// A suite at work.
type Running = Pin<Box<dyn Future<Output = Result<Vec<Finding>>>>>;

/// Faults of one kind.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    needs: &'static [Need],
    pub(crate) run: fn(Plan) -> Running,
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What a suite cannot do without.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// To be root.
    Root,
    /// A program on PATH, and the package that has it on Debian.
    Program(&'static str, &'static str),
    /// Something that must be there, and what it is.
    Path(&'static str, &'static str),
}

impl Need {
    /// What is lacking, in words.
    fn lacking(self) -> Option<String> {
        match self {
            Self::Root => (!rustix::process::geteuid().is_root()).then(|| "root".to_owned()),
            Self::Program(program, package) => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let is_there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
                (!is_there).then(|| format!("`{program}` (Debian: apt-get install {package})"))
            }
            Self::Path(path, what) => (!Path::new(path).exists()).then(|| what.to_owned()),
        }
    }
}

impl Suite {
    /// The first thing that is lacking here.
    pub(crate) fn lacking(&self) -> Option<String> {
        self.needs.iter().find_map(|need| need.lacking())
    }
}

const STRACE: Need = Need::Program("strace", "strace");
const MKFS: Need = Need::Program("mkfs.ext4", "e2fsprogs");
const LOOP: Need = Need::Path("/dev/loop-control", "loop devices (CONFIG_BLK_DEV_LOOP)");
const IP: Need = Need::Program("ip", "iproute2");
const NFT: Need = Need::Program("nft", "nftables");
const NETNS: Need = Need::Path("/proc/self/ns/net", "network namespaces (CONFIG_NET_NS)");
const UNSHARE: Need = Need::Program("unshare", "util-linux");
const SETPRIV: Need = Need::Program("setpriv", "util-linux");
const FAKETIME: Need = Need::Program("faketime", "faketime");

/// All of them.
static SUITES: [Suite; 17] = [
    Suite {
        name: "manager-points",
        about: "kill -9 of the manager at every crash point",
        needs: &[],
        run: |plan| Box::pin(crash_points::manager(plan)),
    },
    Suite {
        name: "agent-points",
        about: "kill -9 of an agent at every crash point",
        needs: &[],
        run: |plan| Box::pin(crash_points::agent(plan)),
    },
    Suite {
        name: "migrations",
        about: "kill -9 while an older format is brought up to date",
        needs: &[],
        run: |plan| Box::pin(migrations::run(plan)),
    },
    Suite {
        name: "backups",
        about: "kill -9 while a backup is made or brought back",
        needs: &[],
        run: |plan| Box::pin(backups::run(plan)),
    },
    Suite {
        name: "upkeep",
        about: "kill -9 of the manager while it lets go what is no longer kept",
        needs: &[],
        run: |plan| Box::pin(upkeep::run(plan)),
    },
    Suite {
        name: "clusters",
        about: "kill -9 of the manager while a cluster is added or removed",
        needs: &[],
        run: |plan| Box::pin(clusters::run(plan)),
    },
    Suite {
        name: "agent-phases",
        about: "kill -9 of an agent in each phase of an attempt",
        needs: &[],
        run: |plan| Box::pin(agent_phases::run(plan)),
    },
    Suite {
        name: "random-kills",
        about: "kill -9 of the manager and of agents at random, while work goes on",
        needs: &[],
        run: |plan| Box::pin(random_kills::run(plan)),
    },
    Suite {
        name: "pauses",
        about: "SIGSTOP of the manager and of agents beyond a lease",
        needs: &[],
        run: |plan| Box::pin(pauses::run(plan)),
    },
    Suite {
        name: "failing-disk",
        about: "system calls that fail at the N-th time, slow syncs",
        needs: &[STRACE],
        run: |plan| Box::pin(failing_disk::run(plan)),
    },
    Suite {
        name: "full-disk",
        about: "a disk that fills",
        needs: &[Need::Root],
        run: |plan| Box::pin(full_disk::run(plan)),
    },
    Suite {
        name: "power-cut",
        about: "the power is cut under the manager's data, and under an agent's",
        needs: &[Need::Root, MKFS, LOOP],
        run: |plan| Box::pin(power_cut::run(plan)),
    },
    Suite {
        name: "network",
        about: "partitions, loss, resets, half-open connections, bad lines",
        needs: &[Need::Root, IP, NFT, NETNS],
        run: |plan| Box::pin(network::run(plan)),
    },
    Suite {
        name: "clock",
        about: "clocks that jump while work goes on",
        needs: &[FAKETIME],
        run: |plan| Box::pin(clock::run(plan)),
    },
    Suite {
        name: "hostile-node",
        about: "a node that forges results",
        needs: &[],
        run: |plan| Box::pin(hostile_node::run(plan)),
    },
    Suite {
        name: "abuse",
        about: "programs that take what they can, in each tier, beside an honest task",
        needs: &[UNSHARE, SETPRIV],
        run: |plan| Box::pin(abuse::run(plan)),
    },
    Suite {
        name: "damaged-data",
        about: "data directories that are locked, newer, truncated, damaged",
        needs: &[],
        run: |plan| Box::pin(damaged_data::run(plan)),
    },
];

/// Those that were asked for; all, when none was.
///
/// # Errors
/// For a name that no suite has.
pub(crate) fn select(names: &[String]) -> Result<Vec<&'static Suite>> {
    for name in names {
        if !SUITES.iter().any(|suite| suite.name == name) {
            let known: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
            bail!("there is no suite `{name}`; there are {}", known.join(", "));
        }
    }
    Ok(SUITES.iter().filter(|suite| names.is_empty() || names.iter().any(|name| name == suite.name)).collect())
}

/// All of them, for the help.
pub(crate) fn list() -> String {
    SUITES.iter().map(|suite| format!("  {:<16} {}", suite.name, suite.about)).collect::<Vec<_>>().join("\n")
}
