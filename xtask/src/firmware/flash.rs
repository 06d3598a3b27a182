//! `cargo xtask flash`: writes what `cargo xtask firmware` made, with the `espflash` program.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::Chip;
use crate::process::{command, run, succeeds};

/// Write dist/CHIP/flash.bin to a board: everything on it is replaced, settings and journal too.
#[derive(Debug, Args)]
pub(crate) struct FlashArgs {
    /// The chip.
    #[arg(long, value_enum)]
    chip: Chip,
    /// Serial port of the board, such as /dev/ttyUSB0 or COM3 [default: espflash looks for it].
    #[arg(long)]
    port: Option<String>,
    /// The merged image [default: dist/CHIP/flash.bin].
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
}

pub(crate) fn write(args: &FlashArgs) -> Result<()> {
    let chip = args.chip.name();
    let image = args
        .image
        .clone()
        .unwrap_or_else(|| format!("dist/{chip}/flash.bin").into());
    if !image.is_file() {
        bail!(
            "there is no {}; make it with `cargo xtask firmware --chip {chip}`",
            image.display()
        );
    }
    if !succeeds(command("espflash", &["--version"])) {
        bail!(
            "espflash is not installed; install it with `cargo install espflash --locked`, or write {} to address 0 with another tool, such as `esptool --chip {chip} write-flash 0 {}`",
            image.display(),
            image.display()
        );
    }
    let mut write = command("espflash", &["write-bin", "--chip", chip]);
    if let Some(port) = &args.port {
        write.args(["--port", port]);
    }
    write.arg("0x0").arg(&image);
    run(write)
}
