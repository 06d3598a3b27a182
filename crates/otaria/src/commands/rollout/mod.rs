//! `otaria rollout`: a package brought to many devices, wave by wave.

mod back;
mod file;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use otaria_server::model::{PlanRequest, RolloutAction, RolloutState};

use self::back::Back;
use self::file::RolloutFile;
use self::show::{Devices, List, Planned, Status};
use crate::Context;
use crate::client::ServerArgs;
use crate::output::Negative;

/// How often a rollout that is watched is asked for.
const LOOK: Duration = Duration::from_secs(1);

/// Bring a package to many devices, wave by wave; it stops by itself when too many fail.
///
/// docs/ROLLOUTS.md says how to write the file.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria rollout plan pump-1.3.0.toml
  otaria rollout apply pump-1.3.0.toml
  otaria rollout status pump-1.3.0 --watch
  otaria rollout approve pump-1.3.0
  otaria rollout back pump-1.3.0 --package pump-1.2.0.otaria --key release.pem")]
pub(crate) struct Rollout {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A dry run: who gets what, when, how many bytes, and how long it takes. Changes nothing.
    Plan {
        /// The rollout, a TOML file.
        file: PathBuf,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Upload the package, and begin. The same file again changes nothing.
    Apply {
        /// The rollout, a TOML file.
        file: PathBuf,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List rollouts, newest first.
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show how far a rollout is, and why it stands if it does.
    Status {
        /// The rollout.
        id: String,
        /// Watch until it stands or is done: 0 if all its devices have confirmed or left, else 1.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// List a rollout's devices, and why those failed that did.
    Devices {
        /// The rollout.
        id: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Hold it: nobody new begins, whoever has begun finishes.
    Pause(Told),
    /// Go on after a pause, or in spite of a halt: failures so far are no reason to halt any more.
    Resume(Told),
    /// Approve the gate of the wave that is under way.
    Approve(Told),
    /// End it: whoever has not begun the trial is called back.
    Cancel(Told),
    /// Offer the package once more to all that have failed.
    RetryFailed(Told),
    Back(Box<Back>),
}

#[derive(Debug, Args)]
struct Told {
    /// The rollout.
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

impl Rollout {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let (told, action) = match self.what {
            What::Plan { file, server } => {
                let file = RolloutFile::read(&file)?;
                let request = PlanRequest {
                    spec: file.spec,
                    package: file.package.map(|package| package.facts),
                };
                let plan = server.client()?.plan_rollout(&request)?;
                return ctx.output.result(&Planned(plan));
            }
            What::Apply { file, server } => {
                let client = server.client()?;
                let file = RolloutFile::read(&file)?;
                if let Some(package) = &file.package {
                    client.upload_file(&package.path)?;
                }
                return ctx
                    .output
                    .result(&Status(client.create_rollout(&file.spec)?));
            }
            What::List { server } => return ctx.output.result(&List(server.client()?.rollouts()?)),
            What::Status { id, watch, server } => return status(ctx, &id, watch, &server),
            What::Devices { id, server } => {
                let devices = server.client()?.rollout_devices(&id)?;
                return ctx.output.result(&Devices(devices));
            }
            What::Back(back) => return back.run(ctx),
            What::Pause(told) => (told, RolloutAction::Pause),
            What::Resume(told) => (told, RolloutAction::Resume),
            What::Approve(told) => (told, RolloutAction::Approve),
            What::Cancel(told) => (told, RolloutAction::Cancel),
            What::RetryFailed(told) => (told, RolloutAction::RetryFailed),
        };
        let rollout = told.server.client()?.tell_rollout(&told.id, action)?;
        ctx.output.result(&Status(rollout))
    }
}

fn status(ctx: &Context, id: &str, watch: bool, server: &ServerArgs) -> anyhow::Result<()> {
    let client = server.client()?;
    let mut before = None;
    loop {
        let rollout = client.rollout(id)?;
        if !watch {
            return ctx.output.result(&Status(rollout));
        }
        if before.as_ref() != Some(&rollout) {
            ctx.output.json_line(&rollout)?;
            ctx.output.note(show::line(&rollout));
        }
        let stands = match rollout.state {
            RolloutState::Running | RolloutState::Paused => false,
            RolloutState::Halted | RolloutState::Cancelled | RolloutState::Done => true,
        };
        if stands {
            if !ctx.output.is_json() {
                ctx.output.result(&Status(rollout.clone()))?;
            }
            let good = rollout.state == RolloutState::Done && rollout.total.failed == 0;
            return if good { Ok(()) } else { Err(Negative.into()) };
        }
        before = Some(rollout);
        std::thread::sleep(LOOK);
    }
}
