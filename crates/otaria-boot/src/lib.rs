//! The ESP-IDF second-stage bootloader's choice of an app, modelled.
//!
//! It stands in for the real one wherever there is none: in simulated devices, in the power-cut sweep (its own writes to otadata
//! are flash commands that a cut can hit), in a port to a machine without ESP-IDF, and where a verdict is wanted on what a flash
//! image would boot.
//!
//! What it takes from ESP-IDF (v5.x, `components/bootloader_support/src`):
//!
//! | here | there |
//! |---|---|
//! | [`Bootloader::boot`] | `bootloader_utility.c`: `bootloader_utility_load_partition_table`, `bootloader_utility_load_boot_image` |
//! | `choose` | `bootloader_utility.c`: `bootloader_utility_get_selected_boot_partition`, without anti-rollback |
//! | `RawEntry` | `bootloader_common_loader.c`: `bootloader_common_ota_select_invalid`, `..._valid`, `bootloader_common_select_otadata` |
//! | `rewrite` | `bootloader_utility.c`: `write_otadata` (erase the sector, write the entry), `set_actual_ota_seq` |
//! | `verify` | `esp_image_format.c`: `image_load`; `bootloader_common_loader.c`: `bootloader_common_check_chip_validity` |
//!
//! The rules, in short:
//! 1. Built with rollback, it first turns each entry that says PENDING_VERIFY into ABORTED, whatever its CRC.
//! 2. If both entries are blank, INVALID or ABORTED, it starts with the factory app or, without one, with slot 0; in the latter case,
//!    if neither CRC holds, it writes `seq = slot + 1`, VALID to sector 0 once it knows what it boots.
//! 3. Else the highest sequence number with a good CRC selects slot `(seq - 1) mod slots`; built with rollback, NEW becomes
//!    PENDING_VERIFY.
//! 4. Else, both CRCs being bad or one bad and the other given up, it starts with the factory app or, without one, with slot 0, and
//!    writes nothing.
//! 5. If an image is bad it goes on to the lower slots, the factory app, the higher slots and the test app, *without touching
//!    otadata*.
//!
//! An image has to pass [`ImageChecker`](otaria_wire::esp_image::ImageChecker), which is stricter than the real bootloader in two points: it insists on the appended
//! SHA-256 and on the app descriptor. Not modelled: secure boot, flash encryption, anti-rollback by eFuse, the "factory reset" and
//! "test app" pins, and skipping the verification after deep sleep.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing
    )
)]

#[cfg(test)]
extern crate std;

mod image;
mod otadata;
mod table;
#[cfg(test)]
mod tests;

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::esp_image::{ChipId, ImageError, ImageInfo};
use otaria_wire::partitions::{PartitionError, Region};

use otadata::Choice;
use table::Apps;

/// An app partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum App {
    /// The factory app.
    Factory,
    /// The slot of this number.
    Slot(u8),
    /// The test app.
    Test,
}

/// What the bootloader started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booted {
    /// The partition that the running image is in: what an application reads from the MMU.
    pub app: App,
    /// Where that is.
    pub region: Region,
    /// What the image says about itself.
    pub image: ImageInfo,
    /// The first image that was tried before this one, and why it was refused.
    pub refused: Option<(App, Refusal)>,
}

impl Booted {
    /// The slot that runs, if it is a slot.
    #[must_use]
    pub fn slot(&self) -> Option<u8> {
        match self.app {
            App::Slot(slot) => Some(slot),
            App::Factory | App::Test => None,
        }
    }
}

/// Why an image was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not a good image.
    Image(ImageError),
    /// It is longer than its partition.
    TooLong,
    /// It is for another chip.
    Chip(ChipId),
    /// It is for older or newer revisions of the chip.
    Revision,
}

/// Why nothing was started. The real bootloader resets the chip then, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootError<E> {
    /// Flash could not be read: in a simulation, the power is gone.
    Flash(E),
    /// There is no usable partition table.
    PartitionTable(PartitionError),
    /// A partition ends behind the flash.
    OutsideFlash,
    /// The otadata partition has less than two sectors.
    OtadataTooSmall,
    /// No partition holds a good image. If one was tried, this is why the first was refused.
    NothingToBoot(Option<(App, Refusal)>),
}

impl<E: fmt::Debug> fmt::Display for BootError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => write!(f, "flash cannot be read: {error:?}"),
            Self::PartitionTable(error) => write!(f, "{error}"),
            Self::OutsideFlash => f.write_str("a partition ends behind the flash"),
            Self::OtadataTooSmall => f.write_str("the otadata partition has less than two sectors"),
            Self::NothingToBoot(None) => f.write_str("there is no app partition"),
            Self::NothingToBoot(Some((app, refusal))) => {
                write!(f, "no image can be booted; {app:?}: {refusal:?}")
            }
        }
    }
}

impl<E: fmt::Debug> core::error::Error for BootError<E> {}

/// How a bootloader was built, and what it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootloader {
    rollback: bool,
    chip: Option<(ChipId, u16)>,
}

/// Boots with a bootloader that runs on any chip: see [`Bootloader::boot`].
///
/// # Errors
/// See [`BootError`].
pub fn boot<F: NorFlash>(flash: &mut F, rollback: bool) -> Result<Booted, BootError<F::Error>> {
    Bootloader::new(rollback).boot(flash)
}

impl Bootloader {
    /// A bootloader built with or without `CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE`. espflash's stock bootloader is built without.
    #[must_use]
    pub const fn new(rollback: bool) -> Self {
        Self {
            rollback,
            chip: None,
        }
    }

    /// The same bootloader for one chip and revision (major x 100 + minor): it refuses images for others.
    #[must_use]
    pub const fn on_chip(self, chip: ChipId, revision: u16) -> Self {
        Self {
            chip: Some((chip, revision)),
            ..self
        }
    }

    /// Chooses and verifies an image, and changes otadata as the real bootloader does.
    ///
    /// A write to otadata that fails is passed over, as the real one does it, as long as flash can be read at all.
    ///
    /// # Errors
    /// See [`BootError`].
    pub fn boot<F: NorFlash>(&self, flash: &mut F) -> Result<Booted, BootError<F::Error>> {
        let apps = Apps::load(flash)?;
        let choice = otadata::choose(flash, &apps, self.rollback)?;
        let mut refused = None;
        for app in apps.in_order(choice.start()) {
            let Some(region) = apps.region(app) else {
                continue;
            };
            match image::verify(flash, region, self.chip).map_err(BootError::Flash)? {
                Ok(image) => {
                    if let (Choice::Initial, App::Slot(slot)) = (choice, app) {
                        otadata::write_initial(flash, &apps, slot)?;
                    }
                    return Ok(Booted {
                        app,
                        region,
                        image,
                        refused,
                    });
                }
                Err(refusal) => refused = refused.or(Some((app, refusal))),
            }
        }
        Err(BootError::NothingToBoot(refused))
    }
}
