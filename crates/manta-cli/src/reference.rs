//! The help of every command as one document, made by walking the command line: what `docs/reference/cli.md` holds.
use clap::{Command, CommandFactory};

use crate::cli::Cli;

/// Columns of the help in the document, whatever the terminal.
const WIDTH: usize = 100;

/// Every command that is not hidden, with its help as `--help` prints it (Markdown).
pub(crate) fn markdown() -> String {
    let mut command = Cli::command().term_width(WIDTH);
    command.build();
    let mut text = String::from(
        "# Command line\n\n\
         The help of every command, as `manta VERB --help` prints it; this page is generated from the program. What holds for\n\
         all of them: data on standard output, everything else on standard error; `--json` for programs; exit codes and error\n\
         codes as in [errors](errors.md); settings as in [configuration](../guides/configuration.md).\n",
    );
    walk(&command, "manta", &mut text);
    text
}

fn walk(command: &Command, name: &str, text: &mut String) {
    let help = command.clone().term_width(WIDTH).render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()));
    let shown = command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help");
    for inner in shown {
        walk(inner, &format!("{name} {}", inner.get_name()), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(command: &Command, name: &str, all: &mut Vec<String>) {
        all.push(name.to_owned());
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            names(inner, &format!("{name} {}", inner.get_name()), all);
        }
    }

    #[test]
    fn no_command_is_left_out_and_none_is_wider_than_said() {
        let text = markdown();
        let mut all = Vec::new();
        names(&Cli::command(), "manta", &mut all);
        assert!(all.len() > 40, "{}", all.len());
        for name in &all {
            assert!(text.contains(&format!("\n## {name}\n")), "{name}");
        }
        assert!(!text.contains("## manta __") && !text.contains("\n  __"), "a hidden command is shown");
        assert!(text.lines().all(|line| line.chars().count() <= 120), "a line is too long");
    }

    /// Every command says what it does, and every option too: help is read when nothing else is at hand.
    #[test]
    fn every_command_and_option_says_what_it_is() {
        fn check(command: &Command, name: &str) {
            assert!(command.get_about().is_some(), "{name} says nothing");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{name}: {} says nothing", argument.get_id());
            }
            for inner in command.get_subcommands() {
                check(inner, &format!("{name} {}", inner.get_name()));
            }
        }
        check(&Cli::command(), "manta");
    }
}
