//! `Range` headers with one range of bytes.

/// What part of the bytes a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: no range, or one that this server may ignore.
    Whole,
    /// From the first to the last byte, both included.
    Range {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// Nothing that is there.
    Unsatisfiable,
}

/// Reads a header against a size.
pub(super) fn part(header: Option<&str>, size: u64) -> Part {
    let Some(range) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Part::Whole };
    let Some((first, last)) = range.split_once('-').filter(|_| !range.contains(',')) else { return Part::Whole };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => Part::Whole,
        (Ok(first), _) if first >= size => Part::Unsatisfiable,
        (Ok(first), Ok(last)) => Part::Range { first, last: last.min(size - 1) },
        (Ok(first), Err(_)) if last.trim().is_empty() => Part::Range { first, last: size - 1 },
        (Err(_), Ok(0)) if first.trim().is_empty() => Part::Unsatisfiable,
        (Err(_), Ok(_)) if first.trim().is_empty() && size == 0 => Part::Unsatisfiable,
        (Err(_), Ok(count)) if first.trim().is_empty() => {
            Part::Range { first: size.saturating_sub(count), last: size - 1 }
        }
        _ => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_read_and_others_give_the_whole() {
        let range = |first, last| Part::Range { first, last };
        for (header, expected) in [
            ("bytes=0-0", range(0, 0)),
            ("bytes=2-", range(2, 9)),
            ("bytes=-3", range(7, 9)),
            ("bytes=-30", range(0, 9)),
            ("bytes=4-400", range(4, 9)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=0-1,4-5", Part::Whole),
            ("bytes=5-2", Part::Whole),
            ("bytes=x-y", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=1-2", Part::Whole),
        ] {
            assert_eq!(part(Some(header), 10), expected, "{header}");
        }
        assert_eq!(part(None, 10), Part::Whole);
        assert_eq!(part(Some("bytes=0-"), 0), Part::Unsatisfiable);
        assert_eq!(part(Some("bytes=-1"), 0), Part::Unsatisfiable);
    }
}
