//! Rollouts: another version of a task's module for a growing share of its nodes, each step judged by gates.
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spec::Resources;
use crate::state::names;
use crate::{Digest, PythonRange, Runtime, SwarmSpec, TaskIndex, TaskSpec, limits};

/// A version of a module as a task runs it: all of a task that a rollout can change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// Digest of the bundle's manifest.
    pub bundle: Digest,
    /// The module's name.
    pub module: String,
    /// Its version.
    pub version: String,
    /// The environment that it asks for.
    pub image: String,
    /// What its dependencies are locked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runtimes: Vec<Runtime>,
    /// The Pythons that it works with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_python: Option<PythonRange>,
    /// The processors that it works with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Datasets that it may open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<String>,
    /// What an attempt needs and may use.
    #[serde(default)]
    pub resources: Resources,
}

impl TaskSpec {
    /// The version that the task runs.
    pub fn pin(&self) -> Pin {
        Pin {
            bundle: self.bundle,
            module: self.module.clone(),
            version: self.version.clone(),
            image: self.image.clone(),
            runtimes: self.runtimes.clone(),
            requires_python: self.requires_python.clone(),
            architectures: self.architectures.clone(),
            datasets: self.datasets.clone(),
            resources: self.resources,
        }
    }
}

impl SwarmSpec {
    /// The same swarm with another version in one of its tasks.
    #[must_use]
    pub fn pinned(&self, task: TaskIndex, pin: &Pin) -> Self {
        let mut spec = self.clone();
        if let Some(task) = spec.tasks.get_mut(task) {
            let Pin { bundle, module, version, image, runtimes, requires_python, architectures, datasets, resources } =
                pin.clone();
            (task.bundle, task.module, task.version, task.image) = (bundle, module, version, image);
            (task.runtimes, task.requires_python, task.architectures) = (runtimes, requires_python, architectures);
            (task.datasets, task.resources) = (datasets, resources);
        }
        spec
    }
}

/// What a step of a rollout must keep to.
#[derive(Debug, Clone, PartialEq)]
pub enum Gate {
    /// At most this share of the new version's attempts in the step may fail, in [0, 1].
    Failures {
        /// The share.
        most: f64,
    },
    /// The mean of a metric over the new version's attempts, less that over the old one's, must compare like this.
    Metric {
        /// The metric's name.
        name: String,
        /// How.
        test: Comparison,
        /// With what, in the metric's own unit.
        bound: f64,
    },
}

/// How a difference is compared with its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `>=`.
    AtLeast,
    /// `<=`.
    AtMost,
}

impl Comparison {
    /// Whether a value keeps to a bound.
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::AtLeast => value >= bound,
            Self::AtMost => value <= bound,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
        })
    }
}

/// A part of a rollout's plan that cannot be used; says what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(String);

fn refuse<T>(problem: String) -> Result<T, PlanError> {
    Err(PlanError(problem))
}

/// Reads a share, `5%` or `0.05`, in [0, 1].
///
/// # Errors
/// When it is neither, or lies outside.
pub fn share(text: &str) -> Result<f64, PlanError> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    let value = match text.trim().strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None => number(text),
    };
    match value {
        Some(value) if (0.0..=1.0).contains(&value) => Ok(value),
        Some(_) => refuse(format!("`{}` is no share: 0% to 100% are, as 5% or 0.05", clip(text))),
        None => refuse(format!("`{}` is no share; write 5% or 0.05", clip(text))),
    }
}

/// A share in per cent, `5%`.
pub fn percent(share: f64) -> String {
    format!("{}%", (share * 1e8).round() / 1e6)
}

