//! `otaria logs`: what a device has written into its flash.

use clap::Args;
use otaria_server::model::{Live, NewCommand, ReceivedLine};
use otaria_wire::messages::CommandKind;

use crate::Context;
use crate::client::ServerArgs;

/// Show a device's log: the newest lines that the server has, after asking the device for what it has in flash.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria logs pump-7
  otaria logs pump-7 --lines 200 --follow")]
pub(crate) struct Logs {
    /// The device.
    id: String,

    /// How many lines.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    lines: u16,

    /// Ask the device for its lines, and show what comes until Ctrl-C.
    #[arg(long)]
    follow: bool,

    #[command(flatten)]
    server: ServerArgs,
}

impl Logs {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let client = self.server.client();
        let mut known = client.logs(&self.id, self.lines.into())?;
        known.reverse();
        for line in &known {
            show(ctx, line)?;
        }
        if !self.follow {
            if known.is_empty() {
                ctx.output.note(format_args!(
                    "The server has no lines of {}; `otaria logs {} --follow` asks the device for them.",
                    self.id, self.id
                ));
            }
            return Ok(());
        }
        let stream = client.stream(Some(&self.id), None)?;
        let lines = Some(self.lines);
        client.command(
            &self.id,
            &NewCommand {
                cmd: CommandKind::Logs,
                lines,
                expires_in_s: None,
            },
        )?;
        for live in stream {
            if let Live::Log(line) = live? {
                show(ctx, &line)?;
            }
        }
        Ok(())
    }
}

fn show(ctx: &Context, received: &ReceivedLine) -> anyhow::Result<()> {
    let line = &received.line;
    ctx.output.line(
        received,
        format_args!(
            "boot {:<4} {:>10} ms  {:<5} {}",
            line.boot,
            line.t_ms,
            line.level.name(),
            line.text
        ),
    )
}
