//! Settings into flash: what a person may change at the device itself.

use core::ops::Range;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use esp_nvs::platform::{Crc, software_crc32};
use esp_nvs::{Key, Nvs};
use otaria_wire::nvs::PAGE_LEN;
use otaria_wire::partitions::Region;
use otaria_wire::settings as names;

use crate::read::check_region;
use crate::{BrokerUrl, Settings, SettingsError, WifiNetwork, load, network};

const NAMESPACE: Key = Key::from_str(names::NAMESPACE);
const NETWORK: Key = Key::from_str(names::NETWORK);

/// Saves Wi-Fi networks and broker, for the set-up page and Improv; `None` keeps the broker that is set.
///
/// No other setting can be set this way: neither keys nor hosts nor the device's id. A power cut at any time leaves either the
/// old or the new networks and broker, never a mixture; or, once, those of an earlier call that was cut. Blocks while sectors are
/// erased: none, one, or on a partition that is nearly full, two.
///
/// What a cut left half-done in the partition is put right first, and what is damaged in it is dropped: so that a person at the
/// set-up page can bring a device back to its network. A partition without any NVS page is written anew.
///
/// # Errors
/// See [`SettingsError`]. After [`SettingsError::NotSaved`] read the settings again: another one may have changed, which takes a
/// partition that was damaged.
pub fn save_network<F: NorFlash>(
    flash: &mut F,
    region: Region,
    wifi: &[WifiNetwork],
    broker: Option<&BrokerUrl>,
) -> Result<(), SettingsError> {
    check_region(flash, region)?;
    let before = load(flash, region);
    let broker = match (broker, &before) {
        (_, Err(error @ SettingsError::Version)) => return Err(*error),
        (Some(broker), _) => Some(broker),
        (None, Ok(before)) => before.broker.as_ref(),
        (None, Err(SettingsError::NotNvs)) => None,
        (None, Err(error)) => return Err(*error),
    };
    let blob = network::encode(wifi, broker)?;
    let partition = Partition {
        flash,
        region,
        fresh: None,
        error: None,
    };
    let mut nvs = Nvs::new(0, partition.capacity(), partition).map_err(of_nvs)?;
    let saved = nvs.set(&NAMESPACE, &NETWORK, &blob[..]).map_err(of_nvs);
    let Partition { flash, error, .. } = nvs.into_inner();
    if let Some(kind) = error {
        return Err(SettingsError::Flash(kind));
    }
    saved?;
    let after = load(flash, region)?;
    let expected = Settings {
        wifi: wifi.to_vec(),
        broker: broker.cloned(),
        ..before.clone().unwrap_or_else(|_| after.clone())
    };
    if after == expected {
        Ok(())
    } else {
        Err(SettingsError::NotSaved)
    }
}

fn of_nvs(error: esp_nvs::error::Error) -> SettingsError {
    use esp_nvs::error::Error;
    match error {
        Error::FlashError => SettingsError::Flash(NorFlashErrorKind::Other),
        Error::InvalidPartitionOffset | Error::InvalidPartitionSize => SettingsError::Region,
        // A value of this length fails only for want of room.
        Error::FlashFull | Error::PageFull | Error::ValueTooLong | Error::TooManyNamespaces => {
            SettingsError::Full
        }
        _ => SettingsError::NotSaved,
    }
}

/// The partition as a flash of its own, so that nothing outside it can be reached.
struct Partition<'a, F> {
    flash: &'a mut F,
    region: Region,
    /// The page that was erased last, until something is written to it.
    fresh: Option<u32>,
    /// The first failure, with more than [`Nvs`] tells of it.
    error: Option<NorFlashErrorKind>,
}

/// Where the entries' states lie in a page.
const STATES: Range<u32> = 32..64;
/// The low bits of the states. Written is 10, erased 00, empty 11.
const LOW_BITS: u8 = 0b0101_0101;
/// Length of a page's header: the first write to a page that is taken into use.
const HEADER_LEN: usize = 32;

