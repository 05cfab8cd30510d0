//! Brings globals and results here as files of other programs: all of them, or none.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use manta_api::ErrorCode;
use manta_api::version::SCHEMA_VERSION;
use manta_client::Client;
use manta_types::{Blob, SwarmId};
use serde::Serialize;
use serde_json::json;

use crate::outputs::{Which, save_value};
use crate::python;
use crate::report::{ErrorObject, Failure};
use crate::text::one_line;

/// The file that lists all others.
const INDEX: &str = "index.json";
/// Bytes of a name in a path; with an extension they stay below what file systems take.
const PART_BYTES_MAX: usize = 200;
/// Hexadecimal digits that tell names apart of which the path holds only the beginning.
const PART_DIGITS: usize = 32;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Every array under its path, for `numpy.load`.
    Npz,
    /// The same in the safetensors format.
    Safetensors,
    /// A table.
    Csv,
    /// JSON; arrays as lists.
    Json,
    /// The encoded value, as it is stored.
    Value,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Npz => "npz",
            Self::Safetensors => "safetensors",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Value => "value",
        }
    }
}

/// Which values are wanted.
pub(crate) struct Wanted<'a> {
    /// Results of which iterations.
    pub(crate) which: Which,
    /// Only values of this name.
    pub(crate) name: Option<&'a str>,
    /// Only results of this task.
    pub(crate) task: Option<&'a str>,
    /// Only results of this node.
    pub(crate) node: Option<&'a str>,
}

/// What was brought.
#[derive(Debug, Serialize)]
pub(crate) struct Index {
    schema_version: u32,
    swarm: SwarmId,
    format: &'static str,
    /// Globals, by name.
    pub(crate) globals: Vec<PulledGlobal>,
    /// Results that count.
    pub(crate) results: Vec<PulledResult>,
}

/// A global that was brought.
#[derive(Debug, Serialize)]
pub(crate) struct PulledGlobal {
    name: String,
    revision: u64,
    #[serde(flatten)]
    file: Pulled,
}

/// A result that was brought.
#[derive(Debug, Serialize)]
pub(crate) struct PulledResult {
    iteration: u32,
    task: String,
    node: String,
    name: String,
    version: String,
    #[serde(flatten)]
    file: Pulled,
}

/// A value's file.
#[derive(Debug, Clone, Serialize)]
struct Pulled {
    /// Digest and size of the encoded value.
    #[serde(flatten)]
    blob: Blob,
    /// The file, below the folder.
    file: PathBuf,
}

/// Brings what is wanted into a folder.
///
/// # Errors
/// Where nothing is wanted that is there, a value has no form in the format, or a file cannot be written; then the folder
/// is as it was.
pub(crate) async fn pull(
    client: &Client,
    id: SwarmId,
    wanted: &Wanted<'_>,
    format: Format,
    interpreter: Option<&Path>,
    out: &Path,
) -> Result<Index, Failure> {
    let index = select(client, id, wanted, format).await?;
    let failed = |error: std::io::Error| Failure::file("the folder cannot be written:", out, &error);
    fs::create_dir_all(out).map_err(failed)?;
    let temporary = tempfile::Builder::new().prefix(".manta-").tempdir_in(out).map_err(failed)?;
    let (values, made) = (temporary.path().join("values"), temporary.path().join("made"));
    fs::create_dir(&values).and_then(|()| fs::create_dir(&made)).map_err(failed)?;
    let files: Vec<(&str, &Pulled)> = index.files().collect();
    let blobs: BTreeSet<Blob> = files.iter().map(|(_, pulled)| pulled.blob).collect();
    for blob in blobs {
        save_value(client, blob, &encoded(&values, blob)).await?;
    }
    for (_, pulled) in &files {
        let folder = made.join(&pulled.file);
        fs::create_dir_all(folder.parent().unwrap_or(&made)).map_err(failed)?;
    }
    if format == Format::Value {
        for (_, pulled) in &files {
            fs::copy(encoded(&values, pulled.blob), made.join(&pulled.file)).map_err(failed)?;
        }
    } else {
        let job = json!({
            "format": format.name(),
            "files": files.iter().map(|(name, pulled)| json!({
                "name": name, "value": encoded(&values, pulled.blob), "to": made.join(&pulled.file),
            })).collect::<Vec<_>>(),
        });
        let path = temporary.path().join("job.json");
        fs::write(&path, job.to_string()).map_err(failed)?;
        convert(&python::find(interpreter)?, &path).await?;
    }
    let text = serde_json::to_string_pretty(&index).map_err(|error| Failure::internal(error.to_string()))?;
    fs::write(made.join(INDEX), text).map_err(failed)?;
    for file in files.iter().map(|(_, pulled)| pulled.file.as_path()).chain([Path::new(INDEX)]) {
        let to = out.join(file);
        fs::create_dir_all(to.parent().unwrap_or(out))
            .and_then(|()| fs::rename(made.join(file), &to))
            .map_err(failed)?;
    }
    Ok(index)
}

