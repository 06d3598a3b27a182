//! `otaria completions`: what a shell needs to complete a command line.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::output::print;

/// Print a script that makes your shell complete commands, options and their values.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria completions bash > ~/.local/share/bash-completion/completions/otaria
  otaria completions zsh > \"${fpath[1]}/_otaria\"
  otaria completions fish > ~/.config/fish/completions/otaria.fish
  otaria completions powershell >> $PROFILE")]
pub(crate) struct Completions {
    /// For which shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "otaria", &mut script);
        // A script and nothing but a script, with --json, too: it is for a shell.
        print(std::str::from_utf8(&script)?)
    }
}
