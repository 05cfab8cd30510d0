//! The options that say which nodes there are and what data each of them has.
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use manta_api::ErrorCode;
use manta_types::NodeName;
use manta_types::name::{check_component, nearest};

use crate::embedded::NodePlan;
use crate::report::Failure;
use crate::session::Nodes;
use crate::trace::{TraceDocument, TracedCode};

/// In a path, stands for the node's name.
const NODE_MARK: &str = "{node}";
/// Nodes that are started where their number is not given.
const NODES_DEFAULT: u32 = 4;

/// Options of every verb that starts nodes on this machine.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NodeArgs {
    /// Nodes to start: node-1, node-2, … [default: 4].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    nodes: Option<u32>,

    /// A node by name, with labels; repeat it for each, in place of --nodes.
    #[arg(long, value_name = "NAME[:KEY=VALUE,…]")]
    node: Vec<String>,

    /// A dataset of every node, or of one; `{node}` in the path stands for the node's name.
    #[arg(long, alias = "node-data", value_name = "[NODE:]NAME=PATH")]
    data: Vec<String>,
}

impl NodeArgs {
    /// Whether any of them was given.
    pub(crate) fn is_given(&self) -> bool {
        self.nodes.is_some() || !self.node.is_empty() || !self.data.is_empty()
    }

    /// The nodes that they mean.
    pub(crate) fn nodes(&self) -> Result<Nodes<'static>, Failure> {
        let named = match self.node.as_slice() {
            [] => numbered(self.nodes.unwrap_or(NODES_DEFAULT)),
            nodes => nodes.iter().map(|node| parse_node(node)).collect::<Result<_, _>>()?,
        };
        let options = self.data.iter().map(|text| DataOption::parse(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(if needs_names(&options) {
            Nodes::AfterTracing(Box::new(move |document| plan(&named, &options, Some(document))))
        } else {
            Nodes::Known(plan(&named, &options, None)?)
        })
    }
}

/// One `--data`: `PATH`, `NAME=PATH`, `NODE:NAME=PATH` or `NODE:=PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataOption {
    node: Option<String>,
    name: Option<String>,
    path: String,
}

impl DataOption {
    /// Reads one option.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let (left, path) = match text.split_once('=') {
            // A slash before the sign belongs to a path that holds one.
            Some((left, path)) if !left.contains('/') => (left, path),
            _ => ("", text),
        };
        let (node, name) = left.split_once(':').map_or((None, left), |(node, name)| (Some(node), name));
        if path.is_empty() {
            return Err(Failure::usage(format!("--data `{text}` names no path")).hint("write --data NAME=PATH"));
        }
        let name = Some(name).filter(|name| !name.is_empty());
        if let Some(Err(error)) = name.map(|name| check_component("dataset", name)) {
            return Err(Failure::usage(error.to_string()));
        }
        Ok(Self { node: node.map(str::to_owned), name: name.map(str::to_owned), path: path.to_owned() })
    }
}

impl DataOption {
    /// A dataset of one node.
    pub(crate) fn of_node(node: &str, name: &str, path: &Path) -> Self {
        Self { node: Some(node.to_owned()), name: Some(name.to_owned()), path: path.display().to_string() }
    }
}

/// Nodes by name, each with its labels.
pub(crate) type Named = Vec<(String, BTreeMap<String, String>)>;

/// The nodes `node-1` to `node-N`.
pub(crate) fn numbered(count: u32) -> Named {
    (1..=count).map(|number| (format!("node-{number}"), BTreeMap::new())).collect()
}

/// Reads one `--node NAME[:KEY=VALUE,…]`.
pub(crate) fn parse_node(text: &str) -> Result<(String, BTreeMap<String, String>), Failure> {
    let (name, labels) = text.split_once(':').unwrap_or((text, ""));
    NodeName::new(name).map_err(|error| Failure::usage(error.to_string()))?;
    let pairs = labels.split(',').filter(|pair| !pair.is_empty()).map(parse_label);
    Ok((name.to_owned(), pairs.collect::<Result<_, _>>()?))
}

/// Reads one `KEY=VALUE`.
pub(crate) fn parse_label(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::usage(format!("the label `{text}` is not KEY=VALUE"))),
    }
}

/// Whether a swarm must be traced before it is known what the nodes offer.
pub(crate) fn needs_names(options: &[DataOption]) -> bool {
    options.iter().any(|option| option.name.is_none())
}

