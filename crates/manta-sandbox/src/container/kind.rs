//! Which engine runs containers, and what each is called and asked by.

use std::path::{Path, PathBuf};

/// Which engine's ways are followed where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerEngine {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// gVisor, as a runtime of Docker's: the kernel that a task speaks to is a program of its own.
    Gvisor,
}

impl ContainerEngine {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Gvisor => "gvisor",
        }
    }

    /// Whose API it is asked by.
    pub const fn api_name(self) -> &'static str {
        match self {
            Self::Docker | Self::Gvisor => "docker",
            Self::Podman => "podman",
        }
    }

    /// The runtime that containers name, where it is not the engine's own choice.
    pub(super) const fn runtime(self) -> Option<&'static str> {
        match self {
            Self::Docker | Self::Podman => None,
            Self::Gvisor => Some("runsc"),
        }
    }

    /// Where its socket may lie, the likeliest first: what the engine's own variable names, then its usual places.
    pub fn sockets(self) -> Vec<PathBuf> {
        let (variable, places) = match self {
            Self::Docker | Self::Gvisor => ("DOCKER_HOST", ["docker.sock", "/run/docker.sock"]),
            Self::Podman => ("CONTAINER_HOST", ["podman/podman.sock", "/run/podman/podman.sock"]),
        };
        let named = std::env::var(variable).ok().and_then(|host| Some(PathBuf::from(host.strip_prefix("unix://")?)));
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let usual = places.into_iter().filter_map(|place| match Path::new(place) {
            place if place.is_absolute() => Some(place.to_owned()),
            place => runtime.as_ref().map(|runtime| runtime.join(place)),
        });
        named.into_iter().chain(usual).collect()
    }
}

/// Whether a runtime that Docker tells of lets a container's first process come in.
pub(super) fn check_runtime(name: &str, told: &serde_json::Value) -> Result<(), String> {
    let entry =
        |args: &str| format!(r#""runtimes": {{"{name}": {{"path": "/usr/bin/{name}", "runtimeArgs": [{args}]}}}}"#);
    let wanted = entry(r#""--host-uds=open""#);
    if told.is_null() {
        return Err(format!("it has no runtime `{name}`; put {wanted} into its daemon.json and restart it"));
    }
    let has_args = told["runtimeArgs"].as_array().is_some_and(|args| {
        args.iter().any(|arg| arg.as_str().is_some_and(|arg| arg == "--host-uds=open" || arg == "--host-uds=all"))
    });
    // One that containerd starts by itself is set up elsewhere.
    if told["path"].is_null() || has_args {
        return Ok(());
    }
    Err(format!("its runtime `{name}` opens no socket of the host; put {wanted} into its daemon.json and restart it"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_runtime_that_lets_nobody_in_is_refused_with_what_to_write() {
        let check = |told: serde_json::Value| check_runtime("runsc", &told);
        let wanted = r#""runsc": {"path": "/usr/bin/runsc", "runtimeArgs": ["--host-uds=open"]}"#;
        for (told, why) in [
            (json!(null), "has no runtime `runsc`"),
            (json!({ "path": "runsc" }), "opens no socket of the host"),
            (json!({ "path": "runsc", "runtimeArgs": ["--host-uds=create"] }), "opens no socket of the host"),
        ] {
            let refused = check(told).unwrap_err();
            assert!(refused.contains(why) && refused.contains(wanted), "{refused}");
        }
        check(json!({ "path": "runsc", "runtimeArgs": ["--debug", "--host-uds=open"] })).unwrap();
        check(json!({ "runtimeType": "io.containerd.runsc.v1" })).unwrap();
    }
}
