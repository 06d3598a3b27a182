//! Which app otadata selects, and what the bootloader changes in it.

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::otadata::{ENTRY_LEN, Entry, OtaState, SECTOR_LEN, seq_crc};
use otaria_wire::partitions::Region;

use crate::table::Apps;
use crate::{App, BootError};

const BLANK_SEQ: u32 = u32::MAX;

/// An entry as it lies in flash, good or bad. The real bootloader looks at single fields of bad entries too.
#[derive(Clone, Copy)]
struct RawEntry([u8; ENTRY_LEN]);

impl RawEntry {
    fn word(&self, at: usize) -> u32 {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    fn seq(&self) -> u32 {
        self.word(0)
    }

    fn state(&self) -> OtaState {
        OtaState::from_number(self.word(24))
    }

    fn crc_holds(&self) -> bool {
        self.word(28) == seq_crc(self.seq())
    }

    /// `bootloader_common_ota_select_invalid`: the CRC plays no part.
    fn is_given_up(&self) -> bool {
        self.seq() == BLANK_SEQ || self.state().is_given_up()
    }

    /// `bootloader_common_ota_select_valid`.
    fn is_usable(&self) -> bool {
        !self.is_given_up() && self.crc_holds()
    }

    fn set_state(&mut self, state: OtaState) {
        if let Some(place) = self.0.get_mut(24..28) {
            place.copy_from_slice(&state.number().to_le_bytes());
        }
    }
}

/// Where the bootloader starts to look for a good image.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// There, and otadata stays as it is.
    Start(App),
    /// At slot 0, because otadata has never been written; the slot that boots is entered.
    Initial,
}

impl Choice {
    pub(crate) fn start(self) -> App {
        match self {
            Self::Start(app) => app,
            Self::Initial => App::Slot(0),
        }
    }
}

/// What otadata says. Built with rollback, the bootloader changes states on the way.
pub(crate) fn choose<F: NorFlash>(
    flash: &mut F,
    apps: &Apps,
    rollback: bool,
) -> Result<Choice, BootError<F::Error>> {
    let Some(region) = apps.otadata else {
        return Ok(Choice::Start(App::Factory));
    };
    if region.len < 2 * SECTOR_LEN {
        return Err(BootError::OtadataTooSmall);
    }
    let mut entries = [RawEntry([0; ENTRY_LEN]); 2];
    for (sector, entry) in entries.iter_mut().enumerate() {
        flash
            .read(offset(region, sector), &mut entry.0)
            .map_err(BootError::Flash)?;
    }
    if rollback {
        for (sector, entry) in entries.iter_mut().enumerate() {
            if entry.state() == OtaState::PendingVerify {
                entry.set_state(OtaState::Aborted);
                rewrite(flash, offset(region, sector), &entry.0)?;
            }
        }
    }

    let [first, second] = &mut entries;
    if apps.count == 0 || (first.is_given_up() && second.is_given_up()) {
        let never_written = |entry: &RawEntry| entry.seq() == BLANK_SEQ || !entry.crc_holds();
        return Ok(if apps.factory.is_some() {
            Choice::Start(App::Factory)
        } else if never_written(first) && never_written(second) {
            Choice::Initial
        } else {
            Choice::Start(App::Slot(0))
        });
    }
    let (sector, entry) = match (first.is_usable(), second.is_usable()) {
        (true, true) if second.seq() > first.seq() => (1, second),
        (true, _) => (0, first),
        (false, true) => (1, second),
        (false, false) => return Ok(Choice::Start(App::Factory)),
    };
    if rollback && entry.state() == OtaState::New {
        entry.set_state(OtaState::PendingVerify);
        rewrite(flash, offset(region, sector), &entry.0)?;
    }
    let slot = entry.seq().wrapping_sub(1) % u32::from(apps.count);
    // Less than `count`, so it fits.
    Ok(Choice::Start(App::Slot(slot as u8)))
}

/// Enters the slot that boots while otadata has never been written.
pub(crate) fn write_initial<F: NorFlash>(
    flash: &mut F,
    apps: &Apps,
    slot: u8,
) -> Result<(), BootError<F::Error>> {
    let Some(region) = apps.otadata else {
        return Ok(());
    };
    let entry = Entry::new(u32::from(slot) + 1, OtaState::Valid);
    rewrite(flash, offset(region, 0), &entry.encode())
}

fn offset(region: Region, sector: usize) -> u32 {
    // The region was checked to have two sectors.
    let sector = if sector == 0 { 0 } else { SECTOR_LEN };
    region.offset.saturating_add(sector)
}

/// Erases an entry's sector and writes the entry: two commands, and a power cut between them loses it.
fn rewrite<F: NorFlash>(
    flash: &mut F,
    at: u32,
    entry: &[u8; ENTRY_LEN],
) -> Result<(), BootError<F::Error>> {
    let written = flash
        .erase(at, at.saturating_add(SECTOR_LEN))
        .and_then(|()| flash.write(at, entry));
    match written {
        Ok(()) => Ok(()),
        // The real one logs it and goes on. Without power it would not, and nothing can be read either.
        Err(_) => flash.read(at, &mut [0; 4]).map_err(BootError::Flash),
    }
}
