//! `otaria device tag|note|history`: what operators say of a device, and what became of its updates.

use std::fmt;

use clap::Args;
use otaria_server::model::{TagChanges, Update};
use serde::Serialize;

use crate::Context;
use crate::client::ServerArgs;
use crate::commands::device::Shown;
use crate::output::UsageError;
use crate::text::utc;

/// Set and take away a device's tags, by which queries choose devices.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria device tag pump-7 site=berlin tz=Europe/Berlin lab
  otaria device tag pump-7 --remove lab")]
pub(crate) struct Tag {
    /// The device.
    id: String,

    /// Tags to set: a name, or a name and a value.
    #[arg(value_name = "NAME[=VALUE]", required_unless_present = "remove")]
    tags: Vec<String>,

    /// Tags to take away.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    remove: Vec<String>,

    #[command(flatten)]
    server: ServerArgs,
}

impl Tag {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let pair = |tag: &String| match tag.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (tag.clone(), String::new()),
        };
        let changes = TagChanges {
            set: self.tags.iter().map(pair).collect(),
            remove: self.remove,
        };
        if let Some(twice) = changes
            .remove
            .iter()
            .find(|name| changes.set.contains_key(*name))
        {
            return Err(UsageError(format!("tag '{twice}' is set and removed at once")).into());
        }
        let device = self.server.client()?.change_tags(&self.id, &changes)?;
        ctx.output.result(&Shown(device))
    }
}

/// Note something of a device, for people. Replaces the note that is there.
#[derive(Debug, Args)]
pub(crate) struct Note {
    /// The device.
    id: String,

    /// The note; empty for none.
    text: String,

    #[command(flatten)]
    server: ServerArgs,
}

impl Note {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let device = self.server.client()?.set_note(&self.id, &self.text)?;
        ctx.output.result(&Shown(device))
    }
}

/// Show a device's updates, newest first, with what happened in each.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The device.
    id: String,

    #[command(flatten)]
    server: ServerArgs,
}

impl History {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let updates = self.server.client()?.updates(&self.id)?;
        ctx.output.result(&Updates(updates))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Updates(Vec<Update>);

impl fmt::Display for Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("No update was ever declared for it.");
        }
        let time = |at: i64| utc(u64::try_from(at).unwrap_or_default());
        for update in &self.0 {
            writeln!(f, "{}  {}  {}", update.version, update.status, update.job)?;
            for step in &update.steps {
                let what = step
                    .event
                    .clone()
                    .unwrap_or_else(|| step.status.to_string());
                let why = [&step.reason, &step.text]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(": ");
                writeln!(f, "  {}  {what:<16} {why}", time(step.at))?;
            }
        }
        Ok(())
    }
}