impl<F: NorFlash> Partition<'_, F> {
    /// Where in flash `len` bytes at `at` of the partition lie.
    fn place(&self, at: u32, len: usize) -> Result<u32, NorFlashErrorKind> {
        let len = u32::try_from(len).ok();
        let end = len.and_then(|len| at.checked_add(len));
        if end.is_none_or(|end| end > self.region.len) {
            return Err(NorFlashErrorKind::OutOfBounds);
        }
        self.region
            .offset
            .checked_add(at)
            .ok_or(NorFlashErrorKind::OutOfBounds)
    }

    fn noted<T>(&mut self, result: Result<T, NorFlashErrorKind>) -> Result<T, NorFlashErrorKind> {
        if let Err(kind) = &result {
            self.error.get_or_insert(*kind);
        }
        result
    }

    /// The first half of a write of states. An entry that goes from empty to erased in one write, cut short, could be left as
    /// written, and then be taken for a damaged one. With the high bit cleared first it cannot.
    fn clear_high_bits(&mut self, at: u32, states: &[u8]) -> Result<(), NorFlashErrorKind> {
        let mut buffer = [0; 32];
        let found = buffer
            .get_mut(..states.len())
            .ok_or(NorFlashErrorKind::OutOfBounds)?;
        self.flash.read(at, found).map_err(|error| error.kind())?;
        let mut changes = false;
        for (byte, state) in found.iter_mut().zip(states) {
            let half = *byte & (state | LOW_BITS);
            changes |= half != *byte;
            *byte = half;
        }
        if changes && found != states {
            self.flash.write(at, found).map_err(|error| error.kind())?;
        }
        Ok(())
    }

    fn erase_pages(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let len = to.checked_sub(from).ok_or(NorFlashErrorKind::OutOfBounds)?;
        let len = usize::try_from(len).map_err(|_| NorFlashErrorKind::OutOfBounds)?;
        let start = self.place(from, len)?;
        let end = self.place(to, 0)?;
        self.flash.erase(start, end).map_err(|error| error.kind())?;
        self.fresh = (len == PAGE_LEN).then_some(from);
        Ok(())
    }
}

impl<F> ErrorType for Partition<'_, F> {
    type Error = NorFlashErrorKind;
}

impl<F: NorFlash> ReadNorFlash for Partition<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let result = self
            .place(offset, bytes.len())
            .and_then(|at| self.flash.read(at, bytes).map_err(|error| error.kind()));
        self.noted(result)
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.region.len).unwrap_or_default()
    }
}

impl<F: NorFlash> NorFlash for Partition<'_, F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = PAGE_LEN;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let result = self.erase_pages(from, to);
        self.noted(result)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let starts_page = offset.is_multiple_of(PAGE_LEN as u32);
        let result = (|| {
            let at = self.place(offset, bytes.len())?;
            // An erase that a power cut ended may read blank and not hold what is written: a page is never taken into use on
            // its looks alone.
            if starts_page && bytes.len() == HEADER_LEN && self.fresh != Some(offset) {
                let end = offset.checked_add(PAGE_LEN as u32);
                self.erase_pages(offset, end.ok_or(NorFlashErrorKind::OutOfBounds)?)?;
            }
            if self
                .fresh
                .is_some_and(|page| offset / PAGE_LEN as u32 == page / PAGE_LEN as u32)
            {
                self.fresh = None;
            }
            if STATES.contains(&(offset % PAGE_LEN as u32)) {
                self.clear_high_bits(at, bytes)?;
            }
            self.flash.write(at, bytes).map_err(|error| error.kind())
        })();
        self.noted(result)
    }
}

impl<F> Crc for Partition<'_, F> {
    fn crc32(init: u32, data: &[u8]) -> u32 {
        software_crc32(init, data)
    }
}
