//! `manta completions`: a script by which a shell completes this program's commands.
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::out;
use crate::report::Failure;

/// Options of `manta completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "To keep it:\n  \
    bash  manta completions bash > ~/.local/share/bash-completion/completions/manta\n  \
    zsh   manta completions zsh > ~/.zfunc/_manta    (with ~/.zfunc in $fpath)\n  \
    fish  manta completions fish > ~/.config/fish/completions/manta.fish")]
pub(crate) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: For,
}

/// Shells that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum For {
    /// GNU Bash.
    Bash,
    /// The Z shell.
    Zsh,
    /// The friendly interactive shell.
    Fish,
}

/// Prints the script.
pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let shell = match args.shell {
        For::Bash => Shell::Bash,
        For::Zsh => Shell::Zsh,
        For::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(Cli::command()), "manta", &mut script);
    out::put(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// The same command without its hidden subcommands, which nobody is to complete.
fn visible(command: clap::Command) -> clap::Command {
    let shown: Vec<clap::Command> =
        command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned().map(visible).collect();
    let mut bare = clap::Command::new("manta").args(command.get_arguments().cloned()).subcommands(shown);
    bare = bare.name(command.get_name().to_owned());
    match command.get_about() {
        Some(about) => bare.about(about.clone()),
        None => bare,
    }
}
