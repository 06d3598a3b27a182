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

use super::Chip;

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
    let flash = host::flash_image(&parts, settings)?.to_vec();
    Ok(Made {
        app: parts.app,
        flash,
        package,
    })
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
