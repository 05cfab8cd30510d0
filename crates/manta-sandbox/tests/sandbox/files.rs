//! A task reads what its spec mounts, writes its temporary directories, and finds nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use manta_sandbox::{ExitHow, MountAccess, SandboxError, StartError};

use crate::support::{Lab, all_tiers, full_tier, namespaced_tiers, owner_mount};

const ABSENT: [&str; 3] = ["ENOENT", "EACCES", "ENOTDIR"];

#[test]
fn host_files_are_out_of_reach() {
    for lab in all_tiers() {
        for path in ["/etc/shadow", "/etc/hostname", "/root", "/root/.pyenv", "/home", "/var/log", "/run"] {
            let expression = format!("open('{path}', 'rb').read()");
            lab.refused(&expression, &ABSENT);
        }
        for path in ["/root", "/home", "/var", "/work", "/sys/kernel"] {
            lab.refused(&format!("os.listdir('{path}')"), &ABSENT);
        }
    }
}

#[test]
fn root_holds_what_the_sandbox_made_and_no_more() {
    for lab in namespaced_tiers() {
        let said = lab.must("import os; print(sorted(set(os.listdir('/')) - {'bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32', 'usr', 'light'}))");
        assert_eq!(said, "['dev', 'etc', 'proc', 'tmp']", "{:?}", lab.tier);
        let said = lab.must("import os; print(sorted(os.listdir('/dev')))");
        assert_eq!(said, "['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero']");
    }
}

#[test]
fn another_dataset_is_out_of_reach() {
    for lab in all_tiers() {
        let (given, other) = (lab.file("given", "mine"), lab.file("other", "theirs"));
        let mut spec = lab.spec("");
        spec.mounts.push(owner_mount(&given, "/data/given"));
        let inside = if lab.tier.maps_paths() { Path::new("/data/given") } else { given.as_path() };
        spec.argv[4] = format!(
            "print(open({inside:?}).read())\n\
             for path in ({other:?}, '/data/other', '/data/given/../other', {inside:?} + '/../other'):\n\
             \x20   try: print(open(path).read())\n\
             \x20   except OSError: pass"
        );
        assert_eq!(lab.run(spec).stdout.trim(), "mine", "{:?}", lab.tier);
    }
}

#[test]
fn code_and_data_cannot_be_changed() {
    for lab in all_tiers() {
        let code = lab.dir.path().join("code");
        fs::create_dir_all(&code).unwrap();
        fs::write(code.join("main.py"), "x = 1").unwrap();
        // Even what everybody may write on the host.
        fs::set_permissions(code.join("main.py"), fs::Permissions::from_mode(0o666)).unwrap();
        fs::set_permissions(&code, fs::Permissions::from_mode(0o777)).unwrap();
        let mut spec = lab.spec("");
        spec.mounts.push(owner_mount(&code, "/code"));
        let inside = if lab.tier.maps_paths() { Path::new("/code") } else { code.as_path() };
        spec.argv[4] = format!(
            "import os\n\
             d = {inside:?}; f = d + '/main.py'\n\
             for act in (lambda: open(f, 'a'), lambda: open(d + '/new', 'w'), lambda: os.unlink(f), lambda: os.rename(f, d + '/b'), lambda: os.mkdir(d + '/d'),\n\
             \x20           lambda: os.truncate(f, 0), lambda: os.symlink('/', d + '/l'), lambda: os.link(f, d + '/h')):\n\
             \x20   try: act(); print('changed')\n\
             \x20   except OSError: pass\n\
             print(open(f).read())"
        );
        let outcome = lab.run(spec);
        assert_eq!(outcome.stdout.trim(), "x = 1", "{:?}: {}", lab.tier, outcome.stderr);
        assert_eq!(fs::read_to_string(code.join("main.py")).unwrap(), "x = 1");
    }
}

#[test]
fn modes_of_mounted_files_cannot_be_changed() {
    for lab in namespaced_tiers() {
        let data = lab.file("data", "x");
        let mut spec = lab.spec("import os\ntry: os.chmod('/data/x', 0o777)\nexcept OSError as e: print(e.errno)");
        spec.mounts.push(owner_mount(&data, "/data/x"));
        assert_eq!(lab.run(spec).stdout.trim(), libc::EROFS.to_string(), "{:?}", lab.tier);
    }
}

