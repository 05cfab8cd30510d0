//! The command line: every verb, and what holds for all of them.
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use manta_api::ErrorCode;

use crate::out;
use crate::report::{Failure, Form};
use crate::verbs::{
    audit, change, cluster, completions, config, context, demo, deploy, doctor, events, explain, export, image, key,
    limits, login, logs, ls, manager_data, manager_run, module, new, node_audit, node_data, node_duty, node_join,
    node_label, node_ls, node_run, node_show, node_token, node_upgrade, plan, quota, replay, results, rollout, run,
    show, token, top, user, wait, whoami, why,
};

/// Run federated learning and analytics on nodes that keep their data.
#[derive(Debug, Parser)]
#[command(name = "manta", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Print JSON: data on standard output, errors as one object on standard error.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Say nothing on standard error but errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    /// Say on standard error what is done: each request with its answer; twice, all that the program notes.
    #[arg(long, short, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What the user wants.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// See it work: five nodes on this machine learn to read digits together.
    Demo(demo::Args),
    /// Begin a swarm of your own from an example.
    New(new::Args),
    /// Run a swarm on this machine: a manager and nodes of its own, gone when it ends.
    Run(run::Args),
    /// Say what a swarm would do before anything runs: on a manager's nodes, or on some of its own.
    Plan(plan::Args),
    /// Submit a swarm to a manager and return at once.
    Deploy(deploy::Args),
    /// List swarms.
    Ls(ls::Args),
    /// Show one swarm: state, tasks, what waits and why.
    Show(show::Args),
    /// Say why a swarm, a task of it or an attempt is as it is, and what would change it.
    Why(why::Args),
    /// Run one past attempt again, and say whether its outputs are the same to the bit.
    Replay(replay::Args),
    /// Print a swarm's history: what happened, to whom, and what it follows from.
    Events(events::Args),
    /// Print a swarm's log lines.
    Logs(logs::Args),
    /// Send a swarm's metrics to TensorBoard, MLflow or Weights & Biases.
    Export(export::Args),
    /// Wait until a swarm is over; the exit code is its outcome.
    Wait(wait::Args),
    /// Watch the nodes and what runs on them.
    Top(top::Args),
    /// List what a swarm published, or bring it here.
    Results(results::Args),
    /// Hold a swarm: what runs may end, nothing new starts.
    Pause(change::Args),
    /// Let a paused swarm go on.
    Resume(change::Args),
    /// Let a swarm that failed go on as a new one, from the task that failed.
    Retry(change::Args),
    /// Bring another version of a task's module to a running swarm, step by step.
    #[command(subcommand)]
    Rollout(rollout::Verb),
    /// Run the version again that a task ran before its last rollout that completed.
    Rollback(rollout::back::Args),
    /// End a swarm.
    Stop(change::Args),
    /// Say what this machine can contain, what is missing for more, and how its disk, agent and manager are.
    Doctor(doctor::Args),
    /// The control plane.
    #[command(subcommand)]
    Manager(ManagerVerb),
    /// The agent that runs tasks beside the data.
    #[command(subcommand)]
    Node(NodeVerb),
    /// The environments that tasks run in.
    #[command(subcommand)]
    Image(image::Verb),
    /// Modules as packages: packed, compared, published, found.
    #[command(subcommand)]
    Module(module::Verb),
    /// The keys with which you sign modules.
    #[command(subcommand)]
    Key(key::Verb),
    /// The clusters of a manager: isolated groups of nodes, swarms, modules and users.
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// The people and programs of a cluster, and what each may do.
    #[command(subcommand)]
    User(user::Verb),
    /// The tokens with which people and programs prove who they are.
    #[command(subcommand)]
    Token(token::Verb),
    /// What the cluster may use of its manager, and what it uses.
    #[command(subcommand)]
    Quota(quota::Verb),
    /// Print every limit that is built in.
    Limits(limits::Args),
    /// Sign in at the issuer that a context's manager trusts; what you get is a token of your own, kept for the context.
    Login(login::Args),
    /// Sign out of a context: its token counts no more, here and at the manager.
    Logout(login::LogoutArgs),
    /// Say whose token you have, and what it may do.
    Whoami(whoami::Args),
    /// Print what was done to a cluster and what was denied: when, by whom, from where.
    Audit(audit::Args),
    /// Named managers, and which of them commands speak to.
    #[command(subcommand)]
    Context(context::Verb),
    /// What holds for commands, and where each value comes from.
    #[command(subcommand)]
    Config(config::Verb),
    /// Say what an error code means and what to do about it; without one, list them all.
    Explain(explain::Args),
    /// Print a script that completes commands, options and their values in a shell.
    Completions(completions::Args),
    /// Print the public API's description (OpenAPI).
    #[command(name = "__openapi", hide = true)]
    OpenApi,
    /// Print who may use which route (Markdown).
    #[command(name = "__access", hide = true)]
    Access,
    /// Print the states of all entities and what follows from what (Markdown).
    #[command(name = "__states", hide = true)]
    States,
    /// Print all pages of errors (Markdown).
    #[command(name = "__errors", hide = true)]
    Errors,
    /// Print the help of every command (Markdown).
    #[command(name = "__cli", hide = true)]
    Reference,
}

