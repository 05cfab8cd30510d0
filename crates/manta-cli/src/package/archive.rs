//! Opens a package's archive: a confined process reads it and unpacks it under numbers of its own, so that no path of the
//! archive ever is a path here; its parent believes nothing unseen.
use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use manta_api::ErrorCode;
use manta_module::BundleManifest;
use manta_module::zip::{ARCHIVE_BYTES_MAX, Archive, MANIFEST_FILE, PACKAGES_FOLDER, SIGNATURES_FOLDER};
use manta_types::Blob;
use manta_types::limits::{SIGNATURE_BYTES_MAX, SIGNATURES_PER_VERSION_MAX};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use super::{Package, bundle, temporary};
use crate::bundle::{PackedModule, name_file};
use crate::report::Failure;

/// The hidden verb that makes this program the confined process which reads an archive.
pub(crate) const UNZIPPER: &str = "__unzip";
/// Bytes of an answer: the paths of as many entries as there may be.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What the confined process says: the paths, in the order of their numbers, or why there are none.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Unpacked(Vec<String>),
    Refused(String),
}

/// Reads the archive at standard input, and unpacks its files into the working directory as `0`, `1`, ….
pub(crate) fn unzipper_main() -> ExitCode {
    let answer = match start().and_then(|()| unpack()) {
        Ok(paths) => Answer::Unpacked(paths),
        Err(problem) => Answer::Refused(problem),
    };
    let told = serde_json::to_vec(&answer).map_err(io::Error::other).and_then(|json| io::stdout().write_all(&json));
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start() -> Result<(), String> {
    let confine = || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        manta_image::confine(&rustix::fs::openat(CWD, ".", flags, Mode::empty())?)
    };
    confine().map_err(|error: io::Error| format!("cannot be read: its reader cannot be confined: {error}"))
}

fn unpack() -> Result<Vec<String>, String> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(ARCHIVE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    let archive = Archive::read(&bytes).map_err(|error| refusal(&error))?;
    for (number, file) in archive.files().iter().enumerate() {
        let mut out =
            std::fs::File::create_new(number.to_string()).map_err(|error| format!("cannot be unpacked: {error}"))?;
        archive.unpack(file, |piece| out.write_all(piece)).map_err(|error| refusal(&error))?;
    }
    Ok(archive.files().iter().map(|file| file.path.clone()).collect())
}

/// The reader's words, as they go on after the archive's name.
fn refusal(error: &manta_module::zip::ArchiveError) -> String {
    let text = error.to_string();
    match text.strip_prefix("the archive's ").map(|rest| format!("is refused: its {rest}")) {
        Some(text) => text,
        None => text.strip_prefix("the archive ").map_or_else(|| format!("is refused: {text}"), str::to_owned),
    }
}

/// Opens an archive: its manifest is first, and its files are what the manifest says, no more and no less.
pub(super) async fn open(path: &Path) -> Result<Package, Failure> {
    let folder = temporary()?;
    let refuse = |problem: String| {
        let problem = manta_types::name::printable(&problem, 400);
        Failure::new(ErrorCode::InvalidSwarm, format!("the archive `{}` {problem}", path.display()))
    };
    let paths = match run(path, folder.path()).await? {
        Answer::Unpacked(paths) => paths,
        Answer::Refused(problem) => return Err(refuse(problem)),
    };
    let mut unpacked: BTreeMap<String, _> =
        paths.into_iter().enumerate().map(|(number, path)| (path, folder.path().join(number.to_string()))).collect();
    let Some(manifest) = unpacked.remove(MANIFEST_FILE) else {
        let failure = refuse(format!("is no package: it holds no `{MANIFEST_FILE}`"));
        return Err(failure.hint("make one of the module's folder with `manta module package`"));
    };
    let bytes = std::fs::read(&manifest).map_err(|error| Failure::file("a file cannot be read:", &manifest, &error))?;
    let bundle = bundle(bytes, &format!("the archive `{}`", path.display()))?;
    let signatures = signatures(&mut unpacked).map_err(refuse)?;
    let wanted = entries(&bundle.manifest);
    if let Some(path) = unpacked.keys().find(|path| !wanted.contains_key(*path)) {
        return Err(refuse(format!("holds `{path}`, which its manifest does not name")));
    }
    let mut sources = BTreeMap::new();
    for (entry, (name, blob)) in wanted {
        let Some(file) = unpacked.get(&entry) else {
            return Err(refuse(format!("lacks `{name}`, which its manifest names")));
        };
        if name_file(file)? != blob {
            let problem = format!("was tampered with: `{name}` is not what its manifest says");
            return Err(Failure { code: Some(ErrorCode::DigestMismatch.code().to_owned()), ..refuse(problem) });
        }
        sources.insert(blob.digest, file.clone());
    }
    Ok(Package::new(PackedModule { bundle, sources }, signatures, Some(folder)))
}

/// The entries of a bundle's archive beside manifest and signatures: what each is called, and its blob.
fn entries(manifest: &BundleManifest) -> BTreeMap<String, (&str, Blob)> {
    let packages = manifest.dependency_blobs();
    let packages = packages.map(|(name, blob)| (format!("{PACKAGES_FOLDER}/{}", blob.digest), (name, blob)));
    let files = manifest.files.iter().map(|(path, blob)| (path.clone(), (path.as_str(), *blob)));
    packages.chain(files).collect()
}

/// Takes the signatures out of what was unpacked, as text; what is wrong with them is for whoever verifies them.
fn signatures(unpacked: &mut BTreeMap<String, PathBuf>) -> Result<Vec<String>, String> {
    let folder = format!("{SIGNATURES_FOLDER}/");
    let names: Vec<String> = unpacked.keys().filter(|name| name.starts_with(&folder)).cloned().collect();
    if names.len() > SIGNATURES_PER_VERSION_MAX {
        return Err(format!("holds {} signatures; {SIGNATURES_PER_VERSION_MAX} are the limit", names.len()));
    }
    let mut signatures = Vec::new();
    for name in names {
        let Some(file) = unpacked.remove(&name) else { continue };
        let unreadable = |error: io::Error| format!("holds the signature `{name}`, which cannot be read: {error}");
        let mut text = String::new();
        let file = std::fs::File::open(file).map_err(unreadable)?;
        file.take(SIGNATURE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
        signatures.push(text);
    }
    Ok(signatures)
}

/// Lets a confined process unpack an archive into an empty folder.
async fn run(path: &Path, folder: &Path) -> Result<Answer, Failure> {
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::new(ErrorCode::NotFound, format!("there is no archive `{}`", path.display()))
        }
        _ => Failure::file("the archive cannot be read:", path, &error),
    })?;
    let failed = |problem: String| Failure::internal(format!("the process that reads archives failed: {problem}"));
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut command = tokio::process::Command::new(program);
    command.arg(UNZIPPER).env_clear().current_dir(folder).kill_on_drop(true);
    command.stdin(file).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().map_err(|error| failed(error.to_string()))?;
    let mut said = Vec::new();
    let stdout = process.stdout.take().expect("piped above");
    stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut said).await.map_err(|error| failed(error.to_string()))?;
    let status = process.wait().await.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(format!("it ended early ({status})")));
    }
    serde_json::from_slice(&said).map_err(|error| failed(error.to_string()))
}
