//! `otaria package`: a signed package of an app image.

use std::env;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use otaria_package::elf;
use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_package::keyfile::read_public;
use otaria_package::kind::FileKind;
use otaria_package::pack::{self, CodecChoice, DEFAULT_SLOT_SIZE, Options, TimeStamp};
use serde::Serialize;

use crate::Context;
use crate::report::{PackageReport, Rows, Sizes};
use crate::signer::SignerArgs;

/// Make a signed package of an ELF or an ESP app image.
///
/// Product, version, security version and chip are those of the image itself (its app descriptor and header). What a
/// device would refuse is refused here: a damaged image, one without app descriptor or boot guard, one that does not
/// fit the slot. With SOURCE_DATE_EPOCH set, the same input makes the same bytes, unless they are encrypted.
#[derive(Debug, Args)]
#[command(
    disable_version_flag = true,
    after_long_help = "\
Examples:
  otaria package target/riscv32imc-unknown-none-elf/release/app --key keys/release.pem
  otaria package build/app.bin --key keys/release.pem --out app-1.1.0.otaria
  otaria package app.bin --sign-with \"my-hsm sign release\" --public-key release.pub.pem
  otaria package app.bin --key k.pem --product thermostat --version 1.1.0
  otaria package app.bin --key k.pem --encrypt-to keys/thermostat.pub.pem
  otaria package old.bin --key k.pem          (going back: package the old image again)"
)]
pub(crate) struct PackageImage {
    /// The firmware: an ELF as the linker leaves it, or an app image (.bin).
    image: PathBuf,

    #[command(flatten)]
    signer: SignerArgs,

    /// Where to write the package; an older package there is replaced [default: PRODUCT-VERSION.otaria].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Strictly rising number of the release; devices refuse a lower one [default: milliseconds since 1970].
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,

    /// Take an image without boot guard, and say so in the package; devices refuse it unless their settings allow it.
    #[arg(long)]
    unguarded: bool,

    /// Others will sign it too, with `otaria cosign`: for devices that ask for two signatures.
    #[arg(long)]
    cosigned: bool,

    /// How to store the image.
    #[arg(long, value_enum, default_value_t = CodecArg::Auto)]
    codec: CodecArg,

    /// Bytes of the image in a block: 4096, 8192, 12288 or 16384. Smaller blocks resume finer and compress less.
    #[arg(long, value_name = "BYTES", default_value_t = 16384, value_parser = parse_size)]
    block_len: u32,

    /// Size of the devices' app slots, as in their partition table.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_SLOT_SIZE, value_parser = parse_size)]
    slot_size: u32,

    /// The chip of an ELF that does not name it, such as esp32c3.
    #[arg(long, value_name = "CHIP")]
    chip: Option<String>,

    /// Refuse the image unless this is its product (the app descriptor's project name).
    #[arg(long, value_name = "NAME")]
    product: Option<String>,

    /// Refuse the image unless this is its version.
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,

    /// Encrypt to this public key (NAME.pub.pem from `otaria keygen --encryption`): a product's, or one for each device. Who
    /// has none of their private keys cannot read the image: neither the server, nor you.
    #[arg(long, value_name = "FILE")]
    encrypt_to: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CodecArg {
    /// Deflate, unless that saves less than 2 %.
    Auto,
    /// Deflate.
    Deflate,
    /// As it is.
    Stored,
}

impl PackageImage {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let signer = self.signer.find()?;
        let image = self.read_image()?;
        let options = self.options()?;
        let refused = || format!("{} is not packaged", self.image.display());
        // Before anybody is asked for a passphrase.
        let info = pack::check_image(&image, &options).with_context(refused)?;
        let out = self.out.clone().unwrap_or_else(|| {
            default_name(info.desc.project.as_str(), info.desc.version.as_str())
        });
        refuse_other_file(&out)?;
        let signer = self.signer.open(signer)?;
        let package = pack::pack_by(&image, &*signer, &options).with_context(refused)?;
        write_atomically(&out, Readers::Umask, Existing::Replace, |file| {
            file.write_all(&package.bytes)
        })
        .with_context(|| format!("cannot write {}", out.display()))?;
        if package.header.flags.unguarded {
            ctx.output.note(
                "warning: this image has no boot guard; if it crashes at start, only a cable helps",
            );
        }
        if package.header.flags.cosigned {
            ctx.output
                .note("No device takes the package before `otaria cosign` has signed it too.");
        }
        ctx.output.result(&Packaged {
            sizes: Sizes::of(
                package.bytes.len() as u64,
                package.stored_len(),
                package.header.image_len,
            ),
            package: PackageReport::new(&package.header),
            file: out,
        })
    }

