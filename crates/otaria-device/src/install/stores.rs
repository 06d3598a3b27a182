//! Everything that is kept in flash, opened.

use core::cell::RefCell;
use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use otaria_engine::admission::{Floors, Quarantined};
use otaria_engine::slot::Slot;
use otaria_wire::journal::{Confirmed, QUARANTINE_KEYS, Quarantine};
use otaria_wire::partitions::Layout;

use crate::board::ResetReason;
use crate::guard::{BootReport, GuardError, boot_guard};
use crate::storage::SECTOR_LEN;
use crate::storage::journal::{JOURNAL_SECTORS, Journal, JournalError};
use crate::storage::otadata::{OtaData, OtaDataError};
use crate::storage::region::Region;
use crate::storage::slot::{SlotError, TargetSlot};
use crate::storage::table_store::{TABLE_STORE_SECTORS, TableStore, TableStoreError};

/// Why the stores cannot be opened. None of it is about what is *in* flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoresError {
    /// A partition does not lie within the chip, or is not what its store needs.
    Layout,
    /// The journal cannot be read or written.
    Journal(JournalError),
}

impl fmt::Display for StoresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout => f.write_str("the partitions are not as they should be"),
            Self::Journal(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StoresError {}

/// The stores over one flash chip. They block for one command at a time, so a borrow never lasts over an `await`.
pub struct Stores<'a, F> {
    /// What must survive a power cut.
    pub journal: RefCell<Journal<Region<'a, F>>>,
    /// Header and table of the download.
    pub tables: RefCell<TableStore<Region<'a, F>>>,
    /// Which slot the bootloader takes.
    pub otadata: RefCell<OtaData<Region<'a, F>>>,
    slots: [Region<'a, F>; 2],
    log: Region<'a, F>,
    running: Option<Slot>,
    slot_len: u32,
}

impl<'a, F: NorFlash> Stores<'a, F> {
    /// Opens the stores where `layout` says, while `running` runs.
    ///
    /// # Errors
    /// See [`StoresError`].
    pub fn open(
        flash: &'a RefCell<F>,
        layout: &Layout,
        running: Option<Slot>,
    ) -> Result<Self, StoresError> {
        let region = |at: &otaria_wire::partitions::Region| {
            Region::new(flash, at.offset, at.len).map_err(|_| StoresError::Layout)
        };
        let [first, second] = &layout.slots;
        let otaria = region(&layout.journal)?;
        let part = |from: u32, sectors: u32| {
            otaria
                .part(from * SECTOR_LEN, sectors * SECTOR_LEN)
                .map_err(|_| StoresError::Layout)
        };
        let journal = Journal::mount(part(0, JOURNAL_SECTORS)?).map_err(StoresError::Journal)?;
        let tables = TableStore::new(part(JOURNAL_SECTORS, TABLE_STORE_SECTORS)?)
            .map_err(|_: TableStoreError| StoresError::Layout)?;
        let otadata = OtaData::new(region(&layout.otadata)?)
            .map_err(|_: OtaDataError| StoresError::Layout)?;
        Ok(Self {
            journal: RefCell::new(journal),
            tables: RefCell::new(tables),
            otadata: RefCell::new(otadata),
            slots: [region(first)?, region(second)?],
            log: region(&layout.log)?,
            running,
            slot_len: layout.slot_len(),
        })
    }

    /// The boot guard: to be called first, before anything else can crash. If it says [`crate::guard::Then::Reset`], reset.
    ///
    /// # Errors
    /// See [`boot_guard`].
    pub fn guard(&self, reset: ResetReason) -> Result<BootReport, GuardError> {
        boot_guard(
            &mut self.journal.borrow_mut(),
            &mut self.otadata.borrow_mut(),
            self.running,
            reset,
        )
    }

    /// The log's flash.
    pub(crate) fn log(&self) -> Region<'a, F> {
        self.log
    }

    /// The slot that runs, if it is one.
    #[must_use]
    pub fn running(&self) -> Option<Slot> {
        self.running
    }

    /// Bytes in a slot.
    #[must_use]
    pub fn slot_len(&self) -> u32 {
        self.slot_len
    }

    /// A slot's flash.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> Region<'a, F> {
        let [first, second] = self.slots;
        match slot {
            Slot::Ota0 => first,
            Slot::Ota1 => second,
        }
    }

    /// The slot that an update goes to.
    ///
    /// # Errors
    /// Never, as the slot is chosen not to be the running one.
    pub fn target(&self) -> Result<TargetSlot<Region<'a, F>>, SlotError> {
        let slot = self.running.map_or(Slot::Ota0, Slot::other);
        TargetSlot::new(slot, self.running, self.slot(slot))
    }

    /// What the last confirmed image forbids to fall below.
    ///
    /// # Errors
    /// The journal cannot be read. No package is admitted then: without the floors anything old could come back.
    pub fn floors(&self) -> Result<Option<Floors>, JournalError> {
        let confirmed = self.journal.borrow_mut().latest::<Confirmed>(0)?;
        Ok(confirmed.map(|confirmed| Floors {
            sequence: confirmed.sequence,
            image_sha256: confirmed.image_sha256,
            security_version: confirmed.security_version,
        }))
    }

    /// The packages that must not come again under their jobs.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn quarantine(
        &self,
    ) -> Result<heapless::Vec<Quarantined, { QUARANTINE_KEYS as usize }>, JournalError> {
        let mut all = heapless::Vec::new();
        for key in 0..QUARANTINE_KEYS {
            if let Some(Quarantine {
                identity,
                job_hash8,
                ..
            }) = self.journal.borrow_mut().latest(key)?
            {
                let _ = all.push(Quarantined {
                    identity,
                    job_hash8,
                });
            }
        }
        Ok(all)
    }
}
