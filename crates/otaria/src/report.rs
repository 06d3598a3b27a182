//! A package and an app image as `package`, `inspect` and `verify` show them.

use std::fmt;

use otaria_package::read::Contents;
use otaria_wire::esp_image::{ChipId, ImageInfo};
use otaria_wire::package::Header;
use serde::Serialize;

use crate::text::{grouped, percent, utc};

/// Rows of a two-column table.
pub(crate) struct Rows(Vec<(&'static str, String)>);

impl Rows {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn row(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.push((name, value.into()));
        self
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
        for (name, value) in &self.0 {
            writeln!(f, "{name:width$}{value}")?;
        }
        Ok(())
    }
}

/// What a package's header says.
#[derive(Serialize)]
pub(crate) struct PackageReport {
    pub(crate) identity: String,
    pub(crate) product: String,
    pub(crate) version: String,
    pub(crate) chip: String,
    pub(crate) chip_id: u16,
    pub(crate) min_chip_rev: u16,
    pub(crate) max_chip_rev: u16,
    pub(crate) security_version: u32,
    pub(crate) sequence: u64,
    pub(crate) created: u64,
    pub(crate) key_id: String,
    pub(crate) unguarded: bool,
    pub(crate) cosigned: bool,
    pub(crate) codec: &'static str,
    pub(crate) cipher: &'static str,
    /// How many keys it is encrypted to.
    pub(crate) recipients: u16,
    pub(crate) image_len: u32,
    pub(crate) image_sha256: String,
    pub(crate) block_len: u32,
    pub(crate) blocks: u32,
}

impl PackageReport {
    pub(crate) fn new(header: &Header) -> Self {
        Self {
            identity: header.identity().to_string(),
            product: header.product.to_string(),
            version: header.version.to_string(),
            chip: ChipId(header.chip_id).to_string(),
            chip_id: header.chip_id,
            min_chip_rev: header.min_chip_rev,
            max_chip_rev: header.max_chip_rev,
            security_version: header.security_version,
            sequence: header.sequence,
            created: header.created,
            key_id: header.key_id.to_string(),
            unguarded: header.flags.unguarded,
            cosigned: header.flags.cosigned,
            codec: header.codec.name(),
            cipher: header.cipher.name(),
            recipients: header.recipients,
            image_len: header.image_len,
            image_sha256: header.image_sha256.to_string(),
            block_len: header.block_len,
            blocks: header.block_count(),
        }
    }

    pub(crate) fn rows(&self, rows: Rows) -> Rows {
        let rows = rows
            .row("product", &self.product)
            .row("version", &self.version)
            .row(
                "chip",
                format!(
                    "{}, {}",
                    chip_name(&self.chip),
                    revisions(self.min_chip_rev, self.max_chip_rev)
                ),
            )
            .row(
                "image",
                format!(
                    "{} bytes, SHA-256 {}",
                    grouped(self.image_len.into()),
                    self.image_sha256
                ),
            )
            .row(
                "blocks",
                format!(
                    "{} of {} bytes, {}",
                    self.blocks,
                    grouped(self.block_len.into()),
                    self.codec
                ),
            )
            .row(
                "encrypted",
                match self.recipients {
                    0 => "no".to_owned(),
                    1 => format!("{}, to 1 key", self.cipher),
                    several => format!("{}, to {several} keys", self.cipher),
                },
            )
            .row(
                "boot guard",
                if self.unguarded {
                    "NO: a crash at start would not roll back"
                } else {
                    "yes"
                },
            )
            .row("security", format!("version {}", self.security_version))
            .row("sequence", self.sequence.to_string())
            .row("created", utc(self.created))
            .row("identity", &self.identity)
            .row("signer", format!("key {}", self.key_id));
        if self.cosigned {
            rows.row("co-signed", "yes")
        } else {
            rows
        }
    }
}

/// Sizes, known once the whole package was read.
#[derive(Serialize)]
pub(crate) struct Sizes {
    pub(crate) package_len: u64,
    pub(crate) stored_len: u64,
    /// Stored blocks in percent of the plain image.
    pub(crate) percent: f64,
}

impl Sizes {
    pub(crate) fn new(contents: &Contents) -> Self {
        Self::of(
            contents.package_len,
            contents.stored_len,
            contents.header.image_len,
        )
    }

    pub(crate) fn of(package_len: u64, stored_len: u64, image_len: u32) -> Self {
        let percent = (stored_len as f64 * 1000.0 / f64::from(image_len.max(1))).round() / 10.0;
        Self {
            package_len,
            stored_len,
            percent,
        }
    }

    pub(crate) fn describe(&self, package: &PackageReport) -> String {
        let share = percent(self.stored_len, package.image_len.into());
        format!(
            "{} bytes; the image is stored in {share} of its size",
            grouped(self.package_len)
        )
    }
}

/// What an app image says of itself.
#[derive(Serialize)]
pub(crate) struct ImageReport {
    pub(crate) len: u32,
    pub(crate) sha256: String,
    pub(crate) chip: String,
    pub(crate) chip_id: u16,
    pub(crate) min_chip_rev: u16,
    pub(crate) max_chip_rev: u16,
    pub(crate) entry: u32,
    pub(crate) segments: u8,
    pub(crate) project: String,
    pub(crate) version: String,
    pub(crate) secure_version: u32,
    pub(crate) elf_sha256: String,
    /// Version of the journal that the image's boot guard works with, if it has one.
    pub(crate) guard_journal_version: Option<u8>,
}

impl ImageReport {
    pub(crate) fn new(info: &ImageInfo, sha256: String) -> Self {
        Self {
            len: info.len,
            sha256,
            chip: info.chip.to_string(),
            chip_id: info.chip.0,
            min_chip_rev: info.min_rev_full,
            max_chip_rev: info.max_rev_full,
            entry: info.entry,
            segments: info.segments,
            project: info.desc.project.to_string(),
            version: info.desc.version.to_string(),
            secure_version: info.desc.secure_version,
            elf_sha256: info.desc.elf_sha256.to_string(),
            guard_journal_version: info.guard.map(|guard| guard.journal_version),
        }
    }

    pub(crate) fn rows(&self, rows: Rows) -> Rows {
        let guard = match self.guard_journal_version {
            Some(version) => format!("yes, journal version {version}"),
            None => "none: `otaria package` refuses it without --unguarded".to_owned(),
        };
        rows.row(
            "image",
            format!(
                "{} bytes, SHA-256 {}",
                grouped(self.len.into()),
                self.sha256
            ),
        )
        .row("project", &self.project)
        .row("version", &self.version)
        .row("security", format!("version {}", self.secure_version))
        .row(
            "chip",
            format!(
                "{}, {}",
                chip_name(&self.chip),
                revisions(self.min_chip_rev, self.max_chip_rev)
            ),
        )
        .row("entry", format!("{:#010x}", self.entry))
        .row("segments", self.segments.to_string())
        .row("checksum", "valid")
        .row("hash", "valid")
        .row("boot guard", guard)
        .row("ELF SHA-256", &self.elf_sha256)
    }
}

/// `esp32c3` as its makers write it: ESP32-C3.
fn chip_name(chip: &str) -> String {
    match chip.strip_prefix("esp32") {
        Some("") => "ESP32".to_owned(),
        Some(series) => format!("ESP32-{}", series.to_uppercase()),
        None => chip.to_owned(),
    }
}

/// Revisions as the chip's makers write them, from `major * 100 + minor`.
fn revisions(min: u16, max: u16) -> String {
    let name = |revision: u16| format!("v{}.{}", revision / 100, revision % 100);
    // ESP-IDF takes 0 and 65535 as "no limit".
    match (min, max) {
        (0, 0 | u16::MAX) => "any revision".to_owned(),
        (min, 0 | u16::MAX) => format!("revision {} or later", name(min)),
        (min, max) => format!("revisions {} to {}", name(min), name(max)),
    }
}
