//! Starts an unpacking process, feeds it a layer, and hears what it made.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::answer::{Answer, Unpacked};
use crate::ImageError;

/// Bytes of an answer: what the limits on removed paths leave room for.
const ANSWER_BYTES_MAX: u64 = 512 << 20;

/// A program that calls [`crate::unpacker_main`].
#[derive(Debug, Clone)]
pub struct Unpacker {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Unpacker {
    /// A program, and what is to be said to it so that it becomes the unpacker.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { program, arguments }
    }

    /// Unpacks `length` bytes of `layer`, from where it stands, into an empty directory. `number` counts layers from 1.
    pub(crate) fn run(&self, number: usize, layer: File, length: u64, into: &Path) -> Result<Unpacked, ImageError> {
        let failed = |problem: String| ImageError::Unpacker(problem);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(length.to_string()).env_clear().current_dir(into);
        command.stdin(layer).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process =
            command.spawn().map_err(|error| failed(format!("`{}` does not start: {error}", self.program.display())))?;
        drop(command);
        let mut said = Vec::new();
        let heard = process.stdout.take().expect("piped above").take(ANSWER_BYTES_MAX).read_to_end(&mut said);
        let status = process.wait().map_err(|error| failed(error.to_string()))?;
        heard.map_err(|error| failed(error.to_string()))?;
        if !status.success() {
            return Err(failed(format!("it ended early at layer {number} ({status})")));
        }
        match serde_json::from_slice(&said).map_err(|error| failed(format!("it cannot be understood: {error}")))? {
            Answer::Done(unpacked) => Ok(unpacked),
            Answer::Refused(problem) => Err(ImageError::Layer { number, problem }),
        }
    }
}
