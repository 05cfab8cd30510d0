//! The program that an image names to be run, and where it is among the image's files.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::oci::{Configuration, Execution};
use crate::python::{open_inside, resolve};

/// Arguments of a program, and their bytes together.
const ARGUMENTS_MAX: usize = 256;
const ARGUMENTS_BYTES_MAX: usize = 16 << 10;

/// What an image runs when nobody says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The absolute path of the program inside, then its arguments.
    pub argv: Vec<String>,
    /// The absolute path of the directory inside that it is run in, where the image names one.
    pub directory: Option<String>,
}

/// Finds the program of an image by its configuration, in its root directory; `path` is the image's own `PATH`.
pub(crate) fn find(root: &OwnedFd, json: &[u8], path: &str) -> Result<Program, String> {
    let config: Configuration =
        serde_json::from_slice(json).map_err(|error| format!("its configuration is not one: {error}"))?;
    let Execution { entrypoint, cmd, working_dir, .. } = config.config.unwrap_or_default();
    let mut argv: Vec<String> = entrypoint.into_iter().chain(cmd).flatten().collect();
    let Some(program) = argv.first().filter(|program| !program.is_empty()) else {
        return Err("it names no program: its configuration has neither `Entrypoint` nor `Cmd`".to_owned());
    };
    if argv.len() > ARGUMENTS_MAX || argv.iter().map(String::len).sum::<usize>() > ARGUMENTS_BYTES_MAX {
        return Err(format!(
            "its program has more than {ARGUMENTS_MAX} arguments or {ARGUMENTS_BYTES_MAX} bytes of them"
        ));
    }
    let directory = working_dir.filter(|directory| !directory.is_empty());
    if argv.iter().chain(&directory).any(|text| text.contains('\0')) {
        return Err("its program or working directory holds a NUL".to_owned());
    }
    if let Some(directory) = directory.as_deref().filter(|directory| !is_directory(root, directory)) {
        return Err(format!("its working directory {directory:?} is not among its files"));
    }
    let places: Vec<PathBuf> = if program.contains('/') {
        vec![Path::new(directory.as_deref().unwrap_or("/")).join(program)]
    } else {
        let directories = path.split(':').filter(|directory| directory.starts_with('/'));
        directories.map(|directory| Path::new(directory).join(program)).collect()
    };
    let found = places.into_iter().find(|place| resolve(root, place).is_some());
    let found = found.and_then(|place| place.into_os_string().into_string().ok());
    argv[0] = found.ok_or_else(|| format!("its program {program:?} is not among its files, or cannot be run"))?;
    Ok(Program { argv, directory })
}

/// Whether an absolute path leads to a directory; `/tmp` is there for every task.
fn is_directory(root: &OwnedFd, path: &str) -> bool {
    let inside = || open_inside(root, Path::new(path), OFlags::PATH | OFlags::DIRECTORY).is_some();
    path.starts_with('/') && (Path::new(path) == Path::new("/tmp") || inside())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::fs::Mode;

    use super::*;

    /// What is found of a configuration in an image with `/app/run` and `/usr/bin/tool`, both programs.
    fn found(config: &str) -> Result<Program, String> {
        let dir = tempfile::tempdir().unwrap();
        for path in ["app/run", "usr/bin/tool"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(dir.path().join("app/data"), "").unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let json = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":CONFIG}"#;
        find(&root, json.replace("CONFIG", config).as_bytes(), "/usr/local/bin:/usr/bin")
    }

    fn check(config: &str, argv: &[&str], directory: Option<&str>) {
        let program = found(config).unwrap();
        assert_eq!(
            (program.argv, program.directory.as_deref()),
            (argv.iter().map(|&a| a.to_owned()).collect(), directory)
        );
    }

    #[test]
    fn entry_point_and_arguments_make_one_program_found_as_the_image_would() {
        check(r#"{"Cmd":["tool","x"]}"#, &["/usr/bin/tool", "x"], None);
        check(r#"{"Entrypoint":["tool"],"Cmd":["a b"]}"#, &["/usr/bin/tool", "a b"], None);
        check(r#"{"Entrypoint":["/app/run"],"Cmd":null,"WorkingDir":""}"#, &["/app/run"], None);
        check(r#"{"Entrypoint":["./run"],"WorkingDir":"/app"}"#, &["/app/./run"], Some("/app"));
        check(r#"{"Entrypoint":["tool"],"WorkingDir":"/tmp"}"#, &["/usr/bin/tool"], Some("/tmp"));
    }

    #[test]
    fn an_image_whose_program_cannot_be_run_says_why() {
        for (config, words) in [
            ("{}", "names no program"),
            (r#"{"Entrypoint":[],"Cmd":[]}"#, "names no program"),
            (r#"{"Entrypoint":[""]}"#, "names no program"),
            (r#"{"Cmd":["nothing"]}"#, r#"its program "nothing" is not among its files"#),
            (r#"{"Cmd":["/app/data"]}"#, "cannot be run"),
            (r#"{"Cmd":["../../../bin/sh"]}"#, "is not among its files"),
            (r#"{"Cmd":["tool","\u0000"]}"#, "holds a NUL"),
            (r#"{"Cmd":["tool"],"WorkingDir":"/none"}"#, r#"working directory "/none""#),
            (r#"{"Cmd":["tool"],"WorkingDir":"app"}"#, r#"working directory "app""#),
        ] {
            let problem = found(config).unwrap_err();
            assert!(problem.contains(words), "{config}: {problem}");
        }
        let many = format!(r#"{{"Cmd":["tool"{}]}}"#, r#","x""#.repeat(ARGUMENTS_MAX));
        assert!(found(&many).unwrap_err().contains("more than 256 arguments"));
    }
}
