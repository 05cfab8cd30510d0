//! What an agent asks of whatever runs its sandboxes, be it this crate's own launcher or a container engine of the site.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::path::Path;

use async_trait::async_trait;

use crate::{HostReport, Launcher, Parted, Running, SandboxError, SandboxSpec, Template, Warmth};

/// Runs sandboxes. All engines take the same [`SandboxSpec`], and one suite of tests says what each must do with it.
///
/// Everything that an engine started ends when it is closed, and when its agent dies.
#[async_trait]
pub trait Engine: Debug + Send + Sync {
    /// What people call it: `builtin`, `docker`, `podman` or `gvisor`.
    fn name(&self) -> &'static str;

    /// What it is, for people and to tell one from another: with its version and where it is reached, where it has those.
    fn describe(&self) -> String {
        self.name().to_owned()
    }

    /// Whether its sandboxes are containers: started cold, without the host's devices, with uids that own nothing of the host.
    fn runs_containers(&self) -> bool {
        false
    }

    /// Whether a task can send descriptors over its light socket; every task can be sent some.
    fn passes_descriptors_out(&self) -> bool {
        true
    }

    /// Finds out what it can enforce on this host, by really starting trivial sandboxes.
    ///
    /// # Errors
    /// When the engine cannot be asked. One that can be, and contains nothing, answers with a report that has no tier.
    async fn probe(&self) -> Result<HostReport, SandboxError>;

    /// Finds out whether a task could be given `source` with [`crate::MountAccess::Owner`], as for a dataset.
    ///
    /// # Errors
    /// [`SandboxError::Start`] names the path, its mode and what would help.
    async fn check_mount(&self, source: &Path) -> Result<(), SandboxError>;

    /// Starts a sandbox; returns when its program has been entered.
    ///
    /// `light` becomes descriptor 3 of the task, `stdout` and `stderr` its 1 and 2; 0 is `/dev/null`. A sandbox goes on when the
    /// future or the [`Running`] is dropped: only its own end, [`Engine::kill`] or the end of the engine ends it.
    ///
    /// # Errors
    /// Tells which step failed and why; nothing is left of the sandbox then.
    async fn start(
        &self,
        spec: SandboxSpec,
        light: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<Running, SandboxError>;

    /// Ends a sandbox and every process in it; its exit arrives as usual. Unknown ids are ignored.
    fn kill(&self, id: &str);

    /// Makes ready, in the background, what sandboxes can be started from that name the template. An engine that has only cold
    /// starts is not asked.
    ///
    /// # Errors
    /// As [`Launcher::keep_warm`].
    fn keep_warm(&self, template: Template) -> Result<(), SandboxError>;

    /// Ends what [`Engine::keep_warm`] made ready under that name; what runs goes on.
    fn let_go(&self, _template: &str) {}

    /// What is ready to start sandboxes from; waits until nothing is in the making.
    ///
    /// # Errors
    /// As [`Launcher::warmth`].
    async fn warmth(&self) -> Result<Vec<Warmth>, SandboxError> {
        Ok(Vec::new())
    }

    /// Whether what runs can go on under another program in the agent's place; see [`Engine::part`].
    fn can_part(&self) -> bool {
        false
    }

    /// Lets go of what runs without ending it, as [`Launcher::part`] does; nothing where it is gone or cannot.
    fn part(&self) -> Option<Parted> {
        None
    }

    /// Whether it can start nothing ever again.
    fn is_gone(&self) -> bool;

    /// Ends every sandbox, and waits until nothing of them is left.
    async fn close(&self);
}

#[async_trait]
impl Engine for Launcher {
    fn name(&self) -> &'static str {
        "builtin"
    }

    async fn probe(&self) -> Result<HostReport, SandboxError> {
        Self::probe(self).await
    }

    async fn check_mount(&self, source: &Path) -> Result<(), SandboxError> {
        Self::check_mount(self, source).await
    }

    async fn start(
        &self,
        spec: SandboxSpec,
        light: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<Running, SandboxError> {
        Self::start(self, spec, light, stdout, stderr).await
    }

    fn kill(&self, id: &str) {
        Self::kill(self, id);
    }

    fn keep_warm(&self, template: Template) -> Result<(), SandboxError> {
        Self::keep_warm(self, template)
    }

    fn let_go(&self, template: &str) {
        Self::let_go(self, template);
    }

    async fn warmth(&self) -> Result<Vec<Warmth>, SandboxError> {
        Self::warmth(self).await
    }

    fn can_part(&self) -> bool {
        true
    }

    fn part(&self) -> Option<Parted> {
        Self::part(self)
    }

    fn is_gone(&self) -> bool {
        Self::is_gone(self)
    }

    async fn close(&self) {
        let Some(reader) = self.hang_up() else { return };
        // A panic of the reader was reported when it happened.
        let _ = tokio::task::spawn_blocking(move || reader.join()).await;
    }
}
