//! Firmware for real chips: `cargo xtask firmware` and `cargo xtask flash`, and the test step over them.
//!
//! ```text
//! firmware/ --build--> ELF --image--> app image --image--> merged flash image, signed package
//!                       |                  '--sbom--> what it is made of
//!                       '--report--> what takes how much, against the budgets
//! ```

mod build;
mod check;
mod examples;
mod flash;
mod image;
mod owners;
mod report;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use otaria_package::files::{Existing, Readers, write_atomically};

pub(crate) use build::wrap_rustc;
pub(crate) use check::{step, xtensa};
pub(crate) use examples::projects as examples;
pub(crate) use flash::{FlashArgs, write as flash};

/// The file that says what an image is made of.
const SBOM: &str = "app.cdx.json";

/// A chip that the firmware is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Chip {
    /// ESP32-C2.
    Esp32c2,
    /// ESP32-C3.
    Esp32c3,
    /// ESP32-C6.
    Esp32c6,
    /// ESP32 (needs Espressif's toolchain).
    Esp32,
    /// ESP32-S2 (needs Espressif's toolchain).
    Esp32s2,
    /// ESP32-S3 (needs Espressif's toolchain).
    Esp32s3,
}

impl Chip {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Esp32c2 => "esp32c2",
            Self::Esp32c3 => "esp32c3",
            Self::Esp32c6 => "esp32c6",
            Self::Esp32 => "esp32",
            Self::Esp32s2 => "esp32s2",
            Self::Esp32s3 => "esp32s3",
        }
    }

    fn target(self) -> &'static str {
        match self {
            Self::Esp32c2 | Self::Esp32c3 => "riscv32imc-unknown-none-elf",
            Self::Esp32c6 => "riscv32imac-unknown-none-elf",
            Self::Esp32 => "xtensa-esp32-none-elf",
            Self::Esp32s2 => "xtensa-esp32s2-none-elf",
            Self::Esp32s3 => "xtensa-esp32s3-none-elf",
        }
    }

    fn is_xtensa(self) -> bool {
        match self {
            Self::Esp32 | Self::Esp32s2 | Self::Esp32s3 => true,
            Self::Esp32c2 | Self::Esp32c3 | Self::Esp32c6 => false,
        }
    }
}

/// Where the console is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Console {
    /// UART 0.
    Uart,
    /// USB-Serial-JTAG.
    Usb,
    /// USB if a computer is connected to it, else UART 0.
    #[default]
    Auto,
}

/// An image that fails, for tests of what an update does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Variant {
    /// Panics right behind the boot guard.
    CrashAtStart,
    /// Panics after a minute, before it was confirmed.
    CrashAfterAMinute,
    /// Its main task never comes back.
    Hang,
    /// Never says that it is healthy.
    NeverHealthy,
    /// Never joins a network.
    NeverJoins,
    /// Takes memory until there is none.
    HeapExhaustion,
}

impl Variant {
    /// As in the app's feature `fault-NAME`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CrashAtStart => "crash-at-start",
            Self::CrashAfterAMinute => "crash-after-a-minute",
            Self::Hang => "hang",
            Self::NeverHealthy => "never-healthy",
            Self::NeverJoins => "never-joins",
            Self::HeapExhaustion => "heap-exhaustion",
        }
    }
}

