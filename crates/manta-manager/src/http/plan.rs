//! What a swarm would do, told before anything runs; checked by the very code that a submission passes.
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::StatusCode;
use manta_api::{LimitsView, PlanRequest, PlanView, RefusedView, TaskPlanView, UploadPlanView, WaitingNode, version};
use manta_engine::{Plan, TaskPlan, image_matches};
use manta_types::{NodeName, Quorum, Resources, SwarmSpec, TaskSpec, limits};

use super::call::{Answer, Call, json, parse};
use crate::app::App;
use crate::content::{Checked, Content, MISSING_NAMED_MAX, check};
use crate::orchestrator::View;
use crate::submit::code_of;

pub(super) async fn plan(app: App, mut call: Call) -> Answer {
    let PlanRequest { submission, manifests } = parse("request", &call.bytes().await?)?;
    let Checked { spec, content, .. } = check(&app, submission, manifests).await?;
    let planned = app.handle.ask(move |view| {
        let plan = view.engine.plan(view.now.monotonic, &spec);
        show(view, &spec, plan, &content)
    });
    json(StatusCode::OK, &planned.await?)
}

fn show(view: &View<'_>, spec: &Arc<SwarmSpec>, plan: Plan, content: &Content) -> PlanView {
    let refused = plan.refusals.into_iter().map(|refusal| RefusedView {
        code: code_of(&refusal).code().to_owned(),
        task: refusal.task,
        message: refusal.message,
        hint: refusal.hint,
    });
    let refused: Vec<_> = refused.collect();
    PlanView {
        schema_version: version::SCHEMA_VERSION,
        name: spec.name.clone(),
        possible: refused.is_empty(),
        max_iteration: spec.iterations_max.map(NonZeroU32::get),
        nodes: view.engine.nodes().map(|node| node.name().to_string()).collect(),
        tasks: plan.tasks.into_iter().map(|task| show_task(view, spec, task, content)).collect(),
        refused,
        upload: upload(content),
    }
}

fn show_task(view: &View<'_>, spec: &SwarmSpec, plan: TaskPlan, content: &Content) -> TaskPlanView {
    let task = &spec.tasks[plan.task];
    let names = |nodes: &[NodeName]| nodes.iter().map(ToString::to_string).collect();
    let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let cause = |reason: manta_engine::NodeReason| WaitingNode {
        node: reason.node.to_string(),
        cause: reason.cause,
        change: reason.change,
    };
    TaskPlanView {
        task: task.alias.clone(),
        after: task.after.iter().map(|before| spec.tasks[*before].alias.clone()).collect(),
        module: task.module.clone(),
        version: task.version.clone(),
        bundle: task.bundle,
        image: task.image.clone(),
        image_warning: image_warning(view, &task.image, &plan.eligible),
        datasets: task.datasets.clone(),
        labels: task.labels.clone(),
        count: plan.count.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        nodes: names(&plan.nodes),
        limits: limits_of(view, task, &plan.eligible),
        eligible: names(&plan.eligible),
        placement: plan.placement,
        ineligible: plan.ineligible.into_iter().map(cause).collect(),
        waits: plan.waits,
        retries: task.policy.retries,
        timeout_ms: task.policy.timeout.map(ms),
        deadline_ms: task.policy.deadline.map(ms),
        quorum: match task.policy.quorum {
            Quorum::All => "all but the excused".to_owned(),
            Quorum::Count(count) => count.to_string(),
            Quorum::Share(share) => format!("{} % of its nodes", (share * 100.0).round()),
        },
        bundle_bytes: content.bundle_bytes.get(&task.bundle).copied().flatten(),
    }
}

/// Says which nodes have another image of that name than the rest.
fn image_warning(view: &View<'_>, image: &str, eligible: &[NodeName]) -> Option<String> {
    const NODES_NAMED_MAX: usize = 3;
    let mut holders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, node) in eligible.iter().filter_map(|name| view.nodes.get_key_value(name)) {
        if let Some((_, digest)) =
            node.profile.image_digests.iter().find(|(known, _)| image_matches(image, std::slice::from_ref(known)))
        {
            holders.entry(digest).or_default().push(name.as_str());
        }
    }
    if holders.len() < 2 {
        return None;
    }
    let told = holders.iter().map(|(digest, nodes)| {
        let what = match digest.strip_prefix("host:") {
            Some(fingerprint) => format!("their own Python {}", fingerprint.chars().take(12).collect::<String>()),
            None => digest.chars().take(19).collect(),
        };
        let more = nodes.len().saturating_sub(NODES_NAMED_MAX);
        let named = nodes[..nodes.len() - more].join(", ");
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{what} on {named}{rest}")
    });
    let told: Vec<String> = told.collect();
    Some(format!("`{image}` is not the same everywhere: {}", told.join("; ")))
}

/// What an attempt may use: what was asked for, and for the rest what a node gives by default.
fn limits_of(view: &View<'_>, task: &TaskSpec, eligible: &[NodeName]) -> LimitsView {
    let Resources { cpu, memory_bytes, tmp_bytes, pids, gpu_count, gpu_memory_bytes } = task.resources;
    let able = view.engine.nodes().filter(|node| eligible.contains(node.name())).map(|node| node.description());
    let smallest = able.map(|node| limits::memory_share(node.memory_bytes, node.slots)).min();
    LimitsView {
        cpu: cpu.unwrap_or(1.0),
        memory_bytes: memory_bytes.or(smallest).unwrap_or(limits::MEMORY_BYTES_DEFAULT),
        tmp_bytes: tmp_bytes.unwrap_or(limits::TMP_BYTES_DEFAULT),
        pids: pids.unwrap_or(limits::PIDS_DEFAULT),
        gpu_count,
        gpu_memory_bytes,
    }
}

fn upload(content: &Content) -> UploadPlanView {
    let missing = || content.missing.values();
    UploadPlanView {
        blobs: u32::try_from(content.missing.len()).unwrap_or(u32::MAX),
        bytes: missing().filter_map(|missing| missing.size).sum(),
        is_partial: missing().any(|missing| missing.size.is_none()),
        what: missing().take(MISSING_NAMED_MAX).map(|missing| missing.what.clone()).collect(),
    }
}