    fn read_image(&self) -> anyhow::Result<Vec<u8>> {
        let bytes = fs::read(&self.image)
            .with_context(|| format!("cannot read {}", self.image.display()))?;
        if !elf::is_elf(&bytes) {
            return Ok(bytes);
        }
        elf::to_image(&bytes, self.chip.as_deref(), self.slot_size)
            .with_context(|| format!("{} is not packaged", self.image.display()))
    }

    fn options(&self) -> anyhow::Result<Options> {
        let stamp = match env::var("SOURCE_DATE_EPOCH") {
            Ok(value) => TimeStamp::from_source_date_epoch(&value).with_context(|| {
                format!("SOURCE_DATE_EPOCH is \"{value}\", not a number of seconds since 1970")
            })?,
            Err(env::VarError::NotPresent) => TimeStamp::at(SystemTime::now()),
            Err(env::VarError::NotUnicode(_)) => bail!("SOURCE_DATE_EPOCH is not a number"),
        };
        Ok(Options {
            sequence: self.sequence.unwrap_or(stamp.sequence),
            codec: match self.codec {
                CodecArg::Auto => CodecChoice::Auto,
                CodecArg::Deflate => CodecChoice::Deflate,
                CodecArg::Stored => CodecChoice::Stored,
            },
            block_len: self.block_len,
            slot_size: self.slot_size,
            allow_unguarded: self.unguarded,
            cosigned: self.cosigned,
            product: self.product.clone(),
            version: self.version.clone(),
            encrypt_to: self
                .encrypt_to
                .iter()
                .map(|path| read_public(path))
                .collect::<Result<_, _>>()?,
            ..Options::new(stamp)
        })
    }
}

/// A slip in `--out` must not replace the image, the key or a device with a package.
fn refuse_other_file(out: &Path) -> anyhow::Result<()> {
    let Ok(metadata) = fs::metadata(out) else {
        return Ok(());
    };
    let mut start = Vec::new();
    if metadata.is_file() {
        let file = fs::File::open(out).with_context(|| format!("cannot read {}", out.display()))?;
        file.take(16)
            .read_to_end(&mut start)
            .with_context(|| format!("cannot read {}", out.display()))?;
    }
    match FileKind::of(&start) {
        FileKind::Package => Ok(()),
        FileKind::Empty if metadata.is_file() => Ok(()),
        _ => bail!(
            "{} exists and is no package, so it is kept; choose another --out",
            out.display()
        ),
    }
}

/// `PRODUCT-VERSION.otaria`, with nothing in it that a file system or a URL could take amiss.
fn default_name(product: &str, version: &str) -> PathBuf {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-+".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = format!("{product}-{version}.otaria")
        .chars()
        .map(plain)
        .collect();
    // A product such as ".." or ".hidden" must not make a hidden file.
    Path::new(name.trim_start_matches('.')).to_owned()
}

/// A number of bytes: decimal, 0x…, or with K or M behind it.
fn parse_size(text: &str) -> Result<u32, String> {
    let parsed = if let Some(hex) = text.strip_prefix("0x") {
        u32::from_str_radix(hex, 16).ok()
    } else if let Some(kilo) = text.strip_suffix(['k', 'K']) {
        kilo.parse::<u32>().ok().and_then(|n| n.checked_mul(1024))
    } else if let Some(mega) = text.strip_suffix('M') {
        mega.parse::<u32>()
            .ok()
            .and_then(|n| n.checked_mul(1024 * 1024))
    } else {
        text.parse().ok()
    };
    parsed.ok_or_else(|| "expected a number of bytes, such as 16384, 0x4000, 16K or 2M".to_owned())
}

#[derive(Serialize)]
struct Packaged {
    file: PathBuf,
    #[serde(flatten)]
    sizes: Sizes,
    #[serde(flatten)]
    package: PackageReport,
}

impl fmt::Display for Packaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = Rows::new()
            .row("package", self.file.display().to_string())
            .row("size", self.sizes.describe(&self.package));
        self.package.rows(rows).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, size) in [
            ("16384", 16384),
            ("0x1d0000", 0x1d_0000),
            ("16K", 16384),
            ("2M", 2 << 20),
        ] {
            assert_eq!(parse_size(text), Ok(size));
        }
        for text in ["", "K", "0x", "-1", "5G", "4294967296", "5000000K"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_default_name_is_a_plain_file_name() {
        assert_eq!(
            default_name("demo", "1.1.0+rc1"),
            Path::new("demo-1.1.0+rc1.otaria")
        );
        assert_eq!(
            default_name("../../etc", "a b"),
            Path::new("_.._etc-a_b.otaria")
        );
    }
}
