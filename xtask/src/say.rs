//! What the chores tell the person who waits. All of it goes to standard error: standard output is for data.

use std::time::Duration;

/// One thing that is being done now.
pub(crate) fn step(text: impl AsRef<str>) {
    eprintln!("==> {}", text.as_ref());
}

/// More about the last step.
pub(crate) fn note(text: impl AsRef<str>) {
    eprintln!("    {}", text.as_ref());
}

/// A length of time as a person says it: `0.4 s`, `12 s`, `3 min 5 s`.
pub(crate) fn took(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds >= 60 {
        format!("{} min {} s", seconds / 60, seconds % 60)
    } else if seconds >= 10 {
        format!("{seconds} s")
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::took;
    use std::time::Duration;

    #[test]
    fn times_read_as_people_say_them() {
        let check = |ms, expected: &str| assert_eq!(took(Duration::from_millis(ms)), expected);
        check(40, "0.0 s");
        check(9_940, "9.9 s");
        check(59_900, "59 s");
        check(185_000, "3 min 5 s");
    }
}
