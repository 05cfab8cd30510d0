//! One run over a corpus that is kept in a folder.
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use manta_testkit::sim::Chance;
use serde::{Deserialize, Serialize};

/// Bytes of an input.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// Inputs that are kept.
const CORPUS_MAX: usize = 5_000;
/// How long an input may take.
const TAKES_MAX: Duration = Duration::from_secs(1);
/// Inputs between two looks at the clock.
const ROUND: u64 = 200;

/// What is fuzzed.
pub(crate) trait Target: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;
    /// Inputs to begin with.
    fn seeds(&self) -> Vec<Vec<u8>>;
    /// An input made of a known one, beside changes of plain bytes; nothing where the base does not lend itself to that.
    fn made(&self, chance: &mut Chance, base: &[u8]) -> Option<Vec<u8>>;
    /// In which way an input ends.
    ///
    /// # Errors
    /// Where it ends as none may: how.
    fn ending(&self, input: &[u8]) -> Result<String, String>;
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    inputs: u64,
    seconds: f64,
    ways: BTreeSet<String>,
}

/// What all runs over a corpus came to.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    seed: u64,
    inputs: u64,
    seconds: f64,
    ways: usize,
    corpus: usize,
    pub(crate) found: Vec<String>,
}

impl Told {
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, inputs, seconds, ways, corpus, found } = self;
        write!(f, "{inputs} inputs in {seconds:.0} s ended in {ways} ways; {corpus} are kept; seed {seed}")?;
        found.iter().try_for_each(|found| write!(f, "\nfound: {found}"))
    }
}

/// A target, and what is known of it.
pub(crate) struct Run<'a> {
    target: &'a dyn Target,
    folder: PathBuf,
    corpus: Vec<Vec<u8>>,
    state: State,
}

impl<'a> Run<'a> {
    /// Goes on in a folder, or begins there.
    pub(crate) fn open(target: &'a dyn Target, folder: &Path) -> io::Result<Self> {
        for part in ["corpus", "found"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let state = match fs::read(folder.join("state.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error),
        };
        let mut corpus = target.seeds();
        for path in files(&folder.join("corpus"))? {
            corpus.push(fs::read(path)?);
        }
        Ok(Self { target, folder: folder.to_owned(), corpus, state })
    }

    /// Tries inputs until the time is up, or so many were tried in all.
    pub(crate) fn work(&mut self, seed: u64, seconds: f64, inputs_max: u64) -> io::Result<()> {
        let mut chance = Chance::new(seed);
        let begun = Instant::now();
        if self.state.inputs == 0 {
            for seed in self.corpus.clone() {
                self.attempt(&seed)?;
            }
        }
        let before = self.state.seconds;
        while begun.elapsed().as_secs_f64() < seconds && self.state.inputs < inputs_max {
            for _ in 0..ROUND {
                let input = self.input(&mut chance);
                self.attempt(&input)?;
            }
            self.state.seconds = before + begun.elapsed().as_secs_f64();
        }
        let fresh = self.folder.join("state.new");
        fs::write(&fresh, serde_json::to_vec(&self.state)?)?;
        fs::rename(fresh, self.folder.join("state.json"))
    }

    /// What all runs came to.
    pub(crate) fn told(&self, seed: u64) -> io::Result<Told> {
        let State { inputs, seconds, ways } = &self.state;
        let mut found = Vec::new();
        for path in files(&self.folder.join("found"))?.iter().filter(|path| path.extension().is_some()) {
            found.push(format!("{}: {}", path.with_extension("").display(), fs::read_to_string(path)?));
        }
        Ok(Told { seed, inputs: *inputs, seconds: *seconds, ways: ways.len(), corpus: self.corpus.len(), found })
    }

    fn input(&self, chance: &mut Chance) -> Vec<u8> {
        let base = &self.corpus[chance.index(self.corpus.len())];
        let made = if chance.one_in(2) { self.target.made(chance, base) } else { None };
        let mut made = made.unwrap_or_else(|| {
            let other = &self.corpus[chance.index(self.corpus.len())];
            damaged(chance, base, other)
        });
        made.truncate(INPUT_BYTES_MAX);
        made
    }

    fn attempt(&mut self, input: &[u8]) -> io::Result<()> {
        let begun = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| self.target.ending(input)));
        self.state.inputs += 1;
        let ended = ended.unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            Err(format!("it panics: {}", words.unwrap_or_default()))
        });
        let ended = if begun.elapsed() > TAKES_MAX { Err(format!("it takes {:?}", begun.elapsed())) } else { ended };
        match ended {
            Err(why) => {
                let path = self.keep("found", input)?;
                fs::write(path.with_extension("txt"), why)
            }
            Ok(way) if self.corpus.len() < CORPUS_MAX && self.state.ways.insert(plain(&way)) => {
                if self.state.inputs > self.target.seeds().len() as u64 {
                    self.keep("corpus", input)?;
                    self.corpus.push(input.to_vec());
                }
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    fn keep(&self, part: &str, input: &[u8]) -> io::Result<PathBuf> {
        let path = self.folder.join(part).join(&manta_module::digest_of(input).to_string()[..24]);
        fs::write(&path, input)?;
        Ok(path)
    }
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A way without what is different in every input: what stands in backticks, and numbers.
fn plain(way: &str) -> String {
    let outside = way.split('`').step_by(2).collect::<Vec<_>>().join("`");
    outside.chars().filter(|letter| !letter.is_ascii_digit()).take(160).collect()
}

/// The base with some of its bytes changed, taken out, or put in, or with the end of another input.
fn damaged(chance: &mut Chance, base: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = base.to_vec();
    for _ in 0..chance.pick(&[1, 1, 2, 4, 16]) {
        let at = chance.index(bytes.len() + 1);
        let end = (at + chance.pick(&[1, 2, 8, 64])).min(bytes.len());
        match chance.between(0, 6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.between(0, 8),
            1 if at < bytes.len() => bytes[at] = chance.number().to_le_bytes()[0],
            2 => drop(bytes.drain(at..end)),
            3 => drop(bytes.splice(at..at, chance.number().to_le_bytes())),
            4 => {
                let value = chance.pick(&[0, 1, 0xffff, 0xffff_ffff, base.len() as u64]).to_le_bytes();
                let length = (end - at).min(8);
                bytes[at..at + length].copy_from_slice(&value[..length]);
            }
            _ => drop(bytes.splice(at.., other[chance.index(other.len() + 1)..].iter().copied())),
        }
    }
    bytes
}
