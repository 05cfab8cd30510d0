//! The process of a zygote: how it is started, and what the launcher keeps of it.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::child::Role;
use crate::hostid::Seats;
use crate::launcher::plan;
use crate::launcher::protocol::{self, MESSAGE_BYTES_MAX};
use crate::launcher::start::Starter;
use crate::launcher::task::Task;
use crate::{Limits, Mount, SandboxSpec, StartError, Template, Tier, TmpLimits};

/// Children of one zygote that may live at once.
pub(super) const CHILDREN_MAX: usize = 32;

/// What a zygote may use beside memory.
const ZYGOTE_TMP: TmpLimits = TmpLimits { bytes: 16 << 20, inodes: 1024 };
const ZYGOTE_PIDS: u32 = 64;
const ZYGOTE_CPU: f64 = 64.0;

/// A running zygote.
pub(super) struct Process {
    pub(super) task: Task,
    pub(super) control: Rc<OwnedFd>,
    pub(super) user_namespace: OwnedFd,
    pub(super) pid_namespace: OwnedFd,
    pub(super) seats: Rc<Seats>,
}

/// A spec of what all sandboxes of a template have.
pub(super) fn spec_of(template: &Template, id: String) -> SandboxSpec {
    SandboxSpec {
        id,
        tier: Tier::Full,
        argv: template.argv.clone(),
        env: template.env.clone(),
        mounts: template.mounts.clone(),
        directory: None,
        devices: Vec::new(),
        links: template.links.clone(),
        tmp: ZYGOTE_TMP,
        limits: Limits { memory_bytes: template.memory_bytes, pids: ZYGOTE_PIDS, cpu: ZYGOTE_CPU },
        hostname: template.hostname.clone(),
        template: None,
    }
}

/// The part of `spec` that the template lacks; an error if a child of the zygote cannot become such a sandbox.
pub(super) fn late_mounts<'a>(template: &Template, spec: &'a SandboxSpec) -> Result<Vec<&'a Mount>, String> {
    if spec.tier != Tier::Full {
        return Err(format!("the `{}` tier has no warm start", spec.tier.name()));
    }
    let fits = spec.hostname == template.hostname
        && spec.links == template.links
        && template.mounts.iter().all(|mount| spec.mounts.contains(mount));
    if !fits {
        return Err("it lacks something of its image".to_owned());
    }
    let late: Vec<&Mount> = plan::sorted(spec).into_iter().filter(|mount| !template.mounts.contains(mount)).collect();
    if let Some(hiding) =
        late.iter().find(|late| template.mounts.iter().any(|mount| mount.target.starts_with(&late.target)))
    {
        return Err(format!("`{}` would hide a part of its image", hiding.target.display()));
    }
    if late.len() > protocol::MESSAGE_FDS_MAX {
        return Err(format!("it has more than {} mounts beside its image", protocol::MESSAGE_FDS_MAX));
    }
    Ok(late)
}

/// Starts a zygote; it says on its control socket when it can fork.
pub(super) fn launch(starter: &mut Starter, template: &Template) -> Result<Process, StartError> {
    if !starter.privileged {
        return Err(StartError::Tier { tier: Tier::Full.name().to_owned(), problem: "it needs root".to_owned() });
    }
    let failed = |error: std::io::Error| StartError::step("start a zygote", error);
    let (control, theirs) = channel().map_err(failed)?;
    let spec = spec_of(template, starter.name("zygote"));
    let filter = starter.filter(&spec, Role::Task { landlock: starter.landlock_abi > 0 })?;
    let program = filter_file(&filter).map_err(failed)?;
    protocol::send(&control, b"{}", &[program.as_fd()]).map_err(failed)?;
    let null =
        || open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|error| failed(error.into()));
    let seats = starter.take_seats(CHILDREN_MAX)?;
    let task = starter.start_zygote(&spec, Rc::clone(&seats), [theirs, null()?, null()?])?;
    let namespace = |name: &str| {
        let path = format!("/proc/{}/ns/{name}", task.process.pid.as_raw_nonzero());
        std::fs::File::open(path).map(OwnedFd::from).map_err(failed)
    };
    let (user_namespace, pid_namespace) = (namespace("user")?, namespace("pid")?);
    Ok(Process { task, control: Rc::new(control), user_namespace, pid_namespace, seats })
}

/// Two ends of a socket that carries whole messages.
pub(super) fn channel() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    protocol::make_room(&ours)?;
    protocol::make_room(&theirs)?;
    Ok((ours, theirs))
}

/// A file that holds a filter's instructions, as the kernel takes them.
fn filter_file(filter: &[libc::sock_filter]) -> std::io::Result<OwnedFd> {
    let file = memfd_create("manta-filter", MemfdFlags::CLOEXEC)?;
    let bytes: Vec<u8> = filter
        .iter()
        .flat_map(|step| {
            let [code_low, code_high] = step.code.to_ne_bytes();
            let [a, b, c, d] = step.k.to_ne_bytes();
            [code_low, code_high, step.jt, step.jf, a, b, c, d]
        })
        .collect();
    let written = rustix::io::write(&file, &bytes)?;
    assert!(written == bytes.len(), "memory files take everything at once");
    Ok(file)
}

const _: () = assert!(MESSAGE_BYTES_MAX >= 16 << 10);
