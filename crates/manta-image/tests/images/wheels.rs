//! Wheels are installed as their format says, and hostile ones refused by name, with nothing outside their directory touched.

use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use manta_image::{Installed, Installer, Sha256, WheelFile};
use zip::write::{SimpleFileOptions, ZipWriter};

const NAME: &str = "tiny-1.0-py3-none-any.whl";
const WHEEL: &str = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n";

/// Wheels and a directory to install them into.
struct Bench {
    dir: tempfile::TempDir,
    wheels: Vec<WheelFile>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory is made");
        fs::create_dir(dir.path().join("packages")).expect("a directory is made");
        Self { dir, wheels: Vec::new() }
    }

    fn packages(&self) -> PathBuf {
        self.dir.path().join("packages")
    }

    /// A wheel of these entries beside its metadata.
    fn wheel(self, name: &str, entries: &[(&str, &[u8])]) -> Self {
        let mut parts = name.split('-');
        let info = format!("{}-{}.dist-info", parts.next().expect("a name"), parts.next().expect("a version"));
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, content) in entries {
            archive.start_file(*path, SimpleFileOptions::default()).expect("an entry begins");
            archive.write_all(content).expect("an entry is written");
        }
        for (file, content) in [("METADATA", "Name: tiny\n"), ("WHEEL", WHEEL)] {
            archive.start_file(format!("{info}/{file}"), SimpleFileOptions::default()).expect("an entry begins");
            archive.write_all(content.as_bytes()).expect("an entry is written");
        }
        self.file(name, &archive.finish().expect("the archive ends").into_inner())
    }

    fn file(mut self, name: &str, content: &[u8]) -> Self {
        let path = self.dir.path().join(name);
        fs::write(&path, content).expect("the file is written");
        self.wheels.push(WheelFile { name: name.to_owned(), path, sha256: Sha256::of(content).hex() });
        self
    }

    fn install(&self) -> Result<Installed, String> {
        let installer = Installer::new(PathBuf::from(env!("CARGO_BIN_EXE_wheel-installer")), Vec::new());
        installer.install(&self.wheels, &self.packages()).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(&self, words: &str) {
        let problem = self.install().expect_err("a hostile wheel is refused");
        assert!(problem.contains(words), "{problem}");
        assert!(problem.contains(&self.wheels[0].name), "the wheel is named: {problem}");
        let beside = fs::read_dir(self.dir.path()).expect("the directory is read").count();
        assert_eq!(beside, 1 + self.wheels.len(), "nothing was made beside");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("the file is read")
}

#[test]
fn files_go_where_the_format_says() {
    let bench = Bench::new().wheel(
        NAME,
        &[
            ("tiny/__init__.py", b"x = 1\n"),
            ("tiny-1.0.data/purelib/other.py", b"y = 2\n"),
            ("tiny-1.0.data/data/share/tiny.txt", b"shared\n"),
            ("tiny-1.0.data/scripts/tiny", b"#!python\n"),
            ("tiny-1.0.data/headers/tiny.h", b""),
        ],
    );
    let installed = bench.install().unwrap();
    let packages = bench.packages();
    assert_eq!(read(&packages.join("tiny/__init__.py")), "x = 1\n");
    assert_eq!(read(&packages.join("other.py")), "y = 2\n");
    assert_eq!(read(&packages.join("share/tiny.txt")), "shared\n");
    assert!(packages.join("tiny-1.0.dist-info/METADATA").is_file());
    assert!(!packages.join("tiny.h").exists() && !packages.join("headers").exists());
    let mode = |path: &str| fs::metadata(packages.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("bin/tiny"), mode("other.py")), (0o555, 0o444));
    assert_eq!(installed.modules, ["other", "share", "tiny"]);
    assert_eq!(
        (installed.distributions[0].name.as_str(), installed.distributions[0].version.as_str()),
        ("tiny", "1.0")
    );
    assert_eq!(installed.files, 6);
}

