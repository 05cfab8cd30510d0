//! Other processes, of the host or of another task, cannot be seen, signalled or read.

use std::process::{Command, Stdio};

use manta_sandbox::{StartWay, Tier};

use crate::support::{all_tiers, namespaced_tiers};

#[test]
fn only_own_processes_are_seen() {
    for lab in namespaced_tiers() {
        let said = lab.must("import os; print([name for name in os.listdir('/proc') if name.isdigit()])");
        let own = if lab.way == StartWay::Cold { "['2']" } else { "['3']" };
        assert_eq!(said, own, "{:?}: not even the first process is seen", lab.tier);
    }
}

#[test]
fn processes_of_the_host_cannot_be_signalled() {
    for lab in all_tiers() {
        // The launcher is of the task's user in the rootless tier; this process is of another in all tiers but for one.
        let init = if lab.tier.maps_paths() { None } else { Some(1) };
        for pid in [lab.launcher.pid(), std::process::id()].into_iter().chain(init) {
            for signal in ["0", "signal.SIGTERM", "signal.SIGKILL"] {
                lab.refused(&format!("os.kill({pid}, {signal})"), &["ESRCH", "EPERM"]);
            }
            lab.refused(&format!("signal.pidfd_send_signal(os.pidfd_open({pid}), 9)"), &["ESRCH", "EPERM", "EINVAL"]);
        }
    }
}

#[test]
fn process_of_the_same_user_cannot_be_signalled_or_read() {
    for lab in all_tiers() {
        let mut bystander = Command::new("/usr/bin/setpriv");
        if crate::support::is_root() {
            bystander.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        let mut bystander = bystander.args(["--", "/bin/cat"]).stdin(Stdio::piped()).spawn().unwrap();
        let pid = bystander.id();
        lab.refused(&format!("os.kill({pid}, signal.SIGKILL)"), &["ESRCH", "EPERM"]);
        for file in ["environ", "maps", "mem", "cmdline", "fd"] {
            let read = if file == "fd" { "os.listdir" } else { "open" };
            lab.refused(&format!("{read}('/proc/{pid}/{file}')"), &["ENOENT", "EACCES"]);
        }
        assert!(bystander.try_wait().unwrap().is_none(), "{:?}", lab.tier);
        drop(bystander.stdin.take());
        bystander.wait().unwrap();
    }
}

#[test]
fn own_children_can_be_signalled() {
    for lab in all_tiers() {
        let said = lab.must(
            "import subprocess\np = subprocess.Popen(['/bin/cat'], stdin=subprocess.PIPE)\np.kill(); print(p.wait())",
        );
        assert_eq!(said, "-9", "{:?}", lab.tier);
    }
}

#[test]
fn shared_memory_and_queues_of_the_host_are_out_of_sight() {
    for lab in all_tiers() {
        if lab.tier == Tier::Reduced {
            continue; // shares the host's IPC namespace, where keys of other users are protected by their modes
        }
        assert_eq!(lab.must("print(len(open('/proc/sysvipc/shm').readlines()))"), "1", "{:?}", lab.tier);
    }
}
