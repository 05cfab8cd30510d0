//! A plan tells before anything runs which nodes each task would use, which not and why, and what is refused.
mod cluster;

use std::num::NonZeroU32;
use std::sync::Arc;

use cluster::{Cluster, any, name, swarm, task};
use manta_engine::{Input, NodeDescription, Plan};
use manta_types::{Method, NodeLimit, Resources, SwarmSpec, TaskSpec};

fn plan(cluster: &Cluster, spec: SwarmSpec) -> Plan {
    cluster.engine.plan(cluster.now.monotonic, &Arc::new(spec))
}

fn with(alias: &str, method: Method, maximum: NodeLimit) -> TaskSpec {
    TaskSpec { method, maximum, ..task(alias, &[]) }
}

#[test]
fn each_method_says_which_nodes_it_would_use() {
    let cluster = Cluster::new(5);
    let two = NodeLimit::Count(NonZeroU32::new(2).unwrap());
    let tasks = vec![
        task("all", &[]),
        any(task("any", &[])),
        with("two", Method::Any, two),
        with("best", Method::BestResources, NodeLimit::Unlimited),
        with("random", Method::Random, two),
        with("share", Method::All, NodeLimit::Share(0.4)),
        with("tag", Method::Tag("model".to_owned()), NodeLimit::Unlimited),
    ];
    let plan = plan(&cluster, swarm(tasks));
    let told: Vec<_> = plan.tasks.iter().map(|task| (task.placement.as_str(), task.count)).collect();
    assert_eq!(
        told,
        [
            ("all 5 eligible nodes", Some(5)),
            ("the least loaded of 5 eligible nodes", Some(1)),
            ("the 2 least loaded of 5 eligible nodes", Some(2)),
            ("the one with most free memory of 5 eligible nodes", Some(1)),
            ("2 of 5 eligible nodes at random, drawn anew in every iteration", Some(2)),
            ("2 of 5 eligible nodes, 40 % of them", Some(2)),
            ("those of 5 eligible nodes that publish `model` before it", None),
        ]
    );
    assert_eq!((plan.tasks[0].nodes.len(), plan.tasks[1].nodes.len()), (5, 0), "only what is certain is named");
    assert!(plan.refusals.is_empty());
}

#[test]
fn the_division_of_a_rollout_is_told_before_it_runs() {
    let share = |alias: &str, share| with(alias, Method::Random, NodeLimit::Share(share));
    let tasks = || swarm(vec![share("stable", 0.8), share("canary", 0.2)]);
    let ten = plan(&Cluster::new(10), tasks());
    assert_eq!(ten.tasks[0].placement, "8 of 10 eligible nodes, by the 80/20 division");
    assert_eq!(ten.tasks[1].placement, "2 of 10 eligible nodes, by the 80/20 division");
    let one = plan(&Cluster::new(1), tasks());
    assert_eq!(one.tasks[1].placement, "none, it would be skipped: no node left by the 80/20 division");
}

#[test]
fn what_would_wait_is_told_from_what_is_refused() {
    let mut cluster = Cluster::new(2);
    cluster.pass(10, &["node-2"]);
    let mut waits = task("waits", &[]);
    waits.specified = Some(vec![name("node-1")]);
    let mut refused = task("refused", &[]);
    refused.datasets = vec!["digit".to_owned()];
    let plan = plan(&cluster, swarm(vec![waits, refused]));
    assert_eq!(plan.tasks[0].waits.as_deref(), Some("none of 2 nodes can run it now"));
    assert_eq!(plan.tasks[0].ineligible[0].change.as_deref(), Some("node-1 comes back"));
    assert_eq!(plan.refusals.len(), 1, "{:?}", plan.refusals);
    assert_eq!(
        (plan.refusals[0].task.as_str(), plan.refusals[0].hint.as_deref()),
        ("refused", Some("did you mean `digits`?"))
    );
}

#[test]
fn labels_and_images_that_no_node_has_come_with_the_nearest() {
    let mut cluster = Cluster::new(0);
    let labels = [("region".to_owned(), "eu".to_owned())].into();
    let node = NodeDescription { labels, ..Cluster::describe("node-1") };
    cluster.input(Input::NodeConnected { node, held: Vec::new() });
    let mut label = task("label", &[]);
    label.labels = [("region".to_owned(), "ue".to_owned())].into();
    let mut image = task("image", &[]);
    image.image = "manta_light:latst".to_owned();
    let hints: Vec<_> =
        plan(&cluster, swarm(vec![label, image])).refusals.into_iter().map(|r| r.hint.unwrap()).collect();
    assert_eq!(hints, ["did you mean the label `region=eu`?", "did you mean the image `latest`?"]);
}

