//! What well-behaved tasks rely on works in every tier.

use std::path::PathBuf;

use crate::support::{PRELUDE, all_tiers, is_root, namespaced_tiers};
use manta_sandbox::{Device, ExitHow, StartWay};

#[test]
fn output_exit_code_and_usage_are_reported() {
    for lab in all_tiers() {
        let outcome = lab.python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)");
        assert_eq!(outcome.exit.how, ExitHow::Exited(7), "{:?}: {}", lab.tier, outcome.stderr);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
        // What a forked task shares with its zygote is not its own.
        assert!(outcome.exit.peak_memory_bytes > 256 << 10, "{:?}", outcome.exit);
        assert!(!outcome.exit.oom && !outcome.exit.pids_limit_hit);
    }
}

#[test]
fn death_by_signal_is_reported() {
    for lab in all_tiers() {
        let outcome = lab.python("import ctypes; ctypes.string_at(0)");
        assert_eq!(outcome.exit.how, ExitHow::Signaled(libc::SIGSEGV), "{:?}", lab.tier);
    }
}

#[test]
fn threads_and_subprocesses_work() {
    for lab in all_tiers() {
        let said = lab.must(
            "import threading, subprocess, sys\n\
             seen = []\n\
             threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(8)]\n\
             [t.start() for t in threads]; [t.join() for t in threads]\n\
             print(sorted(seen), subprocess.check_output([sys.executable, '-I', '-c', 'print(6 * 7)'], text=True).strip())",
        );
        assert_eq!(said, "[0, 1, 2, 3, 4, 5, 6, 7] 42", "{:?}", lab.tier);
    }
}

#[test]
fn multiprocessing_pools_work_where_there_is_a_private_shm() {
    for lab in namespaced_tiers() {
        let said = lab.must(
            "import multiprocessing as mp\n\
             ctx = mp.get_context('fork')\n\
             with ctx.Pool(3) as pool: print(pool.map(abs, [-1, -2, -3]))",
        );
        assert_eq!(said, "[1, 2, 3]", "{:?}", lab.tier);
    }
}

#[test]
fn sealed_memory_travels_over_the_light_socket() {
    for lab in all_tiers() {
        let spec = lab.spec(
            "import fcntl, mmap, os, socket\n\
             fd = os.memfd_create('value', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)\n\
             os.write(fd, b'sealed value')\n\
             fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)\n\
             light = socket.socket(fileno=3)\n\
             socket.send_fds(light, [b'x'], [fd])\n\
             data, fds, _, _ = socket.recv_fds(light, 1, 1)\n\
             view = mmap.mmap(fds[0], 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)\n\
             view[:3] = b'own'\n\
             print(view[:].decode())",
        );
        let (running, pipes) = lab.start(spec);
        let fd = support_fds::receive(pipes.light());
        support_fds::send(pipes.light(), &fd);
        let (stdout, stderr) = pipes.read();
        assert_eq!(running.exit.blocking_recv().unwrap().how, ExitHow::Exited(0), "{:?}: {stderr}", lab.tier);
        assert_eq!(stdout, "ownled value\n");
    }
}

/// Passing descriptors over a stream socket.
mod support_fds {
    use std::io::{IoSlice, IoSliceMut};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    };

    pub(crate) fn receive(socket: &UnixStream) -> OwnedFd {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
        let mut fds = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        fds.next().unwrap()
    }

    pub(crate) fn send(socket: &UnixStream, fd: &OwnedFd) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [fd.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(socket, &[IoSlice::new(b"y")], &mut ancillary, SendFlags::empty()).unwrap();
    }
}

#[test]
fn surroundings_are_plain() {
    for lab in namespaced_tiers() {
        let said = lab.must(&format!(
            "{PRELUDE}\nimport getpass, tempfile, resource\n\
             print(os.getcwd(), getpass.getuser(), socket.gethostname(), oct(os.umask(0)), tempfile.gettempdir(),\n\
             os.getsid(0) == os.getpid(), resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE))"
        ));
        assert_eq!(said, "/tmp task task 0o22 /tmp True (0, 0) (1024, 1024)", "{:?}", lab.tier);
    }
}

#[test]
fn a_signal_that_a_task_sends_itself_ends_it_and_is_told() {
    for lab in all_tiers() {
        for (code, signal) in
            [("import os; os.abort()", libc::SIGABRT), ("import os; os.kill(os.getpid(), 9)", libc::SIGKILL)]
        {
            assert_eq!(lab.python(code).exit.how, ExitHow::Signaled(signal), "{:?} {code}", lab.tier);
        }
    }
}

