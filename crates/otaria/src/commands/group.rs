//! `otaria group`: groups of devices, and those that follow from a query.

use std::fmt;

use clap::{Args, Subcommand};
use otaria_server::model::Group;
use serde::Serialize;

use crate::Context;
use crate::client::ServerArgs;

/// List groups of devices, give one a query, or remove one.
///
/// A device is in a group if it was put there (`otaria device ID --groups`), or if it matches the group's query.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria group list
  otaria group set old-berlin 'version < 1.2 and tag:site=berlin and chip:esp32c3'
  otaria group remove old-berlin")]
pub(crate) struct Groups {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List all groups.
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make a group of the devices that match a query, now and later.
    Set {
        /// Its name.
        name: String,
        /// The query; docs/ROLLOUTS.md has the language.
        query: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Remove a group. Its devices stay.
    Remove {
        /// Its name.
        name: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

impl Groups {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        match self.what {
            What::List { server } => ctx.output.result(&List(server.client()?.groups()?)),
            What::Set {
                name,
                query,
                server,
            } => {
                let group = server.client()?.set_group_query(&name, &query)?;
                ctx.output.result(&List(vec![group]))
            }
            What::Remove { name, server } => {
                server.client()?.remove_group(&name)?;
                ctx.output.result(&Removed { removed: name })
            }
        }
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<Group>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("There is no group yet.");
        }
        writeln!(f, "{:<24} {:>8}  QUERY", "GROUP", "DEVICES")?;
        for group in &self.0 {
            let query = group.query.as_deref().unwrap_or("-");
            writeln!(f, "{:<24} {:>8}  {query}", group.name, group.devices)?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Removed {
    removed: String,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: removed", self.removed)
    }
}
