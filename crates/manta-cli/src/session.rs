//! One swarm from its files to its end on an embedded platform: what `manta run` and `manta demo` share.
use std::path::PathBuf;
use std::pin::{Pin, pin};

use manta_api::{PlanView, SwarmView};
use manta_client::Client;

use crate::embedded::{NodePlan, Options, Platform};
use crate::follow::follow;
use crate::history::History;
use crate::outputs::{self, Outputs, Which};
use crate::report::Failure;
use crate::screen::Screen;
use crate::trace::{TraceDocument, Traced};
use crate::upload::{Packed, pack_swarm, submit};

/// What to run, and where.
pub(crate) struct Plan<'a> {
    /// Traces the swarm; whatever it writes belongs into the folder that it is given.
    pub(crate) tracing: Tracing<'a>,
    /// The nodes.
    pub(crate) nodes: Nodes<'a>,
    /// Iterations to loop to, in place of the swarm's own.
    pub(crate) max_iteration: Option<u32>,
    /// Attempts that may be live at once, where that is bounded.
    pub(crate) attempts_max: Option<u32>,
    /// The interpreter for tasks.
    pub(crate) python: PathBuf,
    /// Where the platform's data stays.
    pub(crate) data_dir: Option<PathBuf>,
    /// Where values are saved.
    pub(crate) out: Option<PathBuf>,
}

/// Gives the traced swarm, whose files lie in a folder that goes with the platform.
pub(crate) type Tracing<'a> =
    Box<dyn FnOnce(PathBuf) -> Pin<Box<dyn Future<Output = Result<Traced, Failure>> + 'a>> + 'a>;

/// When it is known which nodes are needed.
pub(crate) enum Nodes<'a> {
    /// From the beginning: they start while the swarm is traced.
    Known(Vec<NodePlan>),
    /// Once the swarm is traced, from the names of its datasets.
    AfterTracing(Planning<'a>),
}

/// Says which nodes a traced swarm needs.
pub(crate) type Planning<'a> = Box<dyn FnOnce(&TraceDocument) -> Result<Vec<NodePlan>, Failure> + 'a>;

/// A swarm that is over.
pub(crate) struct Finished {
    /// The swarm, as it was submitted.
    pub(crate) swarm: SwarmView,
    /// The nodes' names.
    pub(crate) nodes: Vec<String>,
    /// What happened.
    pub(crate) history: History,
    /// What it left.
    pub(crate) outputs: Outputs,
}

/// Runs a swarm to its end; `ended` resolves when the user wants no more. Whatever happens, nothing is left behind.
///
/// `at_end` is called while the platform is still there.
pub(crate) async fn run(
    plan: Plan<'_>,
    screen: &Screen,
    ended: impl Future<Output = ()>,
    at_end: impl AsyncFnOnce(&Client, &Finished) -> Result<(), Failure>,
) -> Result<Finished, Failure> {
    let mut ended = pin!(ended);
    let options = Options { python: plan.python.clone(), data_dir: plan.data_dir.clone() };
    let started = tokio::select! {
        platform = Platform::start(options, screen) => platform,
        () = &mut ended => Err(Failure::interrupted()),
    };
    let mut platform = started?;
    let outcome = tokio::select! {
        outcome = run_on(&mut platform, plan, screen, at_end) => outcome,
        () = ended => Err(Failure::interrupted()),
    };
    screen.close();
    platform.end().await;
    outcome
}

/// Asks a manager and nodes of its own, started for the question and gone with it, what a swarm would do.
pub(crate) async fn foretell(
    plan: Plan<'_>,
    screen: &Screen,
    ended: impl Future<Output = ()>,
) -> Result<PlanView, Failure> {
    let mut ended = pin!(ended);
    let options = Options { python: plan.python.clone(), data_dir: plan.data_dir.clone() };
    let started = tokio::select! {
        platform = Platform::start(options, screen) => platform,
        () = &mut ended => Err(Failure::interrupted()),
    };
    let mut platform = started?;
    let asked = async {
        let (client, tracing) = (platform.client(), (plan.tracing)(platform.trace_folder()?));
        let (packed, _) = prepare(&mut platform, tracing, plan.nodes, screen).await?;
        Ok(client.plan(&packed.plan_request()).await?)
    };
    let outcome = tokio::select! {
        outcome = asked => outcome,
        () = ended => Err(Failure::interrupted()),
    };
    screen.close();
    platform.end().await;
    outcome
}

async fn run_on(
    platform: &mut Platform,
    plan: Plan<'_>,
    screen: &Screen,
    at_end: impl AsyncFnOnce(&Client, &Finished) -> Result<(), Failure>,
) -> Result<Finished, Failure> {
    let client = platform.client();
    screen.doing("tracing the swarm, starting the nodes");
    let Plan { tracing, nodes, max_iteration, attempts_max, out, .. } = plan;
    let tracing = tracing(platform.trace_folder()?);
    let packing = async {
        let mut traced = tracing.await?;
        traced.document.max_iteration = max_iteration.or(traced.document.max_iteration);
        Ok::<_, Failure>(traced)
    };
    let (mut packed, nodes) = prepare(platform, packing, nodes, screen).await?;
    packed.submission.attempts_max = attempts_max;
    let swarm = submit(&client, &packed).await?;
    let history = follow(&client, &swarm, screen, platform.failed(screen)).await?;
    screen.doing("fetching what it left");
    let which = if out.is_some() { Which::All } else { Which::Last };
    let outputs = outputs::fetch(&client, swarm.id, which, out.as_deref()).await?;
    let finished = Finished { swarm, nodes, history, outputs };
    at_end(&client, &finished).await?;
    Ok(finished)
}

/// Traces, packs and starts the nodes, side by side where it can be.
async fn prepare(
    platform: &mut Platform,
    traced: impl Future<Output = Result<Traced, Failure>>,
    nodes: Nodes<'_>,
    screen: &Screen,
) -> Result<(Packed, Vec<String>), Failure> {
    match nodes {
        Nodes::Known(nodes) => {
            platform.add_nodes(&nodes);
            let (mut packing, mut ready) =
                (pin!(async { pack_swarm(&traced.await?).await }), pin!(platform.ready(screen)));
            // What is wrong with the user's own file is told before what is wrong with the nodes, whichever came first.
            let packed = tokio::select! {
                packed = &mut packing => {
                    let packed = packed?;
                    ready.await?;
                    packed
                }
                started = &mut ready => {
                    let packed = packing.await?;
                    started?;
                    packed
                }
            };
            Ok((packed, names(&nodes)))
        }
        Nodes::AfterTracing(nodes) => {
            let traced = traced.await?;
            let nodes = nodes(&traced.document)?;
            platform.add_nodes(&nodes);
            let packing = async { pack_swarm(&traced).await };
            let (packed, ()) = tokio::try_join!(packing, platform.ready(screen))?;
            Ok((packed, names(&nodes)))
        }
    }
}

fn names(nodes: &[NodePlan]) -> Vec<String> {
    nodes.iter().map(|node| node.name.clone()).collect()
}