/// Checks every path and gives each node its data; `document` is needed where an option names no dataset.
pub(crate) fn plan(
    nodes: &Named,
    options: &[DataOption],
    document: Option<&TraceDocument>,
) -> Result<Vec<NodePlan>, Failure> {
    let mut plans = BTreeMap::new();
    for (position, (name, labels)) in nodes.iter().enumerate() {
        let plan = NodePlan { name: name.clone(), datasets: BTreeMap::new(), labels: labels.clone() };
        if plans.insert(name.clone(), (position, plan)).is_some() {
            return Err(Failure::usage(format!("two nodes are called `{name}`")));
        }
    }
    // What is said for one node counts more than what is said for all.
    let (for_all, for_one): (Vec<_>, Vec<_>) = options.iter().partition(|option| option.node.is_none());
    for option in for_all.into_iter().chain(for_one) {
        let name = match &option.name {
            Some(name) => name.clone(),
            None => only_dataset(document)?,
        };
        let meant: Vec<String> = match &option.node {
            None => nodes.iter().map(|(node, _)| node.clone()).collect(),
            Some(node) => vec![known(nodes, node)?],
        };
        for node in meant {
            let path = check_readable(&name, Path::new(&option.path.replace(NODE_MARK, &node)))?;
            plans.entry(node).and_modify(|(_, plan)| drop(plan.datasets.insert(name.clone(), path)));
        }
    }
    let mut plans: Vec<_> = plans.into_values().collect();
    plans.sort_by_key(|(position, _)| *position);
    Ok(plans.into_iter().map(|(_, plan)| plan).collect())
}

fn known(nodes: &Named, wanted: &str) -> Result<String, Failure> {
    let names = || nodes.iter().map(|(name, _)| name.as_str());
    if names().any(|name| name == wanted) {
        return Ok(wanted.to_owned());
    }
    let near = nearest(wanted, names()).map(|near| format!("did you mean `{near}`?"));
    let all = || format!("the nodes are {}", names().collect::<Vec<_>>().join(", "));
    Err(Failure::usage(format!("--data names the node `{wanted}`, which there is not")).hint(near.unwrap_or_else(all)))
}

/// The one dataset that the swarm's modules declare.
fn only_dataset(document: Option<&TraceDocument>) -> Result<String, Failure> {
    let modules = document.map(|document| document.modules.as_slice()).unwrap_or_default();
    let declared: BTreeSet<&String> = modules.iter().flat_map(TracedCode::datasets).collect();
    let declared: Vec<&String> = declared.into_iter().collect();
    match declared.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Failure::usage("data is given, but no module of the swarm declares a dataset")
            .hint("declare it: Module(…, datasets=[\"NAME\"])")),
        several => {
            let names = several.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            Err(Failure::usage("the swarm declares several datasets, and --data does not say which is meant")
                .hint(format!("write --data NAME=PATH; the names are {names}")))
        }
    }
}

/// Makes sure that a path of the user's can be read before anything is started.
fn check_readable(name: &str, path: &Path) -> Result<PathBuf, Failure> {
    let refuse = |error: std::io::Error| {
        let message = format!("the dataset `{name}` at `{}` cannot be read: {error}", path.display());
        Failure::new(ErrorCode::DatasetPath, message).hint("check the path and its permissions")
    };
    let real = path.canonicalize().map_err(refuse)?;
    let opened = if real.is_dir() { std::fs::read_dir(&real).map(drop) } else { std::fs::File::open(&real).map(drop) };
    opened.map_err(refuse)?;
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Option<String>, Option<String>, String) {
        let DataOption { node, name, path } = DataOption::parse(text).unwrap();
        (node, name, path)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn data_options_name_nodes_and_datasets() {
        assert_eq!(parse("digits=a=b"), (None, some("digits"), "a=b".into()));
        assert_eq!(parse("node-1:digits=p"), (some("node-1"), some("digits"), "p".into()));
        assert_eq!(parse("node-1:=p"), (some("node-1"), None, "p".into()));
        assert_eq!(parse("./x=y"), (None, None, "./x=y".into()));
        assert_eq!(DataOption::parse("digits=").unwrap_err().exit, 2);
    }

    #[test]
    fn each_node_gets_its_own_data_and_what_is_for_all() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["node-1.npz", "node-2.npz", "other"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let base = folder.path().display();
        let options: Vec<_> = [format!("node-2:digits={base}/other"), format!("digits={base}/{{node}}.npz")]
            .iter()
            .map(|text| DataOption::parse(text).unwrap())
            .collect();
        let plans = plan(&numbered(2), &options, None).unwrap();
        let files: Vec<_> = plans.iter().map(|plan| plan.datasets["digits"].file_name().unwrap().to_owned()).collect();
        assert_eq!(files, ["node-1.npz", "other"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_before_anything_starts() {
        let options = [DataOption::parse("digits=/nonexistent/x").unwrap()];
        let failure = plan(&numbered(1), &options, None).unwrap_err();
        assert_eq!((failure.code.as_deref(), failure.exit), (Some("MANTA-0206"), 4));
        let options = [DataOption::parse("node-9:digits=/").unwrap()];
        assert_eq!(plan(&numbered(3), &options, None).unwrap_err().hint.as_deref(), Some("did you mean `node-1`?"));
    }

    #[test]
    fn nodes_may_be_named_and_labelled() {
        let (name, labels) = parse_node("edge:region=eu,tier=a").unwrap();
        assert_eq!((name.as_str(), labels.len()), ("edge", 2));
        assert!(parse_node("Bad Name").is_err() && parse_node("a:b").is_err());
    }
}
