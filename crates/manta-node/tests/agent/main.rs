//! The whole agent against a scripted manager: real sandboxes, real Python, real sockets.
//!
//! The tests have a `main` of their own because the launcher must be a process that can begin as nothing else:
//! `__launcher` makes this binary one, and `__agent` an agent that can be killed. Otherwise it answers what nextest and cargo ask of a test binary.
#![expect(clippy::unwrap_used, reason = "a test ends where its host fails it")]

mod cases;
mod manager;
mod module;
mod node;
mod policy;
mod process;
mod restarts;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "__launcher") {
        manta_sandbox::launcher_main();
    }
    if let [mode, dir, slots] = args.as_slice()
        && mode == "__agent"
    {
        return process::agent_main(dir.as_ref(), slots.parse().unwrap());
    }
    if args.iter().any(|arg| arg == "--list") {
        if !args.iter().any(|arg| arg == "--ignored") {
            all().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    for (name, case) in all() {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            println!("test {name} …");
            case();
        }
    }
    ExitCode::SUCCESS
}

fn all() -> impl Iterator<Item = &'static cases::Case> {
    cases::ALL.iter().chain(restarts::ALL).chain(policy::ALL)
}
