//! The same program in a plain interpreter, in bubblewrap, in an OCI runtime and in Docker, with the same imports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use manta_sandbox::HostImage;
use serde_json::json;

use super::bed::hear_line;
use super::dockerd::{Dockerd, answers};

/// From the program's start to its first line.
pub(super) fn first_line(mut command: Command) -> Result<Duration> {
    let asked = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let heard = child.stdout.as_mut().map(hear_line).transpose();
    let span = asked.elapsed();
    let ended = child.wait_with_output()?;
    ensure!(
        ended.status.success(),
        "{:?} ended with {}: {}",
        command,
        ended.status,
        String::from_utf8_lossy(&ended.stderr)
    );
    heard?;
    Ok(span)
}

/// The interpreter alone.
pub(super) fn bare(python: &Path, program: &str) -> Command {
    let mut command = Command::new(python);
    command.args(["-s", "-B", "-c", program]).env("OPENBLAS_NUM_THREADS", "1");
    command
}

/// In bubblewrap, as its users wrap a Python program.
pub(super) fn bubblewrap(image: &HostImage, program: &str) -> Option<Command> {
    let bwrap = find("bwrap")?;
    let mut command = Command::new(bwrap);
    command.args(["--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]);
    command.args(["--setenv", "OPENBLAS_NUM_THREADS", "1"]);
    // First, as a checkout may lie below it.
    command.args(["--tmpfs", "/tmp"]);
    for mount in image.mounts() {
        command.arg("--ro-bind").arg(&mount.source).arg(&mount.target);
    }
    for link in image.links() {
        command.arg("--symlink").arg(&link.to).arg(&link.path);
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--"]);
    command.arg(image.python()).args(["-s", "-B", "-c", program]);
    Some(command)
}

/// In an OCI runtime, with a bundle made for it in `dir`; its name and the command, or nothing where none is installed.
pub(super) fn oci(
    image: &HostImage,
    program: &str,
    dir: &Path,
    number: u32,
) -> Result<Option<(&'static str, Command)>> {
    let Some((name, path)) = ["runc", "crun"].into_iter().find_map(|name| Some((name, find(name)?))) else {
        return Ok(None);
    };
    let bundle = dir.join("bundle");
    let root = bundle.join("rootfs");
    fs::create_dir_all(&root)?;
    let mut mounts = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}),
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=64m"]}),
    ];
    for mount in image.mounts() {
        mounts.push(
            json!({"destination": mount.target, "source": mount.source, "type": "bind", "options": ["rbind", "ro"]}),
        );
    }
    for link in image.links() {
        let place = root.join(link.path.strip_prefix("/").unwrap_or(&link.path));
        fs::create_dir_all(place.parent().unwrap_or(&root))?;
        if fs::symlink_metadata(&place).is_err() {
            std::os::unix::fs::symlink(&link.to, place)?;
        }
    }
    let namespaces: Vec<_> =
        ["pid", "network", "ipc", "uts", "mount"].iter().map(|kind| json!({"type": kind})).collect();
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 65534, "gid": 65534}, "cwd": "/", "noNewPrivileges": true,
            "args": [image.python(), "-s", "-B", "-c", program], "env": ["PATH=/usr/bin:/bin", "OPENBLAS_NUM_THREADS=1"],
        },
        "root": {"path": "rootfs", "readonly": false},
        "mounts": mounts,
        "linux": {"namespaces": namespaces, "resources": {"pids": {"limit": 64}, "memory": {"limit": 2_147_483_648_u64}}},
    });
    fs::write(bundle.join("config.json"), serde_json::to_vec(&config)?)?;
    let mut command = Command::new(path);
    command.arg("--root").arg(dir.join("state")).arg("run").arg("--bundle").arg(&bundle);
    command.arg(format!("manta-bench-{}-{number}", std::process::id()));
    Ok(Some((name, command)))
}

/// Docker, with an image of nothing but the links of a root directory; the interpreter's files are mounted over it.
pub(super) struct Docker {
    program: PathBuf,
    image: String,
    /// Where none answered.
    own: Option<Dockerd>,
}

impl Docker {
    /// Makes the image from a directory, with the Docker that answers (`DOCKER_HOST`) or one that is started for it; nothing
    /// where there is none.
    pub(super) fn with_root(root: &Path) -> Result<Option<Self>> {
        let Some(program) = find("docker") else { return Ok(None) };
        let own = if answers(&program, None) { None } else { Dockerd::start(&program)? };
        if own.is_none() && !answers(&program, None) {
            return Ok(None);
        }
        let image = format!("localhost/manta-bench:{}", std::process::id());
        let mut tar = Command::new("tar").arg("-C").arg(root).args(["-c", "."]).stdout(Stdio::piped()).spawn()?;
        let layer = tar.stdout.take().map_or_else(Stdio::null, Stdio::from);
        let docker = Self { program, image, own };
        let taken = docker.client().args(["import", "-", &docker.image]).stdin(layer).stdout(Stdio::null()).status()?;
        ensure!(tar.wait()?.success() && taken.success(), "docker takes in no image: {taken}");
        Ok(Some(docker))
    }

    fn client(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.envs(self.own.as_ref().map(|own| ("DOCKER_HOST", own.host())));
        command
    }

    /// `docker run`, as its users run a program once.
    pub(super) fn run(&self, image: &HostImage, program: &str) -> Command {
        let mut command = self.client();
        command.args(["run", "--rm", "--network", "none", "--read-only", "--user", "65534", "--tmpfs", "/tmp"]);
        command.args(["--memory", "2g", "--pids-limit", "64", "--env", "OPENBLAS_NUM_THREADS=1"]);
        for mount in image.mounts() {
            let bind =
                format!("type=bind,source={},target={},readonly", mount.source.display(), mount.target.display());
            command.arg("--mount").arg(bind);
        }
        command.arg(&self.image).arg(image.python()).args(["-s", "-B", "-c", program]);
        command
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // What cannot be removed is said by the program itself.
        let _ = self.client().args(["image", "rm", &self.image]).stdout(Stdio::null()).status();
    }
}

fn find(program: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
        .into_iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists())
}
