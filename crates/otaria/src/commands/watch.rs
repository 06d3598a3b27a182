//! `otaria watch`: live progress.

use clap::Args;

use crate::Context;
use crate::client::ServerArgs;
use crate::commands::publish::conclude;
use crate::watch;

/// Watch updates as they happen, a bar for each device.
///
/// With --job it ends when no device of the job has anything left to do: with 0 if all of them confirmed it, else with 1. With
/// --json it prints what happens, one JSON object a line.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria watch
  otaria watch --job 1.1.0-kitchen")]
pub(crate) struct Watch {
    /// Only this job, until its end.
    #[arg(long)]
    job: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

impl Watch {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let client = self.server.client()?;
        match &self.job {
            Some(job) => conclude(ctx, &watch::job(ctx, &client, job)?),
            None => watch::everything(ctx, &client),
        }
    }
}
