//! Text that others wrote, made safe to print, and numbers made short.
use std::time::Duration;

use manta_types::name::is_hidden;

/// Drops what could move the cursor or hide text: control characters but line ends and tabs, direction marks, and what cannot
/// be seen.
pub(crate) fn clean(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !is_hidden(*c)).collect()
}

/// The same with further lines set in, so that none of them can pass for a line of ours.
pub(crate) fn hanging(text: &str) -> String {
    clean(text).trim_end().replace('\n', "\n    ")
}

/// The same on one line of at most `most` characters.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let plain: String = clean(text).chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).collect();
    if plain.chars().count() <= most {
        return plain;
    }
    let mut cut: String = plain.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut scaled = count as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// `0.4213`, `12.3`, `1.2e-7`: a metric in few characters.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        format!("{value}")
    } else if !(1e-4..1e7).contains(&size) {
        format!("{value:.3e}")
    } else if size < 10.0 {
        format!("{value:.4}")
    } else {
        format!("{value:.1}")
    }
}

/// Milliseconds as seconds: `0.84 s`.
pub(crate) fn seconds(ms: u64) -> String {
    format!("{}.{:02} s", ms / 1000, ms % 1000 / 10)
}

/// How long ago that was: `12 s ago`, `3 h ago`.
pub(crate) fn ago(then_ms: u64, now_ms: u64) -> String {
    format!("{} ago", lasting(now_ms.saturating_sub(then_ms) / 1000))
}

/// A span of so many seconds, in the unit that makes it short: `12 s`, `3 h`.
pub(crate) fn lasting(seconds: u64) -> String {
    let nearest = |unit: u64| seconds.saturating_add(unit / 2) / unit;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", nearest(60)),
        7200..172_800 => format!("{} h", nearest(3600)),
        _ => format!("{} d", nearest(86_400)),
    }
}

/// ISO 8601 in UTC, from milliseconds since 1970.
pub(crate) fn iso(ms: u64) -> String {
    let stamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| ms.to_string(), |stamp| format!("{stamp:.3}"))
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Reads `90s`, `10m`, `2h` or `30d`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let refuse = || "a time is a whole number with s, m, h or d, as 10m".to_owned();
    let unit = text.chars().last().ok_or_else(refuse)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(refuse()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| refuse())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_the_terminal_do_not_pass() {
        assert_eq!(clean("a\x1b[31mb\u{202e}c\r\nd"), "a[31mbc\nd");
        assert_eq!(clean("a\u{61c}b\u{ad}c\u{2060}d\u{feff}e\u{e0041}f\tg"), "abcdef\tg");
        assert_eq!(one_line("one\ntwo three", 8), "one two…");
        assert_eq!(hanging("ValueError: x\nnote: succeeded\n"), "ValueError: x\n    note: succeeded");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [number(0.94567), number(123.456), number(0.0), number(1.5e-9)],
            ["0.9457", "123.5", "0", "1.500e-9"]
        );
        assert_eq!([bytes(12), bytes(1536), bytes(5 << 30)], ["12 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!(seconds(12_345), "12.34 s");
        assert_eq!(ago(0, 7_300_000), "2 h ago");
        assert_eq!(
            [lasting(119), lasting(3599), lasting(86_399), lasting(30 * 86_400)],
            ["119 s", "60 min", "24 h", "30 d"]
        );
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn times_are_numbers_with_a_unit() {
        assert_eq!(
            [span("90s"), span("10m"), span("2h"), span("1d")],
            [90, 600, 7200, 86_400].map(|s| Ok(Duration::from_secs(s)))
        );
        for bad in ["", "10", "m", "-1s", "1.5h", "99999999999999999999s", "10µ"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
