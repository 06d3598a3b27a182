//! `otaria acl`: the embedded broker's rules, for another broker.

use clap::{Args, ValueEnum};
use otaria_server::{AclFormat, acl};
use serde::Serialize;

use crate::Context;
use crate::output::UsageError;

/// Print an access list for a broker of your own: the rules that the embedded broker has built in.
///
/// A device writes only what it reports, and reads only what is for it; its user at the broker is the common name of its
/// certificate. The settings that go with the list are in its comments.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria acl --format mosquitto > /etc/mosquitto/otaria/acl
  otaria acl --format emqx --root plant")]
pub(crate) struct Acl {
    /// For which broker.
    #[arg(long, value_name = "BROKER")]
    format: Format,

    /// First level of the MQTT topics [default: otaria].
    #[arg(long, value_name = "NAME")]
    root: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Mosquitto,
    Emqx,
}

impl Acl {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let format = match self.format {
            Format::Mosquitto => AclFormat::Mosquitto,
            Format::Emqx => AclFormat::Emqx,
        };
        let acl = acl(format, self.root.as_deref())
            .map_err(|error| UsageError(format!("--root: {error}")))?;
        ctx.output.result(&Rules { acl })
    }
}

#[derive(Serialize)]
struct Rules {
    acl: String,
}

impl std::fmt::Display for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.acl)
    }
}
