//! `otaria inspect`: what is in a file.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use otaria_package::kind::FileKind;
use otaria_package::read::{self, Trust};
use otaria_wire::Sha256Digest;
use otaria_wire::esp_image;
use otaria_wire::package::SignedHeader;
use otaria_wire::partitions::{Layout, Partition, PartitionTable, TYPE_APP, TYPE_DATA};
use serde::Serialize;

use crate::Context;
use crate::output::Negative;
use crate::report::{ImageReport, PackageReport, Rows, Sizes};
use crate::text::grouped;

/// Show what is in a package, an ESP app image or a partition table.
///
/// Needs no key: who made a package is not checked here, `otaria verify` does that. Everything else is checked, and
/// damage is reported with exit code 1.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  otaria inspect app-1.1.0.otaria
  otaria inspect app.bin --json
  otaria inspect partition-table.bin")]
pub(crate) struct Inspect {
    /// The file.
    file: PathBuf,
}

impl Inspect {
    pub(crate) fn run(self, ctx: &Context) -> anyhow::Result<()> {
        let bytes =
            fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        let name = || self.file.display().to_string();
        let kind = FileKind::of(&bytes);
        match kind {
            FileKind::Package => {
                let shown = inspect_package(&self.file, &bytes)?;
                ctx.output.result(&shown)?;
                if shown.problem.is_some() {
                    Err(Negative.into())
                } else {
                    Ok(())
                }
            }
            FileKind::EspImage => ctx.output.result(&inspect_image(&self.file, &bytes)?),
            FileKind::PartitionTable => ctx.output.result(&inspect_table(&self.file, &bytes)?),
            FileKind::Elf => bail!(
                "{}: this is an ELF program; `otaria package` makes a package of it",
                name()
            ),
            FileKind::Empty | FileKind::Blank => bail!("{}: {}", name(), kind.description()),
            FileKind::PartitionCsv
            | FileKind::IntelHex
            | FileKind::Uf2
            | FileKind::Archive
            | FileKind::WebPage
            | FileKind::Unknown => {
                bail!(
                    "{}: this is neither a package, nor an ESP image, nor a partition table",
                    name()
                )
            }
        }
    }
}

fn inspect_package(file: &Path, bytes: &[u8]) -> anyhow::Result<ShownPackage> {
    // Without a header there is nothing to show; behind it, damage is part of what is shown.
    let header = match SignedHeader::parse(bytes) {
        Ok(signed) => signed.untrusted().clone(),
        Err(error) => {
            return Err(error).with_context(|| format!("{} has no valid header", file.display()));
        }
    };
    let (contents, problem) = match read::read(bytes, Trust::Anyone) {
        Ok(contents) => (Some(contents), None),
        Err(error) => (None, Some(format!("{:#}", anyhow::Error::new(error)))),
    };
    Ok(ShownPackage {
        kind: "package",
        file: file.to_owned(),
        file_len: bytes.len() as u64,
        signature: "not checked",
        problem,
        sizes: contents.as_ref().map(Sizes::new),
        recipient_ids: contents
            .iter()
            .flat_map(|contents| &contents.recipients)
            .map(ToString::to_string)
            .collect(),
        package: PackageReport::new(&header),
    })
}

fn inspect_image(file: &Path, bytes: &[u8]) -> anyhow::Result<ShownImage> {
    let info = esp_image::check(bytes)
        .with_context(|| format!("{} is an ESP image that would not boot", file.display()))?;
    let sha256 = Sha256Digest::of(bytes).to_string();
    Ok(ShownImage {
        kind: "esp_image",
        file: file.to_owned(),
        image: ImageReport::new(&info, sha256),
    })
}

fn inspect_table(file: &Path, bytes: &[u8]) -> anyhow::Result<ShownTable> {
    let table = PartitionTable::parse(bytes)
        .with_context(|| format!("{} is a damaged partition table", file.display()))?;
    let layout = Layout::from_table(&table);
    Ok(ShownTable {
        kind: "partition_table",
        file: file.to_owned(),
        md5: table.has_md5(),
        slot_size: layout.as_ref().ok().map(Layout::slot_len),
        problem: layout.err().map(|error| error.to_string()),
        partitions: table.iter().map(ShownPartition::from).collect(),
    })
}