#[test]
fn temporary_files_can_be_written_and_executed() {
    for lab in all_tiers() {
        let said = lab.must(
            "import os, subprocess, tempfile\n\
             path = os.path.join(tempfile.gettempdir(), 'tool')\n\
             fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o755)\n\
             os.write(fd, b'#!/bin/sh\\necho made here\\n'); os.close(fd)\n\
             print(subprocess.check_output([path], text=True))",
        );
        assert_eq!(said, "made here", "{:?}", lab.tier);
    }
}

/// CUDA names a socket and a thread when it starts and gives up without.
#[test]
fn a_task_with_a_device_names_its_threads_and_a_socket_that_reaches_nobody() {
    if !is_root() {
        eprintln!("skipped: only root can make device nodes");
        return;
    }
    for lab in all_tiers().into_iter().filter(|lab| lab.way == StartWay::Cold) {
        let program = "import os, socket, threading\n\
             from socket import AF_INET, AF_UNIX, AF_VSOCK, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM\n\
             def tried(what, call):\n\
             \x20   try: call(); print(what, end=' ')\n\
             \x20   except OSError: pass\n\
             def named(kind, path):\n\
             \x20   one = socket.socket(AF_UNIX, kind); one.bind(path); one.listen(); return one\n\
             def thread():\n\
             \x20   with open(f'/proc/self/task/{threading.get_native_id()}/comm', 'w') as comm: comm.write('cuda')\n\
             def joined():\n\
             \x20   there = named(SOCK_SEQPACKET, '\\0there'); socket.socket(AF_UNIX, SOCK_SEQPACKET).connect('\\0there')\n\
             tried('named', lambda: named(SOCK_SEQPACKET, '\\0cuda'))\n\
             tried('titled', thread)\n\
             tried('joined', joined)\n\
             tried('accepted', lambda: named(SOCK_SEQPACKET, '\\0waits').accept())\n\
             tried('renamed', lambda: socket.socket(fileno=os.dup(3)).bind('\\0manta-renamed'))\n\
             tried('stream', lambda: named(SOCK_STREAM, '\\0stream'))\n\
             tried('datagram', lambda: socket.socket(AF_UNIX, SOCK_DGRAM))\n\
             tried('internet', lambda: socket.socket(AF_INET, SOCK_STREAM))\n\
             tried('vsock', lambda: socket.socket(AF_VSOCK, SOCK_SEQPACKET))\n\
             print('done')";
        assert_eq!(lab.must(program), "done", "{:?}", lab.tier);
        let mut spec = lab.spec(program);
        spec.devices.push(Device { source: lab.fake_device("gpu0"), target: PathBuf::from("/dev/gpu0") });
        let outcome = lab.run(spec);
        // Where the network is the host's, so would be the name.
        let may = if lab.tier.maps_paths() { "named titled done" } else { "done" };
        assert_eq!(outcome.stdout.trim(), may, "{:?}: {}", lab.tier, outcome.stderr);
    }
}

#[test]
fn devices_of_the_spec_can_be_used_and_no_others() {
    if !is_root() {
        eprintln!("skipped: only root can make device nodes");
        return;
    }
    for lab in all_tiers().into_iter().filter(|lab| lab.way == StartWay::Cold) {
        let (assigned, other) = (lab.fake_device("gpu0"), lab.fake_device("gpu1"));
        let target = if lab.tier.maps_paths() { PathBuf::from("/dev/gpus/gpu0") } else { assigned.clone() };
        let mut spec = lab.spec(&format!(
            "import os\n\
             device = open('{}', 'r+b', buffering=0); device.write(b'x'); print(device.read(2))\n\
             for path in ('{}', '/dev/gpus/gpu1'):\n\
             \x20   try: open(path, 'rb'); print('reached')\n\
             \x20   except OSError as e: pass",
            target.display(),
            other.display()
        ));
        spec.devices.push(Device { source: assigned, target: PathBuf::from("/dev/gpus/gpu0") });
        let outcome = lab.run(spec);
        assert_eq!(outcome.stdout.trim(), "b'\\x00\\x00'", "{:?}: {}", lab.tier, outcome.stderr);
        let mut plain = lab.spec("");
        plain.devices.push(Device { source: lab.file("plain", ""), target: PathBuf::from("/dev/gpu0") });
        let null = || std::fs::File::open("/dev/null").unwrap().into();
        let refused = lab.launcher.start_blocking(plain, null(), null(), null()).unwrap_err().to_string();
        assert!(refused.contains("not a device"), "{:?}: {refused}", lab.tier);
    }
}

#[test]
fn devices_answer() {
    for lab in all_tiers() {
        let said = lab.must(
            "import os\n\
             open('/dev/null', 'w').write('x'); assert len(open('/dev/urandom', 'rb').read(8)) == 8\n\
             assert open('/dev/zero', 'rb').read(2) == b'\\0\\0'\n\
             print(os.read(0, 1))",
        );
        assert_eq!(said, "b''", "{:?}", lab.tier);
    }
}
