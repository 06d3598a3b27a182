//! From an ELF to what is flashed and what is published.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use otaria_package::elf;
use otaria_package::keyfile::PrivateKeyFile;
use otaria_package::keys::SigningKey;
use otaria_package::pack::{DEFAULT_SLOT_SIZE, Options, TimeStamp, pack};
use otaria_settings::Settings;
use otaria_settings::host;
use otaria_wire::partitions::{
    DEFAULT_4MB, PARTITION_TABLE_OFFSET, default_4mb_partitions, encode,
};

use super::Chip;

/// Bytes of the merged image: a whole flash chip.
pub(super) const FLASH_LEN: usize = 4 * 1024 * 1024;

/// What is made of an ELF.
pub(super) struct Made {
    /// The app image.
    pub(super) app: Vec<u8>,
    /// A whole flash chip: bootloader, partition table, settings, app.
    pub(super) flash: Vec<u8>,
    /// The signed package, if there is a key.
    pub(super) package: Option<Vec<u8>>,
}

pub(super) fn read_settings(path: &Path) -> Result<Settings> {
    host::read_device_file(path).with_context(|| format!("cannot use {}", path.display()))
}

pub(super) fn read_key(path: &Path) -> Result<SigningKey> {
    let file = PrivateKeyFile::read(path)?;
    let passphrase = std::env::var("OTARIA_PASSPHRASE").ok();
    if file.needs_passphrase() && passphrase.is_none() {
        anyhow::bail!(
            "{} has a passphrase; set it in OTARIA_PASSPHRASE",
            path.display()
        );
    }
    Ok(file.open(passphrase.as_deref())?)
}

pub(super) fn make(
    elf: &[u8],
    chip: Chip,
    settings: Option<&Settings>,
    key: Option<&SigningKey>,
) -> Result<Made> {
    let parts = elf::to_flash(elf, Some(chip.name()), DEFAULT_SLOT_SIZE)?;
    let package = key.map(|key| sign(&parts.app, key)).transpose()?;
    // Erased flash reads 0xFF: both slots but the first, otadata, journal and log are blank.
    let mut flash = vec![0xFF; FLASH_LEN];
    put(&mut flash, parts.bootloader_offset, &parts.bootloader)?;
    let table = encode(&default_4mb_partitions())
        .map_err(|error| anyhow::anyhow!("the partition table does not encode: {error}"))?;
    put(&mut flash, PARTITION_TABLE_OFFSET, &table)?;
    let [first, _] = DEFAULT_4MB.slots;
    put(&mut flash, first.offset, &parts.app)?;
    if let Some(settings) = settings {
        let nvs = host::partition_image(settings, DEFAULT_4MB.nvs.len as usize)?;
        host::put_into_flash(&mut flash, &nvs)?;
    }
    Ok(Made {
        app: parts.app,
        flash,
        package,
    })
}

fn put(flash: &mut [u8], offset: u32, bytes: &[u8]) -> Result<()> {
    let start = offset as usize;
    let place = flash.get_mut(start..start + bytes.len());
    place
        .with_context(|| format!("{} bytes at {offset:#x} do not fit 4 MB", bytes.len()))?
        .copy_from_slice(bytes);
    Ok(())
}

fn sign(app: &[u8], key: &SigningKey) -> Result<Vec<u8>> {
    let stamp = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(value) => TimeStamp::from_source_date_epoch(&value)
            .context("SOURCE_DATE_EPOCH is not a number of seconds")?,
        Err(_) => TimeStamp::at(SystemTime::now()),
    };
    let options = Options::new(stamp);
    Ok(pack(app, key, &options)?.bytes)
}