/// Verbs of the manager.
#[derive(Debug, Subcommand)]
pub(crate) enum ManagerVerb {
    /// Run a manager in the foreground.
    Run(manager_run::Args),
    /// Copy a data directory, whether a manager uses it or not.
    Backup(manager_data::BackupArgs),
    /// Make a data directory of a backup.
    Restore(manager_data::RestoreArgs),
    /// Read and check everything in a data directory.
    Scrub(manager_data::ScrubArgs),
}

/// Verbs of nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// Run a node's agent in the foreground.
    Run(Box<node_run::RunArgs>),
    /// Join a manager with a token, and run this node's agent; once it has joined, only run it.
    Join(Box<node_join::JoinArgs>),
    /// Make a token that lets one node join, and print the node's command.
    Token(node_token::Args),
    /// List the nodes of the cluster.
    Ls(node_ls::Args),
    /// Show one node: health, versions, datasets and what they look like, images, labels, policy, what runs, what happened.
    Show(node_show::Args),
    /// Give a node labels and take others from it.
    Label(node_label::Args),
    /// Let nothing new come to a node; what runs there goes on.
    Cordon(node_duty::Args),
    /// Let go of a node that is gone or revoked.
    Rm(node_duty::Args),
    /// The datasets of the agent on this machine, while it runs.
    #[command(subcommand)]
    Data(node_data::Verb),
    /// Put another program, of another release, in the place of the agent on this machine; what runs there goes on.
    Upgrade(node_upgrade::Args),
    /// What ran on this machine, with which datasets, what was refused, and what left: the node's own record.
    Audit(node_audit::Args),
    /// Take a node out of use: what runs there may end, nothing new comes.
    Drain(node_duty::DrainArgs),
    /// Take a node into use again.
    Resume(node_duty::Args),
    /// Take a node's identity away, for good: what runs there counts no more.
    Revoke(node_duty::Args),
}

impl Cli {
    /// Whether the command keeps a log of its own, in a form of its own.
    pub(crate) fn keeps_log(&self) -> bool {
        matches!(self.verb, Verb::Manager(ManagerVerb::Run(_)) | Verb::Node(NodeVerb::Run(_) | NodeVerb::Join(_)))
    }

    /// Whether answers are for people or for programs.
    pub(crate) fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }
}

/// Reads the command line; what needs no command (help, version, mistakes) is answered here.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    let error = match Cli::try_parse() {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    let json = std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json");
    let text = error.render();
    let (plain, painted) = (text.to_string(), text.ansi().to_string());
    // What is no mistake, as help and version, does not begin so.
    let Some(mistake) = plain.strip_prefix("error: ") else {
        if json && error.exit_code() == 2 {
            return Err(Failure::usage("no command is given").hint("see `manta --help`").report(Form::Json));
        }
        // A reader of the help that went away is no error.
        let _ = error.print();
        return Err(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
    };
    if json {
        let sentence = mistake.lines().next().unwrap_or_default();
        return Err(Failure::usage(sentence).hint("see `manta --help`").report(Form::Json));
    }
    let told = if out::colours() { painted } else { plain };
    let code = format!("error[{}]:", ErrorCode::BadArgument.code());
    out::complain(told.replacen("error:", &code, 1).trim_end());
    Err(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