#[derive(Serialize)]
struct ShownPackage {
    kind: &'static str,
    file: PathBuf,
    file_len: u64,
    signature: &'static str,
    /// What is wrong with the package behind its header.
    problem: Option<String>,
    #[serde(flatten)]
    sizes: Option<Sizes>,
    /// The keys that an encrypted package is encrypted to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recipient_ids: Vec<String>,
    #[serde(flatten)]
    package: PackageReport,
}

impl fmt::Display for ShownPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = match &self.sizes {
            Some(sizes) => sizes.describe(&self.package),
            None => format!("{} bytes", grouped(self.file_len)),
        };
        let contents = match &self.problem {
            Some(problem) => format!("DAMAGED: {problem}"),
            None if self.package.recipients > 0 => {
                "complete; every block is good, the image in it is encrypted".to_owned()
            }
            None => "complete; every block and the image in it are good".to_owned(),
        };
        let rows = Rows::new()
            .row("package", self.file.display().to_string())
            .row("size", size);
        let mut rows = self.package.rows(rows);
        for id in &self.recipient_ids {
            rows = rows.row("encrypted to", format!("key {id}"));
        }
        let rows = rows
            .row(
                "signature",
                "not checked (`otaria verify` does, with the public key)",
            )
            .row("contents", contents);
        rows.fmt(f)
    }
}

#[derive(Serialize)]
struct ShownImage {
    kind: &'static str,
    file: PathBuf,
    #[serde(flatten)]
    image: ImageReport,
}

impl fmt::Display for ShownImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.image
            .rows(Rows::new().row("ESP image", self.file.display().to_string()))
            .fmt(f)
    }
}

#[derive(Serialize)]
struct ShownTable {
    kind: &'static str,
    file: PathBuf,
    /// Whether the table carries its MD5 sum; if it does, it is right.
    md5: bool,
    /// The longest image that fits either slot, if Otaria can work with this table.
    slot_size: Option<u32>,
    /// Why Otaria cannot.
    problem: Option<String>,
    partitions: Vec<ShownPartition>,
}

impl fmt::Display for ShownTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "partition table  {}", self.file.display())?;
        writeln!(
            f,
            "MD5              {}",
            if self.md5 { "valid" } else { "none" }
        )?;
        match (&self.problem, self.slot_size) {
            (None, Some(size)) => writeln!(
                f,
                "for Otaria       yes, images up to {} bytes",
                grouped(size.into())
            )?,
            (problem, _) => writeln!(
                f,
                "for Otaria       no: {}",
                problem.as_deref().unwrap_or("unknown")
            )?,
        }
        writeln!(f)?;
        writeln!(
            f,
            "{:16}  {:4}  {:7}  {:>10}  {:>10}",
            "name", "type", "subtype", "offset", "size"
        )?;
        for p in &self.partitions {
            let line = format!(
                "{:16}  {:4}  {:7}  {:#10x}  {:#10x}",
                p.name, p.kind, p.subtype, p.offset, p.len
            );
            writeln!(f, "{line}{}", if p.encrypted { "  encrypted" } else { "" })?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct ShownPartition {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    subtype: String,
    offset: u32,
    len: u32,
    encrypted: bool,
}

impl From<Partition> for ShownPartition {
    fn from(partition: Partition) -> Self {
        let (kind, subtype) = names(partition.kind, partition.subtype);
        Self {
            name: partition.name.to_string(),
            kind,
            subtype,
            offset: partition.region.offset,
            len: partition.region.len,
            encrypted: partition.flags & 1 != 0,
        }
    }
}

/// Type and subtype by the names of ESP-IDF's partition CSV, else by number.
fn names(kind: u8, subtype: u8) -> (String, String) {
    let number = |n: u8| format!("{n:#04x}");
    match kind {
        TYPE_APP => {
            let subtype = match subtype {
                0x00 => "factory".to_owned(),
                0x10..=0x1F => format!("ota_{}", subtype - 0x10),
                0x20 => "test".to_owned(),
                other => number(other),
            };
            ("app".to_owned(), subtype)
        }
        TYPE_DATA => {
            let known = match subtype {
                0x00 => "ota",
                0x01 => "phy",
                0x02 => "nvs",
                0x03 => "coredump",
                0x04 => "nvs_keys",
                0x05 => "efuse",
                0x81 => "fat",
                0x82 => "spiffs",
                0x83 => "littlefs",
                _ => "",
            };
            (
                "data".to_owned(),
                if known.is_empty() {
                    number(subtype)
                } else {
                    known.to_owned()
                },
            )
        }
        other => (number(other), number(subtype)),
    }
}
