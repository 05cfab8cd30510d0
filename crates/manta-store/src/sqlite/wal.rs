//! Finds damage inside a write-ahead log, which SQLite would take for its torn end.
//!
//! SQLite reads a log up to the first frame whose checksum is wrong and forgets the rest: right for a machine that lost its
//! power while it wrote the last transaction, wrong for a bit that flipped in an earlier one, which had been synced and
//! acknowledged. Every transaction is synced before the next begins, so damage that has a whole transaction behind that
//! of the damaged frame is no torn end.
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::database::{corrupt, io_at};
use crate::StoreError;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The header's first word, whose last bit tells the byte order of checksums.
const MAGIC: u32 = 0x377f_0682;

/// The running checksum of a log.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sum(u32, u32);

impl Sum {
    fn add(self, bytes: &[u8], is_big_endian: bool) -> Self {
        let word = |at: &[u8]| {
            let four = at.try_into().expect("four bytes");
            if is_big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
        };
        bytes.chunks_exact(8).fold(self, |Self(first, second), pair| {
            let first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
            Self(first, second.wrapping_add(word(&pair[4..])).wrapping_add(first))
        })
    }
}

fn word(bytes: &[u8], index: usize) -> u32 {
    u32::from_be_bytes(bytes[4 * index..4 * index + 4].try_into().expect("four bytes"))
}

/// Refuses a log in which something before its last transaction is damaged. No log is sound.
pub(super) fn check(log: &Path, name: &str) -> Result<(), StoreError> {
    match File::open(log) {
        Ok(file) => match torn_at(&mut io::BufReader::new(file)).map_err(io_at(log))? {
            None => Ok(()),
            Some(frame) => {
                let problem =
                    format!("frame {frame} of its write-ahead log is damaged, and later transactions follow it");
                Err(corrupt(name, &problem))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_at(log)(error)),
    }
}

/// The first damaged frame, from 1, or 0 for the header, where it is not part of the last transaction.
fn torn_at(log: &mut dyn Read) -> io::Result<Option<u64>> {
    let mut header = [0; HEADER_BYTES];
    if !fill(log, &mut header)? {
        return Ok(None);
    }
    let is_big_endian = word(&header, 0) & 1 == 1;
    let stated = Sum(word(&header, 6), word(&header, 7));
    let mut sum = Sum(0, 0).add(&header[..24], is_big_endian);
    let is_sound = word(&header, 0) & !1 == MAGIC && sum == stated;
    let mut damaged = (!is_sound).then_some(0);
    let page_bytes = match usize::try_from(word(&header, 2)) {
        Ok(bytes) if (512..=65_536).contains(&bytes) && bytes.is_power_of_two() => bytes,
        _ => return Ok(damaged),
    };
    let mut salts = [word(&header, 4), word(&header, 5)];
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    let mut commits_behind = 0;
    for number in 1u64.. {
        if !fill(log, &mut frame)? {
            break;
        }
        let found = [word(&frame, 2), word(&frame, 3)];
        if damaged == Some(0) && number == 1 {
            salts = found;
        }
        if damaged.is_none() {
            let next = sum.add(&frame[..8], is_big_endian).add(&frame[FRAME_HEADER_BYTES..], is_big_endian);
            if found == salts && next == Sum(word(&frame, 4), word(&frame, 5)) {
                sum = next;
                continue;
            }
            damaged = Some(number);
        }
        // What is left of an earlier use of the file has other salts.
        let is_commit = word(&frame, 1) != 0;
        commits_behind += u32::from(is_commit && found == salts);
    }
    Ok(damaged.filter(|_| commits_behind > 1))
}

/// Reads so many bytes; false where fewer are left.
fn fill(log: &mut dyn Read, bytes: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
