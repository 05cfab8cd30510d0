//! Finds out what an engine's containers can enforce, by running one that does nothing.

use std::os::fd::OwnedFd;

use super::{ContainerEngine, Containers, Entered};
use crate::cgroup::{Controller, Group};
use crate::launcher::trial_spec;
use crate::{CgroupReport, HostReport, Shortcoming, StartError, Tier, sys};

/// What a trial found.
struct Trial {
    landlock_abi: u32,
    cgroup: CgroupReport,
    missing: Vec<Controller>,
}

impl Containers {
    /// Tries what works and says what does not.
    pub(super) async fn report(&self) -> HostReport {
        let tier = if self.rootless { Tier::Rootless } else { Tier::Full };
        let tried = self.try_out(tier).await;
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut report = HostReport {
            tier: None,
            kernel,
            user_namespaces: self.rootless,
            id_mapped_mounts: false,
            landlock_abi: 0,
            seccomp: sys::has_filters(),
            cgroup: Group::none().report(),
            shortcomings: Vec::new(),
        };
        match tried {
            Ok(trial) => {
                (report.tier, report.landlock_abi, report.cgroup) = (Some(tier), trial.landlock_abi, trial.cgroup);
                report.shortcomings = self.shortcomings(trial.landlock_abi, &trial.missing);
            }
            Err(error) => report.shortcomings.push(Shortcoming::new(
                format!("no container can be started: {error}"),
                format!(
                    "make `{} run` work on this host, and see that it sees the agent's data directory",
                    self.engine.api_name()
                ),
            )),
        }
        report
    }

    async fn try_out(&self, tier: Tier) -> Result<Trial, crate::SandboxError> {
        let spec = trial_spec(tier)?;
        let uid = self.ids.take()?;
        let Entered { container, line, group, landlock_abi } =
            self.run(&spec, [null()?, null()?, null()?], &uid).await?;
        let trial = Trial { landlock_abi, cgroup: group.report(), missing: group.missing() };
        drop(line);
        self.api.remove(&container).await?;
        Ok(trial)
    }

    fn shortcomings(&self, landlock_abi: u32, missing: &[Controller]) -> Vec<Shortcoming> {
        let engine = self.api.engine;
        let mut shortcomings = vec![Shortcoming::new(
            "owners are not mapped in mounts of containers, so tasks read only files that everybody may read",
            "let everybody read datasets (chmod --recursive o+rX), or use --engine builtin",
        )];
        let mut add = |what: &str, cure: String| shortcomings.push(Shortcoming::new(what, cure));
        if self.engine != ContainerEngine::Docker {
            add(
                "files in scratch are limited by their bytes and the task's memory, not in number",
                "use --engine builtin or docker".to_owned(),
            );
        }
        if self.engine == ContainerEngine::Gvisor {
            add(
                "a task's memory is what gVisor's own kernel leaves of its limit, some 20 MB less",
                "give tasks more memory".to_owned(),
            );
        } else if landlock_abi == 0 {
            add(
                "Landlock is missing in containers, so files are fenced by mounts alone",
                format!("use a newer {engine}"),
            );
        }
        for controller in missing {
            let what = match controller {
                Controller::Memory => "memory is limited for each process of a task, not for all together",
                Controller::Pids => "the number of a task's processes is limited by its user's resource limit only",
                Controller::Cpu => "CPU time is shared by priority only; a task's CPU limit is not enforced",
            };
            add(
                what,
                format!("give {engine} the control groups of this host (as root, or by delegation on cgroup v2)"),
            );
        }
        shortcomings
    }
}

fn null() -> Result<OwnedFd, StartError> {
    let opened = std::fs::File::options().read(true).write(true).open("/dev/null");
    opened.map(OwnedFd::from).map_err(|error| StartError::step("open `/dev/null`", error))
}
