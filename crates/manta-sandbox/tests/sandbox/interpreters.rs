//! Interpreters wherever they lie: the system's, a version manager's below a closed home, and environments under a strict umask.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use manta_sandbox::{ExitHow, HostImage, StartWay};

use crate::support::{Lab, full_tier, namespaced_tiers};

fn version_in(lab: &Lab, image: &HostImage) -> String {
    let mut spec = lab.spec("import sys, json, ssl, ctypes; print(sys.version_info[:3], sys.prefix)");
    spec.argv[0] = image.python().to_str().unwrap().to_owned();
    spec.mounts = image.mounts().to_vec();
    spec.links = image.links().to_vec();
    let outcome = lab.run(spec);
    assert_eq!(outcome.exit.how, ExitHow::Exited(0), "{image:#?}: {}", outcome.stderr);
    outcome.stdout.trim().to_owned()
}

#[test]
fn system_interpreter_is_an_image() {
    for lab in namespaced_tiers().into_iter().filter(|lab| lab.way == StartWay::Cold) {
        let said = version_in(&lab, &lab.image);
        assert!(said.starts_with(&format!("{:?}", lab.image.version())), "{said}");
        let outside: Vec<_> = lab
            .image
            .mounts()
            .iter()
            .filter(|mount| !mount.target.starts_with("/usr") && !mount.target.starts_with("/etc"))
            .collect();
        assert!(
            outside.iter().all(|mount| mount.target.starts_with("/lib") || mount.target.starts_with("/nix")),
            "{outside:?}"
        );
    }
}

#[test]
fn interpreter_below_a_closed_home_works_for_root() {
    let Some(lab) = full_tier() else { return };
    let Some(python) = fs::read_dir(pyenv().join("versions")).ok().and_then(|versions| {
        versions
            .flatten()
            .map(|entry| entry.path().join("bin/python3"))
            .find(|path| path.exists() && path.to_string_lossy().contains("/3.1"))
    }) else {
        eprintln!("skipped: needs an interpreter of pyenv in root's home");
        return;
    };
    let image = HostImage::probe(&python).unwrap();
    version_in(&lab, &image);
    let in_home: Vec<_> = image.mounts().iter().filter(|mount| mount.target.starts_with(pyenv())).collect();
    assert_eq!(in_home.len(), 1, "{in_home:?}");
    assert!(in_home[0].target.starts_with(pyenv().join("versions")), "{in_home:?}");
}

#[test]
fn environment_made_under_a_strict_umask_works_for_root() {
    let Some(lab) = full_tier() else { return };
    let venv = lab.dir.path().join("venv");
    let made = Command::new("/bin/sh")
        .args(["-c", "umask 077; exec \"$0\" -m venv --without-pip \"$1\""])
        .arg(newest_python())
        .arg(&venv)
        .status()
        .unwrap();
    assert!(made.success());
    fs::set_permissions(&venv, fs::Permissions::from_mode(0o700)).unwrap();
    let package =
        fs::read_dir(venv.join("lib")).unwrap().next().unwrap().unwrap().path().join("site-packages/own_package");
    fs::create_dir(&package).unwrap();
    fs::set_permissions(&package, fs::Permissions::from_mode(0o700)).unwrap();
    let image = HostImage::probe(&venv.join("bin/python")).unwrap();
    assert!(image.has("own-package") && !image.has("torch-nonexistent"));
    assert!(version_in(&lab, &image).contains(venv.to_str().unwrap()));
}

/// An interpreter that can make environments.
fn newest_python() -> PathBuf {
    let found = [pyenv().join("shims/python3"), PathBuf::from("/usr/bin/python3")];
    let makes =
        |path: &PathBuf| Command::new(path).args(["-c", "import venv"]).status().is_ok_and(|status| status.success());
    found.into_iter().filter(|path| path.exists()).find(makes).unwrap()
}

/// Where pyenv keeps this user's interpreters.
fn pyenv() -> PathBuf {
    std::env::home_dir().unwrap_or_default().join(".pyenv")
}
