//! The test step: builds for the chips of CI, and looks at what came out with Espressif's own tool.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use otaria_settings::host::FLASH_LEN;
use otaria_settings::{BrokerUrl, Settings, WifiNetwork, load};
use otaria_wire::partitions::{
    DEFAULT_4MB, Layout, PARTITION_TABLE_LEN, PARTITION_TABLE_OFFSET, PartitionTable,
};

use super::{Chip, FirmwareArgs, SBOM, build, examples, image, report, sbom};
use crate::process::{cargo, command, output, run};
use crate::steps::Outcome;

/// The chips that are built for in every run.
const CHIPS: [Chip; 2] = [Chip::Esp32c3, Chip::Esp32c6];

/// The first nightlies whose inline assembly for Xtensa was seen to be enough.
const NIGHTLY_SINCE: &str = "2026-10-01";

/// Everything about the firmware that can be checked without a chip. `full`: also builds it in another folder.
pub(crate) fn step(python: &Path, full: bool) -> Result<()> {
    let mut format = cargo(&["fmt", "--all", "--check"]);
    format.current_dir("firmware");
    run(format)?;
    let mut over = Vec::new();
    for chip in CHIPS {
        build::clippy(chip)?;
        let plain = FirmwareArgs::plain(chip);
        let elf = fs::read(build::app(&plain)?)?;
        let settings = some_settings()?;
        let made = image::make(&elf, chip, Some(&settings), None)?;
        check_with_esptool(python, chip, chip.name(), &made.app)?;
        check_merged(chip, &made, &settings)?;
        let report = sizes(&elf, &made.app, &plain)?;
        over.extend(report.over_budget());
        let parts = sbom::make(&plain, &made.app, report.crates())?;
        let again = sbom::make(&plain, &made.app, report.crates())?;
        ensure!(parts == again, "{SBOM} is another one the second time");
        check_parts(python, chip, &parts)?;
        if chip == Chip::Esp32c3 {
            // The chip that the budgets are made for: only two crates are compiled anew.
            let bare = FirmwareArgs {
                no_set_up: true,
                no_tls: true,
                no_encryption: true,
                ..FirmwareArgs::plain(chip)
            };
            let elf = fs::read(build::app(&bare)?)?;
            let made = image::make(&elf, chip, None, None)?;
            over.extend(sizes(&elf, &made.app, &bare)?.over_budget());
        }
        if full && chip == Chip::Esp32c3 {
            check_reproducible(chip, &made.app, &parts)?;
        }
    }
    examples::check_all(python)?;
    ensure!(over.is_empty(), "over budget: {}", over.join("; "));
    Ok(())
}

/// Says what takes how much.
fn sizes(elf: &[u8], app: &[u8], args: &FirmwareArgs) -> Result<report::Report> {
    let report = report::Report::of(elf, app, args)?;
    println!("{report}");
    Ok(report)
}

/// The list of parts must be what CycloneDX's own schema asks for, with every reference in it leading to a part.
fn check_parts(python: &Path, chip: Chip, parts: &[u8]) -> Result<()> {
    let file = Path::new("target/firmware").join(format!("{}.cdx.json", chip.name()));
    fs::write(&file, parts)?;
    let (python, path) = (python.to_string_lossy(), file.to_string_lossy());
    let said = output(command(&python, &["-c", VALIDATE, &path]))
        .with_context(|| format!("{path} is no CycloneDX document"))?;
    print!("{}: {said}", chip.name());
    Ok(())
}

const VALIDATE: &str = "\
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = open(sys.argv[1]).read()
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
if error: sys.exit(str(error))
bom = json.loads(text)
parts = [bom['metadata']['component'], *bom['components']]
names = [part['bom-ref'] for part in parts]
lead = [ref for entry in bom['dependencies'] for ref in [entry['ref'], *entry['dependsOn']]]
lost = set(lead) - set(names)
if lost or len(names) != len(set(names)): sys.exit(f'references: {lost}, of {len(names)} parts')
print(f'{len(names)} parts, as the schema of CycloneDX 1.6 asks for')
";

/// ESP32, S2 and S3 are type-checked with an upstream nightly that knows their inline assembly, where it can be had.
pub(crate) fn xtensa() -> Result<Outcome> {
    let sources = command("rustc", &["+nightly", "--print", "sysroot"]);
    let sources = output(sources).ok().map(|sysroot| {
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml")
    });
    let version = output(command("rustc", &["+nightly", "--version", "--verbose"]));
    let date = version.ok().and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("commit-date: "));
        line.map(str::to_owned)
    });
    // Dates of this form are in the order of their letters.
    let knows = date.is_some_and(|date| date.as_str() >= NIGHTLY_SINCE);
    if !knows || !sources.is_some_and(|file| file.is_file()) {
        return Ok(Outcome::Skipped(format!(
            "it needs a nightly since {NIGHTLY_SINCE} with its sources (rustup toolchain install nightly --component rust-src)"
        )));
    }
    for chip in [Chip::Esp32, Chip::Esp32s2, Chip::Esp32s3] {
        build::type_check(chip)?;
    }
    Ok(Outcome::Passed)
}