impl Index {
    fn files(&self) -> impl Iterator<Item = (&str, &Pulled)> {
        let globals = self.globals.iter().map(|global| (global.name.as_str(), &global.file));
        globals.chain(self.results.iter().map(|result| (result.name.as_str(), &result.file)))
    }
}

fn encoded(folder: &Path, blob: Blob) -> PathBuf {
    folder.join(format!("{}.value", blob.digest))
}

async fn select(client: &Client, id: SwarmId, wanted: &Wanted<'_>, format: Format) -> Result<Index, Failure> {
    let fits = |wanted: Option<&str>, is: &str| wanted.is_none_or(|wanted| wanted == is);
    let extension = format.name();
    let all = client.results(id).await?;
    let last = all.iter().filter(|result| result.accepted).map(|result| result.iteration).max();
    let is_wanted = |iteration: u32| match wanted.which {
        Which::All => true,
        Which::Last => Some(iteration) == last,
        Which::Of(only) => only == iteration,
    };
    let results = all.into_iter().filter(|result| {
        let of_whom = fits(wanted.task, &result.task) && fits(wanted.node, &result.node);
        result.accepted && is_wanted(result.iteration) && of_whom && fits(wanted.name, &result.name)
    });
    let results: Vec<PulledResult> = results
        .map(|result| {
            let file = PathBuf::from("results")
                .join(result.iteration.to_string())
                .join(safe(&result.task))
                .join(safe(&result.node))
                .join(format!("{}.{extension}", safe(&result.name)));
            let file = Pulled { blob: result.blob, file };
            let (iteration, version) = (result.iteration, result.version);
            PulledResult { iteration, task: result.task, node: result.node, name: result.name, version, file }
        })
        .collect();
    // Globals are nobody's, so that who asks for a task or a node means none of them.
    let with_globals = wanted.task.is_none() && wanted.node.is_none();
    let globals = if with_globals { client.globals(id).await? } else { Vec::new() };
    let globals: Vec<PulledGlobal> = globals
        .into_iter()
        .filter(|global| fits(wanted.name, &global.name))
        .map(|global| {
            let file = PathBuf::from("globals").join(format!("{}.{extension}", safe(&global.name)));
            let file = Pulled { blob: global.blob, file };
            PulledGlobal { name: global.name, revision: global.revision, file }
        })
        .collect();
    if globals.is_empty() && results.is_empty() {
        let failure = Failure::new(ErrorCode::NotFound, "the swarm published nothing that is meant");
        return Err(failure.hint(format!("`manta results ls {id} --all` lists all that it published")));
    }
    Ok(Index { schema_version: SCHEMA_VERSION, swarm: id, format: extension, globals, results })
}

async fn convert(interpreter: &Path, job: &Path) -> Result<(), Failure> {
    let mut command = python::command(interpreter)?;
    let child = command.args(["-B", "-m", "manta._pull"]).arg(job).output().await;
    let output = child.map_err(|error| {
        Failure::new(ErrorCode::NoContainment, format!("`{}` cannot be started: {error}", interpreter.display()))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(serde_json::from_str::<ErrorObject>(last).map_or_else(
        |_| {
            let message = format!("the values cannot be written: {}", one_line(last, 400));
            Failure::new(ErrorCode::ValueNotCarried, message)
                .hint("name an interpreter that has numpy with --python, or take `--format value`")
        },
        Failure::from,
    ))
}

/// A name as a part of a path: others chose it, so all but plain characters are written as `%2F` is, one that is too long for
/// a file ends with `~` and a digest of it, and two names never give the same file.
fn safe(name: &str) -> String {
    let plain = |at: usize, byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && at > 0);
    let part = |(at, byte): (usize, u8)| {
        if plain(at, byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    let whole: String = name.bytes().enumerate().map(part).collect();
    if whole.len() <= PART_BYTES_MAX {
        return whole;
    }
    let digest = blake3::hash(name.as_bytes()).to_hex();
    format!("{}~{}", &whole[..PART_BYTES_MAX - PART_DIGITS - 1], &digest[..PART_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_stay_in_the_folder() {
        assert_eq!(safe("weights.v2"), "weights.v2");
        assert_eq!(safe("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd");
        assert_eq!([safe(".."), safe("a%2F"), safe("é")], ["%2E.", "a%252F", "%C3%A9"]);
    }

    #[test]
    fn names_that_no_file_can_have_are_cut_and_told_apart() {
        assert_eq!(safe(&"x".repeat(PART_BYTES_MAX)), "x".repeat(PART_BYTES_MAX));
        let long = ["x".repeat(255), format!("{}y", "x".repeat(254)), "é".repeat(127)];
        let parts = long.each_ref().map(|name| safe(name));
        assert!(parts.iter().all(|part| part.len() == PART_BYTES_MAX && part.contains('~')), "{parts:?}");
        assert_ne!(parts[0], parts[1]);
    }
}
