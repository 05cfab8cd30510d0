//! The value format from another language's side, for tests that let two implementations read each other.
//!
//! `manta-values read` takes paths from standard input and prints for each, on a line, what its value is made of, or why it is
//! refused. `manta-values write SEED COUNT FOLDER` draws values, writes them, and prints what they are made of likewise. Both
//! say it in the same form, which names types, bits and shapes and nothing of how they are encoded.
#![forbid(unsafe_code)]

mod describe;
mod drawn;

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value as Json, json};

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["read"] => std::io::stdin().lock().lines().try_for_each(|path| {
            let path = path?;
            say(&describe::file(Path::new(&path)).with_context(|| format!("`{path}` cannot be read"))?)
        }),
        ["write", seed, count, folder] => {
            let folder = PathBuf::from(folder);
            for (number, drawn) in drawn::values(seed.parse()?, count.parse()?).into_iter().enumerate() {
                std::fs::write(folder.join(format!("{number}.value")), drawn.encode())?;
                say(&drawn.describe())?;
            }
            Ok(())
        }
        _ => anyhow::bail!("`manta-values read` and `manta-values write SEED COUNT FOLDER` are there"),
    }
}

fn say(description: &Json) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{}", json!(description))?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
