//! `otaria image`: everything that a new board needs, as one flash image.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::Args;
use otaria_package::elf;
use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_package::pack::{DEFAULT_SLOT_SIZE, Options, TimeStamp, check_image};
use otaria_settings::host::{FLASH_LEN, flash_image, read_device_file};
use otaria_wire::Sha256Digest;
use serde::Serialize;

use crate::Context;
use crate::report::{ImageReport, Rows};
use crate::text::grouped;

/// Make the flash image of a new board out of an ELF: bootloader, partition table, settings and app.
///
/// It is 4 MB long and belongs to address 0: what is on the board is replaced, settings and journal too. Later updates come over
/// the air. With --settings the file holds a Wi-Fi password, so only its owner may read it (mode 0600).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria image target/riscv32imc-unknown-none-elf/release/app --settings device.toml
  espflash write-bin --chip esp32c3 0x0 flash.bin
  otaria image app.elf --out bare.bin                (the device waits to be set up)")]
pub(crate) struct Image {
    /// The firmware: an ELF as the linker leaves it.
    elf: PathBuf,

    /// The chip of an ELF that does not name it, such as esp32c3.
    #[arg(long, value_name = "CHIP")]
    chip: Option<String>,

    /// Put the settings of this device file (TOML, see `otaria provision`) into it.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,

    /// Where to write the image; an older flash image there is replaced.
    #[arg(long, value_name = "FILE", default_value = "flash.bin")]
    out: PathBuf,
}

impl Image {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        refuse_other_file(&self.out)?;
        let refused = || format!("cannot make a flash image of {}", self.elf.display());
        let elf =
            fs::read(&self.elf).with_context(|| format!("cannot read {}", self.elf.display()))?;
        if !elf::is_elf(&elf) {
            bail!(
                "{} is no ELF; the bootloader is chosen by what an ELF says of its chip, so an app image (.bin) will not do",
                self.elf.display()
            );
        }
        let parts =
            elf::to_flash(&elf, self.chip.as_deref(), DEFAULT_SLOT_SIZE).with_context(refused)?;
        // What comes by cable may be without a guard, but whoever flashes it should know.
        let options = Options {
            allow_unguarded: true,
            ..Options::new(TimeStamp::at(SystemTime::now()))
        };
        let info = check_image(&parts.app, &options).with_context(refused)?;
        let settings = self.settings.as_deref().map(|path| {
            read_device_file(path)
                .with_context(|| format!("cannot take the settings of {}", path.display()))
        });
        let settings = settings.transpose()?;
        let flash = flash_image(&parts, settings.as_ref()).with_context(refused)?;
        let readers = if settings.is_some() {
            Readers::Owner
        } else {
            Readers::Umask
        };
        write_atomically(&self.out, readers, Existing::Replace, |file| {
            file.write_all(&flash)
        })
        .with_context(|| format!("cannot write {}", self.out.display()))?;
        if info.guard.is_none() {
            ctx.output.note(
                "warning: this image has no boot guard; if it crashes at start, only a cable helps",
            );
        }
        let sha256 = Sha256Digest::of(&parts.app).to_string();
        ctx.output.result(&Made {
            file: self.out,
            len: flash.len(),
            has_settings: settings.is_some(),
            app: ImageReport::new(&info, sha256),
        })
    }
}

/// A slip in `--out` must not replace the ELF or a key with a flash image.
fn refuse_other_file(out: &Path) -> anyhow::Result<()> {
    let Ok(metadata) = fs::metadata(out) else {
        return Ok(());
    };
    if metadata.is_file() && (metadata.len() == 0 || metadata.len() == FLASH_LEN as u64) {
        return Ok(());
    }
    bail!(
        "{} exists and is no flash image of {FLASH_LEN} bytes, so it is kept; choose another --out",
        out.display()
    )
}

#[derive(Serialize)]
struct Made {
    file: PathBuf,
    len: usize,
    has_settings: bool,
    app: ImageReport,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = if self.has_settings {
            "of the device file"
        } else {
            "none: the device waits to be set up"
        };
        let rows = Rows::new()
            .row("flash image", self.file.display().to_string())
            .row("size", format!("{} bytes", grouped(self.len as u64)))
            .row("settings", settings)
            .row(
                "to write it",
                format!(
                    "espflash write-bin --chip {} 0x0 {}",
                    self.app.chip,
                    self.file.display()
                ),
            );
        self.app.rows(rows).fmt(f)
    }
}