#[test]
fn system_directories_cannot_be_written() {
    for lab in all_tiers() {
        for path in [
            "/x",
            "/usr/x",
            "/etc/x",
            "/dev/x",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/vm/overcommit_memory",
            "/proc/sysrq-trigger",
            "/proc/self/uid_map",
        ] {
            lab.refused(&format!("open('{path}', 'wb')"), &["EROFS", "EACCES", "ENOENT", "EPERM"]);
        }
    }
}

#[test]
fn kernel_secrets_in_proc_are_absent_or_empty() {
    for lab in namespaced_tiers() {
        for path in ["/proc/kcore", "/proc/kallsyms", "/proc/kmsg", "/proc/keys", "/proc/timer_list", "/proc/key-users"]
        {
            let said = lab.must(&format!("import os\ntry: print(os.path.exists('{path}') and open('{path}', 'rb').read(64))\nexcept OSError: print('refused')"));
            assert!(["False", "b''", "refused"].contains(&said.as_str()), "{:?} {path}: {said}", lab.tier);
        }
        assert_eq!(lab.must("import os; print(os.path.exists('/sys'))"), "False");
    }
}

#[test]
fn private_dataset_of_root_is_readable_and_not_writable() {
    let Some(lab) = full_tier() else { return };
    let dataset = lab.dir.path().join("private");
    fs::create_dir(&dataset).unwrap();
    fs::write(dataset.join("secret.csv"), "1,2").unwrap();
    fs::set_permissions(dataset.join("secret.csv"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(&dataset, fs::Permissions::from_mode(0o700)).unwrap();
    let single = lab.file("single.csv", "3,4");
    fs::set_permissions(&single, fs::Permissions::from_mode(0o600)).unwrap();
    let mut spec = lab.spec(
        "import os\n\
         print(open('/data/d/secret.csv').read(), open('/data/f').read(), os.stat('/data/f').st_uid)\n\
         for path in ('/data/d/secret.csv', '/data/f'):\n\
         \x20   try: open(path, 'a'); print('written')\n\
         \x20   except OSError as e: print(e.errno)",
    );
    spec.mounts.extend([owner_mount(&dataset, "/data/d"), owner_mount(&single, "/data/f")]);
    let outcome = lab.run(spec);
    let refused = libc::EROFS;
    assert_eq!(outcome.stdout.trim(), format!("1,2 3,4 1000\n{refused}\n{refused}"), "{}", outcome.stderr);
}

#[test]
fn private_files_of_system_mounts_stay_private() {
    let Some(lab) = full_tier() else { return };
    let secret = lab.file("secret", "x");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let mut spec = lab.spec("open('/opt/secret')");
    let mut mount = owner_mount(&secret, "/opt/secret");
    mount.access = MountAccess::Other;
    spec.mounts.push(mount);
    let outcome = lab.run(spec);
    assert_eq!(outcome.exit.how, ExitHow::Exited(1));
    assert!(outcome.stderr.contains("PermissionError"), "{}", outcome.stderr);
}

#[test]
fn dataset_that_no_task_could_read_is_refused_by_name() {
    for lab in all_tiers() {
        let locked = lab.file("locked", "x");
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o200)).unwrap();
        let said = lab.launcher.check_mount_blocking(&locked).map_err(|error| error.to_string());
        if lab.tier == manta_sandbox::Tier::Reduced && crate::support::is_root() {
            continue; // a launcher run by root judges as for the full tier
        }
        let said = said.unwrap_err();
        assert!(said.contains(locked.to_str().unwrap()) && said.contains("mode 0200"), "{:?}: {said}", lab.tier);
        let readable = lab.file("readable", "x");
        lab.launcher.check_mount_blocking(&readable).unwrap();
    }
}

#[test]
fn links_devices_and_missing_paths_are_no_mounts() {
    for lab in all_tiers() {
        let link = lab.dir.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        for source in [link.as_path(), Path::new("/dev/zero"), Path::new("/nonexistent")] {
            assert!(mount_is_refused(&lab, source), "{:?} {source:?}", lab.tier);
        }
    }
}

fn mount_is_refused(lab: &Lab, source: &Path) -> bool {
    let mut spec = lab.spec("");
    spec.mounts.push(owner_mount(source, "/data/x"));
    let null = || std::fs::File::open("/dev/null").unwrap().into();
    let result = lab.launcher.start_blocking(spec, null(), null(), null());
    matches!(result, Err(SandboxError::Start(StartError::Mount { path, .. })) if path == source)
}
