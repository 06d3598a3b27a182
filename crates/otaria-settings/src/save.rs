//! Settings into flash: what a person may change at the device itself.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use esp_nvs::platform::{Crc, software_crc32};
use esp_nvs::{Key, Nvs};
use otaria_wire::nvs::PAGE_LEN;
use otaria_wire::partitions::Region;
use otaria_wire::settings as names;

use crate::read::check_region;
use crate::{BrokerUrl, SettingsError, WifiNetwork, load, network};

const NAMESPACE: Key = Key::from_str(names::NAMESPACE);
const NETWORK: Key = Key::from_str(names::NETWORK);

/// Saves Wi-Fi networks and broker, for the set-up page and Improv; `None` keeps the broker that is set.
///
/// It touches nothing else in the partition: neither keys nor hosts nor the device's id can be set this way. A power cut at any
/// time leaves either the old or the new networks and broker, never a mixture. Blocks for a sector erase where a page is full,
/// and for two on a partition that is nearly full. What a cut left half-done in the partition is put right first.
///
/// # Errors
/// See [`SettingsError`]. A partition that is no NVS partition, or of another version, is left alone.
pub fn save_network<F: NorFlash>(
    flash: &mut F,
    region: Region,
    wifi: &[WifiNetwork],
    broker: Option<&BrokerUrl>,
) -> Result<(), SettingsError> {
    check_region(flash, region)?;
    let before = load(flash, region);
    let broker = match (broker, &before) {
        (_, Err(error @ (SettingsError::NotNvs | SettingsError::Version))) => return Err(*error),
        (Some(broker), _) => Some(broker),
        (None, Ok(before)) => before.broker.as_ref(),
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
    if after.wifi != wifi || after.broker.as_ref() != broker {
        return Err(SettingsError::NotSaved);
    }
    Ok(())
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