impl FromStr for Gate {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let tests = [("<=", Comparison::AtMost), (">=", Comparison::AtLeast)];
        let found = tests.into_iter().find_map(|(sign, test)| Some((text.split_once(sign)?, test)));
        let Some(((subject, bound), test)) = found else {
            return refuse(format!("gate `{}` compares nothing; write failures<=1% or metric:NAME>=-0.01", clip(text)));
        };
        match subject.trim().split_once(':') {
            None if subject.trim() == "failures" => match test {
                Comparison::AtMost => Ok(Self::Failures { most: share(bound)? }),
                Comparison::AtLeast => refuse("a gate of failures is an upper bound; write failures<=1%".to_owned()),
            },
            Some(("metric", name)) if !name.is_empty() && name.len() <= limits::NAME_BYTES_MAX => {
                match bound.trim().parse::<f64>().ok().filter(|bound| bound.is_finite()) {
                    Some(bound) => Ok(Self::Metric { name: name.to_owned(), test, bound }),
                    None => refuse(format!("gate `{}`: `{}` is no number", clip(text), clip(bound))),
                }
            }
            _ => refuse(format!(
                "gate `{}` is of neither failures nor a metric; write failures<=1% or metric:NAME>=-0.01",
                clip(text)
            )),
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures { most } => write!(f, "failures<={}", percent(*most)),
            Self::Metric { name, test, bound } => write!(f, "metric:{name}{test}{bound}"),
        }
    }
}

crate::text_form!(Gate);

/// How a rollout goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutPlan {
    /// Shares of the task's nodes that run the new version, one step after the other; in (0, 1], rising.
    pub steps: Vec<f64>,
    /// What each step must keep to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// Iterations that a step lasts at least.
    pub every: u32,
    /// Whether somebody has to let each step go on.
    #[serde(default)]
    pub hold_each: bool,
    /// Milliseconds within which a step must be done with; it is reverted where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

impl RolloutPlan {
    /// All nodes at once, judged by nothing: the way back.
    pub fn at_once() -> Self {
        Self { steps: vec![1.0], gates: Vec::new(), every: 1, hold_each: false, deadline_ms: None }
    }

    /// The most time that a step may take.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline_ms.map(Duration::from_millis)
    }

    /// Whether it can be carried out.
    ///
    /// # Errors
    /// Names the first rule that it breaks.
    pub fn check(&self) -> Result<(), PlanError> {
        let (steps, gates) = (self.steps.len(), self.gates.len());
        if steps == 0 || steps > limits::ROLLOUT_STEPS_MAX {
            return refuse(format!("{steps} steps; 1 to {} are allowed", limits::ROLLOUT_STEPS_MAX));
        }
        if let Some(step) = self.steps.iter().find(|step| !(**step > 0.0 && **step <= 1.0)) {
            return refuse(format!("a step of {}; a step is more than 0% and at most 100%", percent(*step)));
        }
        if let Some(pair) = self.steps.windows(2).find(|pair| pair[0] >= pair[1]) {
            let (before, after) = (percent(pair[0]), percent(pair[1]));
            return refuse(format!("step {after} does not exceed step {before} before it; steps rise"));
        }
        if gates > limits::ROLLOUT_GATES_MAX {
            return refuse(format!("{gates} gates; {} are the limit", limits::ROLLOUT_GATES_MAX));
        }
        if !(1..=limits::ITERATIONS_MAX).contains(&self.every) {
            return refuse(format!("steps of {} iterations; 1 to {} are allowed", self.every, limits::ITERATIONS_MAX));
        }
        match self.deadline() {
            Some(wait) if wait.is_zero() || wait > limits::ROLLOUT_DEADLINE_MAX => {
                refuse("a deadline is at least a millisecond and at most a year".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// What became of a gate in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateVerdict {
    /// It was kept to.
    Passed,
    /// It was not.
    Failed,
    /// It could not be told.
    Unjudged,
}

names!(GateVerdict { Passed => "passed", Failed => "failed", Unjudged => "unjudged" });

/// A gate, and the figures by which it was judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The gate.
    pub gate: Gate,
    /// What became of it.
    pub verdict: GateVerdict,
    /// Attempts of the new version that it was judged by.
    pub attempts: u32,
    /// Of the new version: the share of attempts that failed, or the metric's mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<f64>,
    /// Of the old version: the metric's mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<f64>,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, verdict, attempts, new, old } = self;
        write!(f, "{gate} {verdict}")?;
        match (gate, new, old) {
            (Gate::Failures { .. }, Some(new), _) => write!(f, " ({} of {attempts} attempts)", percent(round(*new))),
            (Gate::Failures { .. }, None, _) => f.write_str(" (no attempt has ended)"),
            (Gate::Metric { .. }, Some(new), Some(old)) => {
                write!(f, " ({:+} = {} - {})", round(new - old), round(*new), round(*old))
            }
            (Gate::Metric { .. }, None, _) => f.write_str(" (no attempt of the new version logged it)"),
            (Gate::Metric { .. }, _, None) => f.write_str(" (no attempt of the old version logged it)"),
        }
    }
}

/// Six digits after the point are enough for people.
fn round(value: f64) -> f64 {
    if value.abs() < 1e9 { (value * 1e6).round() / 1e6 } else { value }
}

/// Who holds a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A person.
    User,
    /// Its plan: somebody is to look.
    Plan,
    /// A gate that cannot be judged.
    Gate,
}

