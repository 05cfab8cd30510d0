//! Many measurements of one thing, and what is said of them.
use std::time::Duration;

/// Measured spans of time.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    seconds: Vec<f64>,
}

impl Samples {
    pub(crate) fn add(&mut self, span: Duration) {
        self.seconds.push(span.as_secs_f64());
    }

    pub(crate) fn count(&self) -> usize {
        self.seconds.len()
    }

    /// The smallest measured span that this share of them does not exceed, in seconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count fits")]
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_measurements() {
        let mut samples = Samples::default();
        (1..=20).rev().for_each(|second| samples.add(Duration::from_secs(second)));
        assert_eq!([0.5, 0.95, 0.99, 1.0].map(|share| samples.quantile(share)), [10.0, 19.0, 20.0, 20.0]);
        assert!(Samples::default().quantile(0.5).is_nan());
    }
}
