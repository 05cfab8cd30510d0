//! `manta plan`: what a swarm would do, before anything runs.
use std::process::ExitCode;

use manta_api::{ErrorCode, PlanView, TaskPlanView};

use crate::report::{Failure, Form};
use crate::screen::{Screen, Show};
use crate::session::{self, Plan};
use crate::swarm_args::SwarmArgs;
use crate::table::Table;
use crate::text::{bytes, clean, count, one_line, seconds};
use crate::upload::pack_swarm;
use crate::{connection, data, out, shutdown};

/// Nodes that a line names; the rest is counted.
const NODES_NAMED: usize = 8;

/// Options of `manta plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    swarm: SwarmArgs,

    #[command(flatten)]
    nodes: data::NodeArgs,

    #[command(flatten)]
    connection: connection::ConnectionArgs,
}

/// Prints the plan; a swarm that would be refused ends with the first reason's code.
pub(crate) async fn main(args: Args, form: Form) -> Result<ExitCode, Failure> {
    let on_cluster = args.connection.names_manager();
    if on_cluster && args.nodes.is_given() {
        let failure = Failure::usage("--nodes, --node and --data mean nodes of this machine, but a manager is named");
        return Err(
            failure.hint("leave them out to plan on the manager's nodes, or leave --manager and MANTA_MANAGER out")
        );
    }
    let plan = if on_cluster { on_manager(&args).await? } else { on_this_machine(&args, form).await? };
    match form {
        Form::Json => out::put_json(&plan)?,
        Form::Text => out::put(&render(&plan, out::width(), on_cluster))?,
    }
    let Some(first) = plan.refused.first() else { return Ok(ExitCode::SUCCESS) };
    let message = format!("the swarm would be refused: {}", first.message);
    let code = ErrorCode::from_code(&first.code).unwrap_or(ErrorCode::NoNode);
    Err(Failure { hint: first.hint.clone(), ..Failure::new(code, message) })
}

async fn on_manager(args: &Args) -> Result<PlanView, Failure> {
    let client = args.connection.client()?;
    let temporary = tempfile::Builder::new().prefix("manta-").tempdir();
    let temporary =
        temporary.map_err(|error| Failure::internal(format!("no temporary folder can be made: {error}")))?;
    let traced = args.swarm.trace(temporary.path(), Some(&client)).await?;
    Ok(client.plan(&pack_swarm(&traced).await?.plan_request()).await?)
}

async fn on_this_machine(args: &Args, form: Form) -> Result<PlanView, Failure> {
    let ended = shutdown::listen(shutdown::Lifeline::None)?;
    let python = args.swarm.python()?;
    let plan = Plan {
        tracing: Box::new(move |folder| Box::pin(async move { args.swarm.trace(&folder, None).await })),
        nodes: args.nodes.nodes()?,
        max_iteration: None,
        attempts_max: None,
        python,
        data_dir: None,
        out: None,
    };
    session::foretell(plan, &Screen::new(form, Show::All), ended).await
}

fn render(plan: &PlanView, width: Option<usize>, on_cluster: bool) -> String {
    let whose = if on_cluster { "the cluster" } else { "this machine" };
    let iterations = match plan.max_iteration {
        Some(most) => count(most as usize, "iteration"),
        None => "one iteration, and again when a task asks for it".to_owned(),
    };
    let (tasks, nodes) = (count(plan.tasks.len(), "task"), count(plan.nodes.len(), "node"));
    let mut text = format!("{}: {tasks}, {iterations}, on {nodes} of {whose}\n\n", clean(&plan.name));
    let mut table = Table::new(&["TASK", "NODES", "MODULE", "BUNDLE", "AFTER"]);
    for task in &plan.tasks {
        let nodes = task.count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        let module = one_line(&format!("{} {}", task.module, short(&task.version)), 30);
        let after = if task.after.is_empty() { "-".to_owned() } else { one_line(&task.after.join(", "), 30) };
        table.row(vec![one_line(&task.task, 24), nodes, module, task.bundle.short(), after]);
    }
    text.push_str(&table.render(width));
    plan.tasks.iter().for_each(|task| text.push_str(&render_task(task)));
    text.push_str(&format!("\n{}\n", upload(plan)));
    for refused in &plan.refused {
        let hint = refused.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        text.push_str(&format!("refused: {}{}\n", clean(&refused.message), clean(&hint)));
    }
    text
}