/// Build the firmware for a chip: ELF, app image, merged flash image, signed package, what it is made of (CycloneDX), size report.
#[derive(Debug, Args)]
pub(crate) struct FirmwareArgs {
    /// The chip.
    #[arg(long, value_enum)]
    chip: Chip,
    /// Version that the image says it has, at most 31 characters [default: the workspace's].
    #[arg(long, value_name = "VERSION", value_parser = fits_descriptor)]
    version: Option<String>,
    /// Product that the image is for, at most 31 characters [default: otaria-app].
    #[arg(long, value_name = "NAME", value_parser = fits_descriptor)]
    product: Option<String>,
    /// Security version: once an image is confirmed, none with a lower one is taken.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..1_000_000_000))]
    security_version: u32,
    /// Settings for the merged flash image (TOML, see docs/FIRMWARE.md); without them the device waits to be set up.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Sign a package with this private key (NAME.pem of `otaria keygen`; passphrase in OTARIA_PASSPHRASE).
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// An image that fails, for tests.
    #[arg(long, value_enum)]
    variant: Option<Variant>,
    /// Where the console is [default: auto; uart on chips without USB].
    #[arg(long, value_enum)]
    console: Option<Console>,
    /// Without set-up by access point and Improv: the device gets its settings when it is flashed.
    #[arg(long)]
    no_set_up: bool,
    /// Without TLS: broker and web servers are spoken to in the clear.
    #[arg(long)]
    no_tls: bool,
    /// Without a decoder for packages that are encrypted to a key of the device.
    #[arg(long)]
    no_encryption: bool,
    /// GPIO of an LED that beats while the firmware runs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(..49))]
    led: Option<u8>,
    /// Where the files go [default: dist/CHIP].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// The app descriptor has 32 bytes, and a zero at the end.
fn fits_descriptor(text: &str) -> Result<String, String> {
    let is_text = text.bytes().all(|byte| (0x20..0x7F).contains(&byte));
    if is_text && (1..=31).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("1 to 31 printable ASCII characters are wanted".to_owned())
    }
}

impl FirmwareArgs {
    /// What the tests build: everything as it is by default.
    fn plain(chip: Chip) -> Self {
        Self {
            chip,
            version: None,
            product: None,
            security_version: 0,
            settings: None,
            key: None,
            variant: None,
            console: None,
            no_set_up: false,
            no_tls: false,
            no_encryption: false,
            led: None,
            out: None,
        }
    }

    fn out(&self) -> PathBuf {
        let default = || Path::new("dist").join(self.chip.name());
        self.out.clone().unwrap_or_else(default)
    }
}

/// Builds, and says what came out.
pub(crate) fn build(args: &FirmwareArgs) -> Result<()> {
    // Before anything takes minutes: what a person may have got wrong.
    let settings = args.settings.as_deref().map(image::read_settings);
    let settings = settings.transpose()?;
    let key = args.key.as_deref().map(image::read_key).transpose()?;
    let elf_file = build::app(args)?;
    let elf = fs::read(&elf_file).with_context(|| elf_file.display().to_string())?;
    let made = image::make(&elf, args.chip, settings.as_ref(), key.as_ref())?;
    let report = report::Report::of(&elf, &made.app, args)?;
    let parts = sbom::make(args, &made.app, report.crates())?;
    let out = args.out();
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let write = |name: &str, bytes: &[u8], readers| {
        let path = out.join(name);
        write_atomically(&path, readers, Existing::Replace, |file| {
            file.write_all(bytes)
        })
        .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{:>9} bytes  {}", bytes.len(), path.display());
        anyhow::Ok(())
    };
    write("app.elf", &elf, Readers::Umask)?;
    write("app.bin", &made.app, Readers::Umask)?;
    // With settings, it holds the Wi-Fi's password and private keys.
    let flash_readers = match settings {
        Some(_) => Readers::Owner,
        None => Readers::Umask,
    };
    write("flash.bin", &made.flash, flash_readers)?;
    match &made.package {
        Some(package) => write("app.otaria", package, Readers::Umask)?,
        // An older one would not be of this build.
        None => remove(&out.join("app.otaria"))?,
    }
    write(SBOM, &parts, Readers::Umask)?;
    let text = report.to_string();
    write("size.txt", text.as_bytes(), Readers::Umask)?;
    println!("\n{text}");
    let over = report.over_budget();
    if !over.is_empty() && args.variant.is_none() {
        bail!("over budget: {}", over.join("; "));
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
