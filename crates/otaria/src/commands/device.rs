//! `otaria device`: one device, and the groups that it is in.

use std::fmt;

use clap::{Args, Subcommand};
use otaria_server::model;
use serde::Serialize;

use crate::Context;
use crate::client::ServerArgs;
use crate::commands::enroll::{Add, Revoke};
use crate::commands::registry::{History, Note, Tag};
use crate::timing::{Conditions, Phases};

/// Show one device: what it runs, how it is, and how far its update is; give it a certificate, or cut it off.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_long_help = "\
Examples:
  otaria device pump-7
  otaria device pump-7 --groups kitchen,canary
  otaria device pmup-7 --forget
  otaria device pump-7 --json
  otaria device tag pump-7 site=berlin tz=Europe/Berlin
  otaria device note pump-7 'behind the boiler'
  otaria device history pump-7
  otaria device add pump-7 --out certs
  otaria device revoke pump-7")]
pub(crate) struct Device {
    #[command(subcommand)]
    what: Option<What>,

    /// Its id.
    #[arg(required = true)]
    id: Option<String>,

    /// Put it into these groups, and out of all others; empty: out of all.
    #[arg(long, value_delimiter = ',', num_args = 0..)]
    groups: Option<Vec<String>>,

    /// Forget it, with its history and what is declared for it. One that still runs comes back by itself.
    #[arg(long, conflicts_with = "groups")]
    forget: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    Add(Box<Add>),
    Revoke(Revoke),
    Tag(Tag),
    Note(Note),
    History(History),
}

impl Device {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let id = match (self.what, self.id) {
            (Some(What::Add(add)), _) => return add.run(ctx),
            (Some(What::Revoke(revoke)), _) => return revoke.run(ctx),
            (Some(What::Tag(tag)), _) => return tag.run(ctx),
            (Some(What::Note(note)), _) => return note.run(ctx),
            (Some(What::History(history)), _) => return history.run(ctx),
            (None, id) => id.unwrap_or_default(),
        };
        let client = self.server.client()?;
        if self.forget {
            client.forget(&id)?;
            return ctx.output.result(&Forgotten { forgotten: id });
        }
        if let Some(groups) = &self.groups {
            client.set_groups(&id, groups)?;
        }
        ctx.output.result(&Shown(client.device(&id)?))
    }
}

#[derive(Serialize)]
struct Forgotten {
    forgotten: String,
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: forgotten", self.forgotten)
    }
}

#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Shown(pub(crate) model::Device);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.0;
        let mut row = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<14} {value}");
        row("device", &device.id)?;
        row("online", &device.online)?;
        row("groups", &device.all_groups().join(", "))?;
        if !device.tags.is_empty() {
            let tags = device
                .tags
                .iter()
                .map(|(name, value)| match value.as_str() {
                    "" => name.clone(),
                    value => format!("{name}={value}"),
                });
            row("tags", &tags.collect::<Vec<_>>().join(", "))?;
        }
        if !device.note.is_empty() {
            row("note", &device.note)?;
        }
        if let Some(state) = &device.state {
            row("product", &state.product)?;
            row("version", &state.version)?;
            row("image", &state.image_sha256)?;
            row(
                "chip",
                &format_args!(
                    "{} revision {}.{}",
                    state.chip,
                    state.chip_rev / 100,
                    state.chip_rev % 100
                ),
            )?;
            row("slot", &format_args!("ota_{}", state.slot))?;
            row(
                "boot",
                &format_args!(
                    "{} ({}), up {} s",
                    state.boot,
                    state.reset.name(),
                    state.uptime_s
                ),
            )?;
            row(
                "heap",
                &format_args!("{} B free, {} B at least", state.heap_free, state.heap_min),
            )?;
            if let Some(rssi) = state.rssi {
                row("signal", &format_args!("{rssi} dBm"))?;
            }
            row("phase", &state.phase.name())?;
            if let Some(trial) = &state.trial {
                row(
                    "trial",
                    &format_args!("{} boots, {} crashes", trial.boots, trial.crashes),
                )?;
            }
        }
        if let Some(wish) = &device.wish {
            row(
                "wished",
                &format_args!(
                    "{} from {}",
                    wish.version.as_deref().unwrap_or("an image"),
                    wish.url
                ),
            )?;
        }
        if let Some(assignment) = &device.assignment {
            row("job", &assignment.job)?;
            row("status", &assignment.status)?;
            if let Some(reason) = &assignment.reason {
                row(
                    "reason",
                    &format_args!("{reason} {}", assignment.text.as_deref().unwrap_or("")),
                )?;
            }
            if let Some(timing) = &assignment.timing {
                row("took", &Phases(timing))?;
                row("with", &Conditions(timing))?;
            }
        }
        Ok(())
    }
}