names!(Holder { User => "user", Plan => "plan", Gate => "gate" });

/// The beginning of a text from outside, fit to stand in a sentence.
fn clip(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(steps: &[f64]) -> RolloutPlan {
        RolloutPlan { steps: steps.to_vec(), ..RolloutPlan::at_once() }
    }

    #[test]
    fn gates_read_back_as_they_are_written() {
        for text in ["failures<=1%", "failures<=0%", "failures<=7%", "metric:val_acc>=-0.01", "metric:loss<=0.5"] {
            let gate: Gate = text.parse().unwrap();
            assert_eq!(gate.to_string(), text);
            assert_eq!(serde_json::from_str::<Gate>(&serde_json::to_string(&gate).unwrap()).unwrap(), gate);
        }
        assert_eq!("failures<=0.05".parse::<Gate>().unwrap().to_string(), "failures<=5%");
    }

    #[test]
    fn gates_that_say_nothing_are_refused_in_words() {
        let told = |text: &str| text.parse::<Gate>().unwrap_err().to_string();
        assert!(told("failures").contains("compares nothing"));
        assert!(told("failures>=1%").contains("upper bound"));
        assert!(told("failures<=120%").contains("0% to 100%"));
        assert!(told("failures<=few").contains("no share"));
        assert!(told("metric:>=1").contains("neither"));
        assert!(told("metric:loss<=NaN").contains("no number"));
        assert!(told("accuracy>=1").contains("neither"));
    }

    #[test]
    fn a_plan_whose_steps_do_not_rise_to_at_most_all_is_refused() {
        assert!(plan(&[0.05, 0.2, 1.0]).check().is_ok() && plan(&[0.2]).check().is_ok());
        let told = |steps: &[f64]| plan(steps).check().unwrap_err().to_string();
        assert!(told(&[]).contains("0 steps"));
        assert_eq!(told(&[0.2, 0.2]), "step 20% does not exceed step 20% before it; steps rise");
        assert!(told(&[0.5, 1.2]).contains("a step of 120%"));
        assert!(told(&[0.0, 1.0]).contains("a step of 0%"));
        let slow = RolloutPlan { every: 0, ..plan(&[1.0]) };
        assert!(slow.check().unwrap_err().to_string().contains("steps of 0 iterations"));
        let never = RolloutPlan { deadline_ms: Some(0), ..plan(&[1.0]) };
        assert!(never.check().is_err());
    }

    #[test]
    fn figures_say_what_was_measured() {
        let figure = |gate: &str, verdict, new, old| {
            Figure { gate: gate.parse().unwrap(), verdict, attempts: 4, new, old }.to_string()
        };
        assert_eq!(
            figure("failures<=1%", GateVerdict::Failed, Some(0.25), None),
            "failures<=1% failed (25% of 4 attempts)"
        );
        assert_eq!(
            figure("metric:acc>=-0.01", GateVerdict::Passed, Some(0.91), Some(0.9)),
            "metric:acc>=-0.01 passed (+0.01 = 0.91 - 0.9)"
        );
        assert!(figure("metric:acc>=0", GateVerdict::Unjudged, None, Some(1.0)).contains("no attempt of the new"));
    }
}
