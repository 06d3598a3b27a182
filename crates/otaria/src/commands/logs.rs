//! `otaria logs`: what a device has written into its flash.

use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use otaria_server::model::{Live, NewCommand, ReceivedLine};
use otaria_wire::messages::CommandKind;

use crate::Context;
use crate::client::{Client, ServerArgs};

/// How long a device may take to send its first line.
const ANSWER: Duration = Duration::from_secs(5);
/// A pause after which no more lines are expected.
const PAUSE: Duration = Duration::from_millis(500);

/// Show a device's log. A device that is online is asked for the newest lines in its flash first; for one that is not, these are
/// the lines that the server has.
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

    /// Then show what else comes, until Ctrl-C.
    #[arg(long)]
    follow: bool,

    #[command(flatten)]
    server: ServerArgs,
}

impl Logs {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let client = self.server.client()?;
        let device = client.device(&self.id)?;
        // Before anything is asked, so that no line falls between.
        let stream = client.stream(Some(&self.id), None)?;
        if device.online {
            self.ask(ctx, &client)?;
        } else {
            ctx.output.note(format_args!(
                "{} is offline; these are the lines that it sent before",
                self.id
            ));
        }
        let mut known = client.logs(&self.id, self.lines.into())?;
        known.reverse();
        let newest = known.iter().map(|line| line.id).max();
        for line in &known {
            show(ctx, line)?;
        }
        if !self.follow {
            return Ok(());
        }
        for live in stream {
            match live? {
                Live::Log(line) if newest.is_none_or(|newest| line.id > newest) => {
                    show(ctx, &line)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Asks the device for its lines, and waits until they are here: until as many have come, or none for a while.
    fn ask(&self, ctx: &Context, client: &Client) -> anyhow::Result<()> {
        let (tell, lines) = mpsc::channel();
        let stream = client.stream(Some(&self.id), None)?;
        // Reading blocks, and cannot be told to end: the thread ends with the program, or with the stream.
        std::thread::spawn(move || {
            for live in stream {
                let come = matches!(live, Ok(Live::Log(_)));
                if live.is_err() || (come && tell.send(()).is_err()) {
                    return;
                }
            }
        });
        client.command(
            &self.id,
            &NewCommand {
                cmd: CommandKind::Logs,
                lines: Some(self.lines),
                expires_in_s: Some(ANSWER.as_secs() as u32),
            },
        )?;
        let mut come = 0;
        let mut patience = ANSWER;
        while come < self.lines && lines.recv_timeout(patience).is_ok() {
            come += 1;
            patience = PAUSE;
        }
        if come == 0 {
            ctx.output.note(format_args!(
                "{} did not answer; these are the lines that it sent before",
                self.id
            ));
        }
        Ok(())
    }
}

fn show(ctx: &Context, received: &ReceivedLine) -> anyhow::Result<()> {
    let line = &received.line;
    ctx.output.listed(
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