#[test]
fn of_two_wheels_with_one_path_the_first_by_name_has_it() {
    let bench = Bench::new()
        .wheel("b-1.0-py3-none-any.whl", &[("tests/__init__.py", b"b"), ("b.py", b"")])
        .wheel("a-1.0-py3-none-any.whl", &[("tests/__init__.py", b"a"), ("a.py", b"")]);
    bench.install().unwrap();
    assert_eq!(read(&bench.packages().join("tests/__init__.py")), "a");
}

#[test]
fn a_wheel_that_is_not_what_its_lock_says_is_refused_and_named() {
    let mut bench = Bench::new().wheel(NAME, &[("tiny.py", b"")]);
    let mut bytes = fs::read(&bench.wheels[0].path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&bench.wheels[0].path, bytes).unwrap();
    bench.refused("and its lock says");
    bench.wheels[0].sha256 = "0".repeat(64);
    bench.refused("and its lock says");
}

#[test]
fn paths_that_lead_out_are_refused() {
    for path in [
        "../planted",
        "tiny/../../planted",
        "/planted",
        "tiny//x",
        "./tiny.py",
        "..\\planted",
        "tiny-1.0.data/purelib/../../planted",
        "tiny-1.0.data/scripts/../../planted",
        "tiny-1.0.data/elsewhere/x",
        "a\nb",
    ] {
        Bench::new().wheel(NAME, &[(path, b"x")]).refused("the path");
    }
}

#[test]
fn a_file_that_is_also_a_directory_is_refused() {
    Bench::new().wheel(NAME, &[("tiny", b"x"), ("tiny/__init__.py", b"x")]).refused("is a file, and a directory");
}

#[test]
fn links_and_devices_are_refused() {
    for mode in [0o120_777_u32, 0o020_666, 0o010_644] {
        let bench = Bench::new().wheel(NAME, &[("tiny.py", b"x"), ("odd", b"../../target")]);
        let path = &bench.wheels[0].path;
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"PK\x01\x02").map(|(at, _)| at);
        let at = at.into_iter().find(|at| bytes[at + 46..].starts_with(b"odd")).unwrap();
        bytes[at + 5] = 3;
        bytes[at + 38..at + 42].copy_from_slice(&(mode << 16).to_le_bytes());
        let name = bench.wheels[0].name.clone();
        Bench::new().file(&name, &bytes).refused("`odd` is a link or a device");
    }
}

#[test]
fn bombs_are_refused_before_anything_is_made() {
    let zeros = vec![0; 96 << 20];
    let bench = Bench::new().wheel(NAME, &[("tiny.bin", &zeros)]);
    bench.refused("as only bombs do");
    assert_eq!(fs::read_dir(bench.packages()).unwrap().count(), 0);
}

#[test]
fn a_size_that_is_a_lie_is_refused() {
    let bench = Bench::new().wheel(NAME, &[("tiny.py", &[7; 5000])]);
    let mut bytes = fs::read(&bench.wheels[0].path).unwrap();
    for at in 0..bytes.len() - 4 {
        if bytes[at..at + 4] == 5000u32.to_le_bytes() {
            bytes[at..at + 4].copy_from_slice(&10u32.to_le_bytes());
        }
    }
    Bench::new().file(NAME, &bytes).refused("tiny.py");
}

#[test]
fn what_is_no_wheel_is_refused() {
    Bench::new().file(NAME, b"no archive").refused("cannot be read");
    Bench::new().wheel("other-1.0-py3-none-any.whl", &[("x.py", b"")]).install().unwrap();
    let bench = Bench::new().wheel("other-1.0-py3-none-any.whl", &[("x.py", b"")]);
    let bytes = fs::read(&bench.wheels[0].path).unwrap();
    Bench::new().file(NAME, &bytes).refused("that of another package");
    Bench::new().wheel(NAME, &[("two-1.0.dist-info/WHEEL", WHEEL.as_bytes())]).refused("not one directory");
}
