//! What was asked for on the command line.
use manta_testkit::sim::Bug;

/// Seeds that run where nothing else is said.
const SEEDS: u64 = 2_000;

/// What to simulate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arguments {
    /// One seed alone.
    seed: Option<u64>,
    /// So many seeds from `from`, after the kept ones.
    seeds: Option<u64>,
    /// The first seed.
    from: u64,
    /// For so long.
    pub(crate) minutes: Option<f64>,
    /// On so many threads.
    pub(crate) jobs: usize,
    /// With a bug planted.
    pub(crate) bug: Option<Bug>,
    /// Whether figures are printed as JSON.
    pub(crate) json: bool,
}

impl Arguments {
    /// Reads the arguments.
    ///
    /// # Errors
    /// A sentence that names the argument.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut parsed = Self { seed: None, seeds: None, from: 0, minutes: None, jobs, bug: None, json: false };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
            match word.as_str() {
                "--seed" => parsed.seed = Some(number(&word, &value()?)?),
                "--seeds" => parsed.seeds = Some(number(&word, &value()?)?),
                "--from" => parsed.from = number(&word, &value()?)?,
                "--minutes" => parsed.minutes = Some(number(&word, &value()?)?),
                "--jobs" => parsed.jobs = number(&word, &value()?)?,
                "--bug" => parsed.bug = Some(bug(&value()?)?),
                "--json" => parsed.json = true,
                _ => {
                    return Err(format!(
                        "`{word}` is no argument; --seed N, --seeds N, --from N, --minutes M, --jobs N, --bug NAME and \
                         --json are"
                    ));
                }
            }
        }
        Ok(parsed)
    }

    /// The seed that runs as number `index`, counted from 0; nothing when all have run.
    pub(crate) fn seed_of(&self, index: u64, kept: &[u64]) -> Option<u64> {
        if let Some(seed) = self.seed {
            return (index == 0).then_some(seed);
        }
        let kept = if self.bug.is_none() { kept } else { &[] };
        let Some(index) = index.checked_sub(kept.len() as u64) else {
            return kept.get(usize::try_from(index).unwrap_or(usize::MAX)).copied();
        };
        let most = self.seeds.unwrap_or(if self.minutes.is_some() { u64::MAX } else { SEEDS });
        (index < most).then(|| self.from.wrapping_add(index))
    }
}

fn number<T: std::str::FromStr>(word: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{word}` needs a number, and `{text}` is none"))
}

fn bug(name: &str) -> Result<Bug, String> {
    let names = || Bug::ALL.map(Bug::name).join(", ");
    Bug::from_name(name).ok_or_else(|| format!("there is no bug `{name}` to plant; there are {}", names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Arguments, String> {
        Arguments::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn kept_seeds_come_first_and_one_seed_comes_alone() {
        let some = parse("--seeds 2 --from 7").unwrap();
        let seeds: Vec<_> = (0..5).map(|index| some.seed_of(index, &[90])).collect();
        assert_eq!(seeds, [Some(90), Some(7), Some(8), None, None]);
        let one = parse("--seed 5").unwrap();
        assert_eq!((one.seed_of(0, &[90]), one.seed_of(1, &[90])), (Some(5), None));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert!(parse("--seed x").unwrap_err().contains("`x`"));
        assert!(parse("--seeds").unwrap_err().contains("needs a value"));
        assert!(parse("--bug none").unwrap_err().contains("no-fence"));
        assert!(parse("faster").unwrap_err().contains("`faster`"));
    }
}