#[test]
fn an_image_that_is_like_none_comes_with_how_a_node_comes_by_it() {
    let cluster = Cluster::new(1);
    let hint = |image: &str| {
        let task = TaskSpec { image: image.to_owned(), ..task("t", &[]) };
        plan(&cluster, swarm(vec![task])).refusals.remove(0).hint.unwrap()
    };
    let imported = hint("team/model:3");
    assert!(imported.starts_with("the images are latest; bring it to a node"), "{imported}");
    for cure in ["manta image pull IMAGE", "manta image import FILE --name team/model:3"] {
        assert!(imported.contains(cure), "{imported}");
    }
    let ranged = hint("team/model>=3");
    assert!(ranged.contains("name a tag, such as `team/model:TAG`") && !ranged.contains("image import"), "{ranged}");
    for (image, package) in [("manta_light:pytorch", "`torch`"), ("sklearn:1.5+", "`scikit-learn`")] {
        let made = hint(image);
        assert!(made.contains(package) && made.contains("MANTA_PYTHON") && !made.contains("image pull"), "{made}");
    }
}

#[test]
fn what_needs_more_than_any_node_has_comes_with_the_best_node_s_figures() {
    let mut cluster = Cluster::new(0);
    for (node, cpu, memory_gib) in [("node-1", 2.0, 64), ("node-2", 16.0, 8)] {
        let memory_bytes = memory_gib << 30;
        let node = NodeDescription { cpu, memory_bytes, tmp_bytes: memory_bytes, ..Cluster::describe(node) };
        cluster.input(Input::NodeConnected { node, held: Vec::new() });
    }
    let asking = |alias: &str, resources: Resources| TaskSpec { resources, ..task(alias, &[]) };
    let tasks = vec![
        asking("cpu", Resources { cpu: Some(32.0), ..Resources::default() }),
        asking("memory", Resources { memory_bytes: Some(128 << 30), ..Resources::default() }),
        asking("scratch", Resources { tmp_bytes: Some(65 << 30), ..Resources::default() }),
        asking("gpu", Resources { gpu_count: 1, ..Resources::default() }),
        // Each of it is there, but not on one node.
        asking("both", Resources { cpu: Some(16.0), memory_bytes: Some(64 << 30), ..Resources::default() }),
    ];
    let refusals = plan(&cluster, swarm(tasks)).refusals;
    let hints: Vec<_> = refusals.iter().map(|refusal| refusal.hint.as_deref().unwrap_or("none")).collect();
    assert_eq!(
        hints,
        [
            "the most cores that a node has is 16 on node-2: ask for no more, resources={\"cpu\": 16}",
            "the most memory that a node has is 65536 MiB on node-1: ask for no more, resources={\"memory\": \"65536MiB\"}",
            "the most scratch that a node has is 65536 MiB on node-1: ask for no more, resources={\"tmp\": \"65536MiB\"}",
            "no node has a GPU",
            "none",
        ]
    );
    assert!(
        refusals[2].message.contains("node-2 has 8192 MiB of scratch, 66560 MiB of scratch are needed"),
        "{}",
        refusals[2].message
    );
}

#[test]
fn a_node_that_the_modules_line_of_compatibility_leaves_out_is_named_with_its_reason() {
    let mut cluster = Cluster::new(0);
    for (node, python, architecture) in [
        ("node-1", "3.9.2", "x86_64"),
        ("node-2", "3.12.1", "aarch64"),
        ("node-3", "3.12.1", "x86_64"),
        ("node-4", "", ""),
    ] {
        let pythons = [("latest".to_owned(), python.to_owned())].into();
        let node = NodeDescription { pythons, architecture: architecture.to_owned(), ..Cluster::describe(node) };
        cluster.input(Input::NodeConnected { node, held: Vec::new() });
    }
    let (requires_python, architectures) = (">=3.10,<3.14".parse().ok(), vec!["amd64".to_owned()]);
    let fits = TaskSpec { requires_python, architectures, ..task("fits", &[]) };
    let only = TaskSpec { specified: Some(vec![name("node-1")]), alias: "only".to_owned(), ..fits.clone() };
    let plan = plan(&cluster, swarm(vec![fits, only]));
    assert_eq!(plan.tasks[0].eligible, [name("node-3"), name("node-4")]);
    let causes: Vec<_> = plan.tasks[0].ineligible.iter().map(|one| (one.node.as_str(), one.cause.as_str())).collect();
    assert_eq!(
        causes,
        [
            ("node-1", "has Python 3.9.2 in its image `latest`, and module `fits` 1.0.0 needs >=3.10,<3.14"),
            ("node-2", "has a processor of aarch64, and module `fits` 1.0.0 needs amd64"),
        ]
    );
    assert_eq!(plan.refusals.len(), 1, "{:?}", plan.refusals);
    assert!(plan.refusals[0].message.contains("node-1 has Python 3.9.2"), "{}", plan.refusals[0].message);
}
