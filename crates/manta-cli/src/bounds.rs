//! `--limit NAME=SIZE`: what a site lets every attempt on a node use.
use manta_node::Bounds;

use crate::report::Failure;

/// The names that can be given, with what each bounds.
const NAMES: &str = "log, log-rate, published or tmp-files";

/// Reads all options; what is not named keeps its default.
pub(crate) fn read(options: &[String]) -> Result<Bounds, Failure> {
    let mut bounds = Bounds::default();
    for option in options {
        let refuse = |why: &str| Failure::usage(format!("--limit `{option}` {why}"));
        let (name, size) = option.split_once('=').ok_or_else(|| refuse("is not NAME=SIZE").hint(example()))?;
        let bound = match name {
            "log" => &mut bounds.log_bytes,
            "log-rate" => &mut bounds.log_bytes_per_second,
            "published" => &mut bounds.published_bytes,
            "tmp-files" => &mut bounds.tmp_files,
            _ => return Err(refuse(&format!("names no limit of a node: it is {NAMES}")).hint(example())),
        };
        *bound = number(size).ok_or_else(|| refuse("has no size of 1 or more").hint(example()))?;
    }
    Ok(bounds)
}

fn example() -> &'static str {
    "write for example --limit log=256MiB --limit tmp-files=500000"
}

/// A whole number of at least 1, with KiB, MiB, GiB or TiB behind it or nothing.
pub(crate) fn number(text: &str) -> Option<u64> {
    const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let unit = UNITS.into_iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, bits)));
    let (digits, bits) = unit.unwrap_or((text, 0));
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.trim().parse().ok().filter(|number| is_plain && *number > 0)?;
    number.checked_mul(1 << bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(option: &str) -> Result<Bounds, Failure> {
        read(&[option.to_owned()])
    }

    #[test]
    fn a_limit_replaces_its_default_and_no_other() {
        let defaults = Bounds::default();
        assert_eq!(read_one("log=256MiB").unwrap(), Bounds { log_bytes: 256 << 20, ..defaults });
        assert_eq!(read_one("log-rate=4096").unwrap(), Bounds { log_bytes_per_second: 4096, ..defaults });
        assert_eq!(read_one("published=1TiB").unwrap(), Bounds { published_bytes: 1 << 40, ..defaults });
        assert_eq!(read_one("tmp-files=7").unwrap(), Bounds { tmp_files: 7, ..defaults });
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for bad in [
            "log",
            "=1",
            "memory=1GiB",
            "log=0",
            "log=-1",
            "log=1.5GiB",
            "log=1GB",
            "log=99999999TiB",
            "log=+1",
            "log=",
        ] {
            assert!(read_one(bad).is_err(), "{bad}");
        }
    }
}
