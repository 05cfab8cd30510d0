//! What tasks rely on: their program, output, files, environment and socket, and how their end is told.

use std::io::{Read as _, Write as _};

use manta_sandbox::{ExitHow, MountAccess, SandboxError, StartError};

use crate::bench::with_each;

#[test]
fn a_program_runs_and_its_output_and_status_are_told() {
    with_each(|bench| {
        let outcome = bench.python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)");
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"), "{}", bench.name());
        assert_eq!(outcome.exit.how, ExitHow::Exited(7));
        assert!(outcome.exit.peak_memory_bytes > 1 << 20, "{}: {:?}", bench.name(), outcome.exit);
        let outcome = bench.python("import os; os.abort()");
        assert_eq!(outcome.exit.how, ExitHow::Signaled(libc::SIGABRT), "{}: {outcome:?}", bench.name());
    });
}

#[test]
fn nothing_is_inherited_but_what_the_spec_names() {
    with_each(|bench| {
        let told = bench.must(
            "import os\n\
             print(sorted(os.environ), os.getcwd(), os.uname().nodename)\n\
             print(sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:-1], set(os.getgroups()) <= {os.getgid(), 65534}, os.getuid() == 0)\n\
             status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n\
             print([status[name].strip() for name in ('CapBnd', 'CapEff', 'CapAmb', 'NoNewPrivs', 'Seccomp') if name in status])",
        );
        let none = "0000000000000000";
        let held = match bench.name() {
            // Its kernel has no ambient capabilities, and does not tell of new privileges.
            "gvisor" => format!("['{none}', '{none}', '2']"),
            _ => format!("['{none}', '{none}', '{none}', '1', '2']"),
        };
        let expected = format!("['HOME', 'LANG', 'PATH'] /tmp task\n[0, 1, 2, 3] True False\n{held}");
        assert_eq!(told, expected, "{}", bench.name());
    });
}

#[test]
fn the_light_socket_works_both_ways_and_is_the_only_one() {
    with_each(|bench| {
        let mut started = bench.start(bench.spec(
            "import errno, os, socket\n\
             light = socket.socket(fileno=3)\n\
             light.sendall(light.recv(16).upper())\n\
             failed = []\n\
             for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 40):\n\
             \x20   try: socket.socket(family)\n\
             \x20   except OSError as e: failed.append(errno.errorcode[e.errno])\n\
             light.sendall(' '.join(failed).encode())",
        ));
        started.light.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        started.light.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HELLO");
        let mut rest = String::new();
        started.light.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "EPERM EPERM EPERM EPERM", "{}", bench.name());
        assert_eq!(bench.finish(started).exit.how, ExitHow::Exited(0));
    });
}

#[test]
fn datasets_are_read_only_and_so_is_all_else_but_scratch() {
    with_each(|bench| {
        let (source, mount) = bench.dataset("1,2\n");
        let mut spec = bench.spec(
            "import errno\n\
             print(open('/data/rows/rows.csv').read().strip())\n\
             for path in ('/data/rows/rows.csv', '/data/rows/new', '/new', '/usr/new', '/etc/passwd', '/dev/new'):\n\
             \x20   try: open(path, 'w'); print('wrote', path)\n\
             \x20   except OSError as e: assert e.errno in (errno.EROFS, errno.EACCES, errno.EPERM), (path, e)\n\
             open('/tmp/mine', 'w').write('x'); open('/dev/shm/mine', 'w').write('x'); print('scratch')",
        );
        spec.mounts.push(mount);
        let outcome = bench.run(spec);
        assert_eq!(outcome.stdout, "1,2\nscratch\n", "{}: {outcome:?}", bench.name());
        assert_eq!(std::fs::read_to_string(source.join("rows.csv")).unwrap(), "1,2\n");
    });
}

#[test]
fn what_a_task_could_not_read_is_refused_before_it_starts() {
    with_each(|bench| {
        let (source, mount) = bench.dataset("secret\n");
        std::fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let checked = bench.runtime.block_on(bench.engine.check_mount(&source));
        if bench.daemon.is_none() {
            // Owners are mapped there.
            checked.unwrap();
            return;
        }
        let error = checked.unwrap_err();
        assert!(matches!(error, SandboxError::Start(StartError::Unreadable { mode: 0o700, .. })), "{error}");
        assert!(error.to_string().contains("chmod --recursive o+rX"), "{error}");
        let mut spec = bench.spec("pass");
        spec.mounts.push(mount);
        let (light, _ours) = std::os::unix::net::UnixStream::pair().unwrap();
        let null = || std::fs::File::options().write(true).open("/dev/null").unwrap().into();
        let refused = bench.runtime.block_on(bench.engine.start(spec, light.into(), null(), null()));
        assert!(matches!(refused, Err(SandboxError::Start(StartError::Unreadable { .. }))));
    });
}

#[test]
fn a_program_that_is_not_there_is_named_and_leaves_nothing() {
    with_each(|bench| {
        let mut spec = bench.spec("pass");
        spec.argv[0] = "/usr/bin/no-such-program".to_owned();
        let (light, _ours) = std::os::unix::net::UnixStream::pair().unwrap();
        let null = || std::fs::File::options().write(true).open("/dev/null").unwrap().into();
        let error = bench.runtime.block_on(bench.engine.start(spec, light.into(), null(), null())).unwrap_err();
        assert!(error.to_string().contains("failed to start the program"), "{}: {error}", bench.name());
        // Its name is free again.
        bench.must("print(1)");
    });
}

#[test]
fn a_directory_of_an_image_named_etc_is_there() {
    with_each(|bench| {
        let etc = bench.dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(etc.join("motd"), "welcome").unwrap();
        let mut spec = bench.spec("print(open('/etc/motd').read())");
        spec.mounts.retain(|mount| !mount.target.starts_with("/etc"));
        spec.mounts.push(manta_sandbox::Mount {
            source: etc.clone(),
            target: "/etc".into(),
            access: MountAccess::Other,
        });
        let outcome = bench.run(spec);
        assert_eq!(outcome.stdout, "welcome\n", "{}: {outcome:?}", bench.name());
        let left: Vec<_> = std::fs::read_dir(&etc).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["motd"], "an engine writes nothing into an image");
    });
}

#[test]
fn what_an_image_keeps_for_its_root_does_not_stop_a_task() {
    with_each(|bench| {
        let home = bench.dir.path().join("home-of-root");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("notes"), "mine").unwrap();
        std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let mut spec = bench.spec(
            "try: print(open('/root/notes').read())\n\
             except OSError as e: print(type(e).__name__)",
        );
        let access = MountAccess::OwnerOrOther;
        spec.mounts.push(manta_sandbox::Mount { source: home, target: "/root".into(), access });
        let outcome = bench.run(spec);
        let expected = if bench.daemon.is_none() { "mine\n" } else { "PermissionError\n" };
        assert_eq!(outcome.stdout, expected, "{}: {outcome:?}", bench.name());
    });
}