fn some_settings() -> Result<Settings> {
    Ok(Settings {
        wifi: vec![WifiNetwork::new("workshop", "a password")?],
        broker: Some(BrokerUrl::parse("mqtt://192.168.1.10")?),
        ..Settings::default()
    })
}

/// esptool must find checksum and validation hash valid.
pub(super) fn check_with_esptool(python: &Path, chip: Chip, name: &str, app: &[u8]) -> Result<()> {
    let file = Path::new("target/firmware").join(format!("{name}.bin"));
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&file, app)?;
    let (python, path) = (python.to_string_lossy(), file.to_string_lossy());
    let said = output(command(
        &python,
        &["-m", "esptool", "--chip", chip.name(), "image-info", &path],
    ))?;
    for wanted in ["Checksum", "Validation hash"] {
        let line = said.lines().find(|line| line.starts_with(wanted));
        let line = line.with_context(|| {
            format!(
                "esptool says nothing of a {}:\n{said}",
                wanted.to_lowercase()
            )
        })?;
        ensure!(line.contains("(valid)"), "{name}: esptool says: {line}");
        println!("{name}: esptool: {line}");
    }
    Ok(())
}

/// Bootloader, table, settings and app must be where the ROM, the bootloader and the app look for them.
fn check_merged(chip: Chip, made: &image::Made, settings: &Settings) -> Result<()> {
    let flash = &made.flash;
    ensure!(
        flash.len() == FLASH_LEN,
        "flash.bin has {} bytes",
        flash.len()
    );
    let at = |offset: u32, len: usize| {
        flash
            .get(offset as usize..offset as usize + len)
            .context("flash.bin is too short")
    };
    // Where the ROM looks: the chips' technical reference manuals, "Boot".
    let bootloader = if matches!(chip, Chip::Esp32 | Chip::Esp32s2) {
        0x1000
    } else {
        0
    };
    ensure!(
        at(bootloader, 1)? == [0xE9],
        "no bootloader at {bootloader:#x}"
    );
    let table = at(PARTITION_TABLE_OFFSET, PARTITION_TABLE_LEN)?;
    let table = PartitionTable::parse(table)
        .map_err(|error| anyhow::anyhow!("partition table: {error}"))?;
    let layout =
        Layout::from_table(&table).map_err(|error| anyhow::anyhow!("partition table: {error}"))?;
    ensure!(layout == DEFAULT_4MB, "the partition table is another one");
    let [first, _] = layout.slots;
    ensure!(
        at(first.offset, made.app.len())? == made.app,
        "the app is not in ota_0"
    );
    let mut chip_flash = Flash(flash.clone());
    let read = load(&mut chip_flash, layout.nvs)?;
    if read.wifi != settings.wifi || read.broker != settings.broker {
        bail!("the settings do not read back from flash.bin");
    }
    Ok(())
}

/// Another folder must make the same bytes.
fn check_reproducible(chip: Chip, app: &[u8], parts: &[u8]) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("otaria elsewhere {}", std::process::id()));
    build::copy_sources(&folder)?;
    let built = build::app_elsewhere(chip, &folder);
    fs::remove_dir_all(&folder)?;
    let [other_app, other_parts] = built?;
    ensure!(
        other_app == app,
        "{}: another folder makes another image",
        chip.name()
    );
    ensure!(
        other_parts == parts,
        "{}: another folder makes another {SBOM}",
        chip.name()
    );
    println!("{}: another folder makes the same bytes", chip.name());
    Ok(())
}

/// A flash image, to be read as a device reads it.
struct Flash(Vec<u8>);

impl embedded_storage::nor_flash::ErrorType for Flash {
    type Error = embedded_storage::nor_flash::NorFlashErrorKind;
}

impl embedded_storage::nor_flash::ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let start = offset as usize;
        let found = self.0.get(start..start + bytes.len());
        bytes.copy_from_slice(
            found.ok_or(embedded_storage::nor_flash::NorFlashErrorKind::OutOfBounds)?,
        );
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl embedded_storage::nor_flash::NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, _: u32, _: u32) -> Result<(), Self::Error> {
        Err(embedded_storage::nor_flash::NorFlashErrorKind::Other)
    }

    fn write(&mut self, _: u32, _: &[u8]) -> Result<(), Self::Error> {
        Err(embedded_storage::nor_flash::NorFlashErrorKind::Other)
    }
}
