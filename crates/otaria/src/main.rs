//! `otaria`, the command-line program: one file a command, each of which parses, calls one function and prints.
//!
//! Exit codes: 0 done; 1 refused or failed, the reason is on standard error (and, with `--json`, in the document on
//! standard output); 2 wrong usage.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "clap prints these comments: their brackets say what may be left out"
)]
#![deny(unsafe_code)]

mod bars;
mod cli;
mod client;
mod commands;
mod demo;
mod heap;
mod login;
mod output;
mod passphrase;
mod report;
mod secret;
mod signer;
mod text;
mod timing;
mod watch;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::output::Output;

/// What every command is given besides its own arguments.
pub(crate) struct Context {
    /// Where results and notes go.
    pub(crate) output: Output,
}

fn main() -> ExitCode {
    // clap itself ends with 2 on wrong usage and with 0 after help and version.
    let cli = Cli::parse();
    let ctx = Context {
        output: Output::new(cli.json),
    };
    match cli.command.run(&ctx) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ctx.output.failure(&error),
    }
}
