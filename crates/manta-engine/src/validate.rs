//! What can be refused before anything runs: needs that no node could ever meet.
use std::collections::BTreeSet;

use manta_types::name::nearest;
use manta_types::{SwarmSpec, TaskSpec};

use crate::node::Node;
use crate::placement::{image_matches, static_cause};
use crate::{Engine, NodeDescription};

/// Images that a node makes of its own interpreter, each with the package that has to be installed for it.
const CURATED: [(&str, &str); 4] =
    [("numpy", "numpy"), ("pytorch", "torch"), ("sklearn", "scikit-learn"), ("tensorflow", "tensorflow")];

/// Why a swarm is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// No node offers a dataset.
    NoDataset,
    /// No node could run a task, for other reasons.
    NoNode,
}

/// A task that could never run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Of what kind.
    pub kind: RefusalKind,
    /// The task's alias.
    pub task: String,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Engine {
    /// Checks a swarm against every node that ever joined, whatever its present state.
    ///
    /// # Errors
    /// One refusal per task that no known node could run.
    pub fn validate(&self, spec: &SwarmSpec) -> Result<(), Vec<Refusal>> {
        let refusals: Vec<_> = spec.tasks.iter().filter_map(|task| self.refuse(task)).collect();
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
    }

    pub(crate) fn refuse(&self, task: &TaskSpec) -> Option<Refusal> {
        let alias = task.alias.clone();
        if self.fleet.is_empty() {
            let message = format!("task `{alias}` has nowhere to run: no node has joined this cluster");
            let hint = Some("start one: manta node run --manager … --token-file …".to_owned());
            return Some(Refusal { kind: RefusalKind::NoNode, task: alias, message, hint });
        }
        let offered: BTreeSet<&str> =
            self.fleet.iter().flat_map(|node| &node.description().datasets).map(String::as_str).collect();
        if let Some(dataset) = task.datasets.iter().find(|name| !offered.contains(name.as_str())) {
            let message = format!("task `{alias}` needs dataset `{dataset}`, which no node offers ({})", self.offers());
            let near = nearest(dataset, offered).map(|near| format!("did you mean `{near}`?"));
            let hint = near.or_else(|| Some(format!("offer it where the nodes start: --data '{dataset}=PATH'")));
            return Some(Refusal { kind: RefusalKind::NoDataset, task: alias, message, hint });
        }
        let named = task.specified.iter().flatten().chain(&task.excepted);
        if let Some(stranger) = named.into_iter().find(|name| !self.fleet.contains(name)) {
            let known = self.fleet.names().map(|name| name.as_str());
            let message = format!("task `{alias}` names node `{stranger}`, which this cluster does not know");
            let hint = nearest(stranger.as_str(), known).map(|near| format!("did you mean `{near}`?"));
            return Some(Refusal { kind: RefusalKind::NoNode, task: alias, message, hint });
        }
        let causes: Vec<_> = self.fleet.iter().map(|node| (node.name(), static_cause(task, node))).collect();
        if causes.iter().any(|(_, cause)| cause.is_none()) {
            return None;
        }
        let hint = self.nearest_label(task).or_else(|| self.nearest_image(task)).or_else(|| self.largest(task));
        let told: Vec<_> = causes
            .iter()
            .filter_map(|(name, why)| why.as_ref().map(|obstacle| format!("{name} {}", obstacle.why)))
            .collect();
        let message = format!("task `{alias}` has nowhere to run: {}", shorten(&told));
        Some(Refusal { kind: RefusalKind::NoNode, task: alias, message, hint })
    }

    /// The label nearest to one that no node carries.
    fn nearest_label(&self, task: &TaskSpec) -> Option<String> {
        let labels = self.fleet.iter().flat_map(|node| &node.description().labels);
        let known: BTreeSet<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
        let mut wanted = task.labels.iter().map(|(key, value)| format!("{key}={value}"));
        let missing = wanted.find(|wanted| !known.contains(wanted))?;
        Some(match nearest(&missing, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean the label `{near}`?"),
            None if known.is_empty() => "give nodes labels where they start: --label KEY=VALUE".to_owned(),
            None => format!("the labels are {}", shorten(&known.into_iter().collect::<Vec<_>>())),
        })
    }

    /// The image nearest to one that no node has.
    fn nearest_image(&self, task: &TaskSpec) -> Option<String> {
        let images = || self.fleet.iter().map(|node| &node.description().images);
        if images().any(|images| image_matches(&task.image, images)) {
            return None;
        }
        let known: BTreeSet<&str> = images().flatten().map(String::as_str).collect();
        let wanted = task.image.strip_prefix("manta_light:").unwrap_or(&task.image);
        Some(match nearest(wanted, known.iter().copied()) {
            Some(near) => format!("did you mean the image `{near}`?"),
            None => {
                let known = known.into_iter().collect::<Vec<_>>().join(", ");
                format!("the images are {known}; {}", image_cure(wanted))
            }
        })
    }

    /// The node with most of what no node has enough of, and how much that is.
    fn largest(&self, task: &TaskSpec) -> Option<String> {
        let needs = task.resources;
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let (cpu, node) = self.most(|has| has.cpu)?;
        let ask = |what: &str, node: &Node, has: String, key: &str, most: &str| {
            let name = node.name();
            Some(format!(
                "the most {what} that a node has is {has} on {name}: ask for no more, resources={{\"{key}\": {most}}}"
            ))
        };
        if needs.cpu.is_some_and(|needed| needed > cpu) {
            return ask("cores", node, cpu.to_string(), "cpu", &cpu.to_string());
        }
        let (memory, node) = self.most(|has| has.memory_bytes)?;
        if needs.memory_bytes.is_some_and(|needed| needed > memory) {
            return ask("memory", node, mib(memory), "memory", &format!("\"{}MiB\"", memory >> 20));
        }
        let (tmp, node) = self.most(|has| has.tmp_bytes)?;
        if needs.tmp_bytes.is_some_and(|needed| needed > tmp) {
            return ask("scratch", node, mib(tmp), "tmp", &format!("\"{}MiB\"", tmp >> 20));
        }
        self.lacking_gpus(task)
    }

    fn lacking_gpus(&self, task: &TaskSpec) -> Option<String> {
        let (count, node) = self.most(|has| has.gpus.len())?;
        if task.resources.gpu_count as usize > count {
            let name = node.name();
            return Some(match count {
                0 => "no node has a GPU".to_owned(),
                _ => format!("the most GPUs that a node has is {count} on {name}: ask for no more"),
            });
        }
        let (memory, node) = self.most(|has| has.gpus.iter().copied().max().unwrap_or(0))?;
        let lacks = task.resources.gpu_memory_bytes.is_some_and(|needed| needed > memory);
        lacks.then(|| format!("the GPU with most memory is on {} and has {} MiB", node.name(), memory >> 20))
    }

    /// The first node with most of something.
    fn most<T: PartialOrd + Copy>(&self, of: impl Fn(&NodeDescription) -> T) -> Option<(T, &Node)> {
        let amounts = self.fleet.iter().map(|node| (of(node.description()), node));
        amounts.reduce(|best, next| if next.0 > best.0 { next } else { best })
    }

    /// `node-1 offers digits; node-2 offers nothing`.
    fn offers(&self) -> String {
        let told = self.fleet.iter().map(|node| match node.description().datasets.as_slice() {
            [] => format!("{} offers none", node.name()),
            some => format!("{} offers {}", node.name(), some.join(", ")),
        });
        shorten(&told.collect::<Vec<_>>())
    }
}

/// How a node comes by an image.
fn image_cure(wanted: &str) -> String {
    let name = wanted.split([':', '>', '=', '<']).next().unwrap_or(wanted);
    match CURATED.iter().find(|(curated, _)| *curated == name) {
        Some((_, package)) => format!(
            "a node offers `{name}` where `{package}` is installed for its agent's interpreter (MANTA_PYTHON, or --python)"
        ),
        None => match wanted.split_once(['>', '=', '<']) {
            Some((path, _)) => format!(
                "a range of versions is for images that nodes make themselves; of others name a tag, such as `{path}:TAG`"
            ),
            None => {
                format!("bring it to a node, there: manta image pull IMAGE, or manta image import FILE --name {wanted}")
            }
        },
    }
}

/// The first ten, and how many more.
fn shorten(told: &[String]) -> String {
    const SHOWN: usize = 10;
    let more = told.len().saturating_sub(SHOWN);
    let mut text = told[..told.len() - more].join("; ");
    if more > 0 {
        text += &format!("; and {more} more");
    }
    text
}