/// A version without most of the digest that stands for one.
fn short(version: &str) -> String {
    match version.split_once('+') {
        Some((release, build)) => format!("{release}+{}", build.chars().take(8).collect::<String>()),
        None => version.to_owned(),
    }
}

fn render_task(task: &TaskPlanView) -> String {
    let mut text = format!("\n{}: {}", clean(&task.task), clean(&task.placement));
    if !task.nodes.is_empty() {
        text.push_str(&format!(": {}", named(&task.nodes)));
    }
    if let Some(waits) = &task.waits {
        text.push_str(&format!("; it would wait: {}", clean(waits)));
    }
    let limits = &task.limits;
    let memory = bytes(limits.memory_bytes);
    let gpus = match (limits.gpu_count as usize, limits.gpu_memory_bytes) {
        (0, _) => String::new(),
        (gpus, None) => format!(", {}", count(gpus, "GPU")),
        (gpus, Some(part)) => {
            format!(", {} with {} of memory each (counted, not enforced)", count(gpus, "GPU"), bytes(part))
        }
    };
    text.push_str(&format!("\n  image     {}", clean(&task.image)));
    if let Some(warning) = &task.image_warning {
        text.push_str(&format!("\n  warning   {}", clean(warning)));
    }
    if !task.datasets.is_empty() {
        text.push_str(&format!("\n  datasets  {}", clean(&task.datasets.join(", "))));
    }
    let (tmp, pids) = (bytes(limits.tmp_bytes), limits.pids);
    text.push_str(&format!("\n  limits    {} CPU, {memory} memory, {tmp} scratch, {pids} processes{gpus}", limits.cpu));
    text.push_str(&format!("\n  closes    {}", closing(task)));
    let fetched = task.bundle_bytes.map_or_else(|| "an unknown number of bytes".to_owned(), bytes);
    text.push_str(&format!("\n  fetches   {fetched} of code per node, less what it has already\n"));
    for node in task.ineligible.iter().take(NODES_NAMED) {
        text.push_str(&format!("  not {}: {}\n", clean(&node.node), clean(&node.cause)));
    }
    if task.ineligible.len() > NODES_NAMED {
        text.push_str(&format!("  and {} more nodes not\n", task.ineligible.len() - NODES_NAMED));
    }
    text
}

/// When a task run closes: `all but the excused succeed; 2 attempts each; 30.00 s an attempt`.
fn closing(task: &TaskPlanView) -> String {
    let mut parts =
        vec![format!("when {} succeed", task.quorum), format!("{} each", count(task.retries as usize + 1, "attempt"))];
    parts.extend(task.timeout_ms.map(|ms| format!("{} an attempt", seconds(ms))));
    parts.extend(task.deadline_ms.map(|ms| format!("after {} with what it has", seconds(ms))));
    parts.join("; ")
}

fn named(nodes: &[String]) -> String {
    let shown = clean(&nodes.iter().take(NODES_NAMED).cloned().collect::<Vec<_>>().join(", "));
    match nodes.len().saturating_sub(NODES_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn upload(plan: &PlanView) -> String {
    let upload = &plan.upload;
    if upload.blobs == 0 {
        return "nothing has to be sent to the manager".to_owned();
    }
    let least = if upload.is_partial { "at least " } else { "" };
    let what = clean(&upload.what.join(", "));
    let more = (upload.blobs as usize).saturating_sub(upload.what.len());
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("sends {least}{} to the manager: {what}{rest}", bytes(upload.bytes))
}
