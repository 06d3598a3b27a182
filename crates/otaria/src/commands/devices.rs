//! `otaria devices`: all devices that the server knows.

use std::fmt;

use clap::Args;
use otaria_server::model::Device;
use serde::Serialize;

use crate::Context;
use crate::client::ServerArgs;

/// List the devices that have reported to the server.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria devices
  otaria devices --group kitchen --json
  otaria devices --query 'version < 1.2 and tag:site=berlin and chip:esp32c3'
  otaria devices --query 'online and (rssi < -80 or heap_min < 20000)'")]
pub(crate) struct Devices {
    /// Only those of a group.
    #[arg(long)]
    group: Option<String>,

    /// Only those that match; docs/ROLLOUTS.md has the language.
    #[arg(long)]
    query: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

impl Devices {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        ctx.output.result(&List(
            self.server
                .client()?
                .devices(self.group.as_deref(), self.query.as_deref())?,
        ))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct List(Vec<Device>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("No device has reported yet.");
        }
        writeln!(
            f,
            "{:<24} {:<8} {:<14} {:<14} {:<11} GROUPS",
            "DEVICE", "ONLINE", "PRODUCT", "VERSION", "JOB"
        )?;
        for device in &self.0 {
            let state = device.state.as_ref();
            writeln!(
                f,
                "{:<24} {:<8} {:<14} {:<14} {:<11} {}",
                device.id,
                if device.online { "online" } else { "offline" },
                state.map_or("-", |state| state.product.as_str()),
                state.map_or("-", |state| state.version.as_str()),
                device
                    .assignment
                    .as_ref()
                    .map_or("-".to_owned(), |assignment| assignment.status.to_string()),
                device.all_groups().join(","),
            )?;
        }
        Ok(())
    }
}
