//! `otaria demo`: everything in one process, to look at and to test.

use clap::Args;

use crate::Context;
use crate::commands::told_to_end;
use crate::demo;
use crate::output::Negative;

/// Show a whole fleet on this machine: server, broker, and simulated devices that are updated.
///
/// Makes keys, starts everything on free ports, publishes 1.1.0, which works, and 1.2.0, which crashes, hangs or never says that
/// it is healthy, so that every device rolls back. One device loses its power on the way and one its Wi-Fi. Then every flash is
/// read through the bootloader, and the verdict is printed. Nothing else is needed, no internet either.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria demo
  otaria demo --exit
  otaria demo --devices 200 --exit")]
pub(crate) struct Demo {
    /// How many devices.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    devices: u16,

    /// End after the verdict: with 0 if and only if everything happened as it should. Else the server stays up until Ctrl-C.
    #[arg(long)]
    exit: bool,
}

impl Demo {
    pub(crate) async fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let (stage, verdicts) = demo::perform(ctx, self.devices.into()).await?;
        ctx.output.result(&verdicts)?;
        if !self.exit {
            ctx.output.note("\nThe server stays up; Ctrl-C ends it.");
            told_to_end()?.await;
        }
        stage.close().await;
        if verdicts.all_good() {
            Ok(())
        } else {
            Err(Negative.into())
        }
    }
}
