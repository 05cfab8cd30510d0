//! Figures as people read them.
use std::time::Duration;

/// `2 GiB`, `1.5 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((unit, one)) = UNITS.into_iter().find(|(_, one)| count >= *one) else { return format!("{count} bytes") };
    let tenths = u128::from(count) * 10 / u128::from(one);
    match tenths % 10 {
        0 => format!("{} {unit}", tenths / 10),
        rest => format!("{}.{rest} {unit}", tenths / 10),
    }
}

/// `30 s`, `1.5 s`.
pub(crate) fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_printed_in_the_unit_that_fits() {
        let printed = [512, 1536, 300 << 20, (5 << 30) / 2].map(bytes);
        assert_eq!(printed, ["512 bytes", "1.5 KiB", "300 MiB", "2.5 GiB"]);
    }
}
