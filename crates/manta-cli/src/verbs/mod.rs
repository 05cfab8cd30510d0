//! One file per verb; this one only hands over.
use std::process::ExitCode;

use crate::cli::{Cli, ManagerVerb, NodeVerb, Verb};
use crate::out;
use crate::report::Failure;

pub(crate) mod audit;
pub(crate) mod change;
pub(crate) mod cluster;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod demo;
pub(crate) mod deploy;
pub(crate) mod doctor;
mod doctor_engines;
mod doctor_site;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod image;
pub(crate) mod key;
pub(crate) mod limits;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod manager_data;
pub(crate) mod manager_run;
pub(crate) mod module;
pub(crate) mod new;
pub(crate) mod node_audit;
pub(crate) mod node_data;
pub(crate) mod node_duty;
pub(crate) mod node_join;
pub(crate) mod node_label;
pub(crate) mod node_ls;
pub(crate) mod node_run;
pub(crate) mod node_show;
pub(crate) mod node_token;
pub(crate) mod node_upgrade;
pub(crate) mod plan;
pub(crate) mod quota;
pub(crate) mod replay;
pub(crate) mod results;
pub(crate) mod rollout;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod takeover;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod user;
pub(crate) mod wait;
pub(crate) mod whoami;
pub(crate) mod why;

/// Does what the command line says; the exit code is the outcome.
pub(crate) fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let form = cli.form();
    match cli.verb {
        Verb::Demo(args) => block_on(demo::main(args, form)),
        Verb::Run(args) => block_on(run::main(args, form)),
        Verb::Plan(args) => block_on(plan::main(args, form)),
        Verb::Deploy(args) => block_on(deploy::main(args, form)),
        Verb::Ls(args) => block_on(ls::main(args, form)),
        Verb::Show(args) => block_on(show::main(args, form)),
        Verb::Logs(args) => block_on(logs::main(args, form)),
        Verb::Export(args) => block_on(export::main(args, form)),
        Verb::Results(args) => block_on(results::main(args, form)),
        Verb::Wait(args) => block_on(wait::main(args, form)),
        Verb::Top(args) => block_on(top::main(args, form)),
        Verb::Replay(args) => block_on(replay::main(args, form)),
        Verb::Why(args) => block_on(why::main(args, form)),
        Verb::Events(args) => block_on(events::main(args, form)),
        Verb::Pause(args) => block_on(change::main(args, form, change::To::Paused)),
        Verb::Resume(args) => block_on(change::main(args, form, change::To::Running)),
        Verb::Retry(args) => block_on(change::main(args, form, change::To::Retried)),
        Verb::Stop(args) => block_on(change::main(args, form, change::To::Stopped)),
        Verb::New(args) => new::main(&args, form),
        Verb::Doctor(args) => doctor::main(&args, form),
        Verb::Manager(ManagerVerb::Run(args)) => block_on(manager_run::main(args, form)),
        Verb::Manager(ManagerVerb::Backup(args)) => manager_data::backup(&args, form),
        Verb::Manager(ManagerVerb::Restore(args)) => manager_data::restore(&args, form),
        Verb::Manager(ManagerVerb::Scrub(args)) => manager_data::scrub(&args, form),
        Verb::Node(NodeVerb::Run(args)) => node_run::main(*args),
        Verb::Node(NodeVerb::Join(args)) => node_join::main(*args, form),
        Verb::Node(NodeVerb::Token(args)) => block_on(node_token::main(args, form)),
        Verb::Node(NodeVerb::Drain(args)) => block_on(node_duty::drain(args, form)),
        Verb::Node(NodeVerb::Resume(args)) => block_on(node_duty::resume(args, form)),
        Verb::Node(NodeVerb::Revoke(args)) => block_on(node_duty::revoke(args, form)),
        Verb::Node(NodeVerb::Show(args)) => block_on(node_show::main(args, form)),
        Verb::Node(NodeVerb::Label(args)) => block_on(node_label::main(args, form)),
        Verb::Node(NodeVerb::Cordon(args)) => block_on(node_duty::cordon(args, form)),
        Verb::Node(NodeVerb::Rm(args)) => block_on(node_duty::remove(args, form)),
        Verb::Node(NodeVerb::Data(verb)) => block_on(node_data::main(verb, form)),
        Verb::Node(NodeVerb::Upgrade(args)) => block_on(node_upgrade::main(args, form)),
        Verb::Node(NodeVerb::Audit(args)) => node_audit::main(&args, form),
        Verb::Node(NodeVerb::Ls(args)) => block_on(node_ls::main(args, form)),
        Verb::Image(verb) => image::main(verb, form),
        Verb::Module(verb) => module::main(verb, form),
        Verb::Key(verb) => key::main(verb, form),
        Verb::Rollout(verb) => rollout::main(verb, form),
        Verb::Rollback(args) => block_on(rollout::back::main(args, form)),
        Verb::Cluster(verb) => cluster::main(verb, form),
        Verb::User(verb) => user::main(verb, form),
        Verb::Token(verb) => token::main(verb, form),
        Verb::Quota(verb) => quota::main(verb, form),
        Verb::Limits(args) => limits::main(&args, form),
        Verb::Login(args) => block_on(login::main(args, form)),
        Verb::Logout(args) => block_on(login::logout(args, form)),
        Verb::Whoami(args) => block_on(whoami::main(args, form)),
        Verb::Audit(args) => block_on(audit::main(args, form)),
        Verb::Context(verb) => context::main(verb, form),
        Verb::Config(verb) => config::main(&verb, form),
        Verb::Explain(args) => explain::main(&args, form),
        Verb::Completions(args) => completions::main(&args),
        Verb::Errors => out::put(&manta_api::explain::reference()).map(|()| ExitCode::SUCCESS),
        Verb::Reference => out::put(&crate::reference::markdown()).map(|()| ExitCode::SUCCESS),
        Verb::States => out::put(&manta_types::state::reference()).map(|()| ExitCode::SUCCESS),
        Verb::Access => out::put(&manta_manager::access()).map(|()| ExitCode::SUCCESS),
        Verb::OpenApi => out::put(&manta_manager::openapi()).map(|()| ExitCode::SUCCESS),
    }
}

/// Runs a verb on a runtime that is gone at once when the verb is done.
pub(crate) fn block_on<T>(verb: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(format!("the runtime cannot start: {error}")))?;
    let outcome = runtime.block_on(verb);
    runtime.shutdown_background();
    outcome
}
