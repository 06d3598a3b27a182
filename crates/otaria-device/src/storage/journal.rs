//! What must survive a power cut: the latest record of each kind and key.
//!
//! ```text
//! otaria partition, sectors 0..8
//!
//!         half 0                                    half 1
//! sector  0            1          2         3       4 ...
//!        +------+-----+----------+---------+------+------+----
//!        | head | records ->     | blank, old or unstable
//!        +------+-----+----------+---------+------+------+----
//!          32 B   32 B a cell, 128 cells a sector, see otaria_wire::journal
//! ```
//!
//! One half is *in force*: the one whose header is good and has the higher epoch. Records are appended to it in cells; no
//! record crosses a sector. When it is full, the latest records are copied into the other half, which then has the higher epoch
//! (*compaction*). Rules that make cuts harmless:
//!
//! - **A sector is erased by the run that begins to write it**, right before its first record, whatever it reads as. After
//!   that, writing goes on behind the last cell that does not read blank. So a sector is *in use* if it holds a record
//!   of the half's epoch that checks, and whatever lies in the sectors behind it (old records, an erase that was cut) has no
//!   meaning: a record's CRC covers the epoch.
//! - **A half gets its header last**, when all its records are in it.
//! - **A cell that reads anything but blank is never written**, be its CRC good or bad.
//!
//! # What a cut here leaves
//!
//! | step | command | a cut leaves |
//! |---|---|---|
//! | append | write the record, one command | cells with a bad CRC, passed over one by one: the record that it was to replace still counts. Or all of it |
//! | append, first record of a sector | erase the sector | no record that checks: the sector is not in use, and is erased again |
//! | compaction 1 | erase the other half's sector 0 | its old header or none, with an epoch below the one in force |
//! | compaction 2 | write the latest records, erasing further sectors as they are reached | no header: the half in force stands. The next compaction starts anew |
//! | compaction 3 | erase what an earlier try at the same epoch left in the sectors behind | as above |
//! | compaction 4 | write the header | a bad header: as before. Or a good one: the new half is in force, and complete |
//! | first use 1 | erase sector 0 of half 0 | no good header: first use again (or "lost", if it left more than blanks) |
//! | first use 2 | write the header | as above, or an empty journal |
//! | lost 1 | erase all sectors of one half, while the other does not read blank | no good header, not all blank: lost, as before |
//! | lost 2 | write a record into it | the same |
//! | lost 3 | erase all sectors of the other half | the same |
//! | lost 4 | write the header | the same, or a journal with that one record |
//!
//! If both headers are bad but the halves are not blank, the journal is *lost*. It is made anew, which [`Origin::Lost`] reports,
//! and in place of what is lost comes a [`Progress`] record by which the slot writer trusts no sector to be blank. All sectors
//! are erased then, so that no record of an earlier life can meet its epoch again.
//!
//! # Limits
//! At most [`MAX_LIVE`] different pairs of kind and key, of all versions together: a version that needs more raises the journal's
//! version. RAM: about 600 bytes, and up to 2 KiB of stack in a compaction.

mod cells;
mod error;
#[cfg(test)]
mod tests;

use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;
use otaria_wire::journal::{
    CELL_LEN, Cell, Forget, HalfHeader, MAX_CELLS, MAX_RECORD_LEN, Progress, Record, RecordError,
    RecordView, encode,
};

use super::{Aligned, SECTOR_LEN, read, reads_as, reads_blank};

pub use error::JournalError;

/// Sectors of the `otaria` partition that the journal takes, from its start.
pub const JOURNAL_SECTORS: u32 = 8;
/// Most pairs of kind and key.
pub const MAX_LIVE: usize = 96;

const CELLS_PER_SECTOR: u16 = (SECTOR_LEN as usize / CELL_LEN) as u16;
/// Cells that a compaction must leave free, or the journal would compact at every append.
const SPARE_CELLS: u16 = MAX_CELLS as u16;
/// A record that was lost with the journal and says: no sector of the other slot can be trusted to be blank.
const NOTHING_IS_BLANK: Progress = Progress {
    identity8: [0; 8],
    blocks_held: 0,
    erased_to: 0,
    erasing_to: u32::MAX,
    slot: 0,
};

/// What [`Journal::mount`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A journal.
    Found,
    /// Blank flash: the first boot. The journal is empty.
    Fresh,
    /// Something that is no journal any more. Everything in it is lost, floors and trial included.
    Lost,
}

/// Where the latest record of a pair lies.
#[derive(Debug, Clone, Copy)]
struct Live {
    kind: u8,
    cells: u8,
    key: u16,
    cell: u16,
}

impl Live {
    fn is(&self, kind: u8, key: u16) -> bool {
        (self.kind, self.key) == (kind, key)
    }
}

/// The journal. See the [module](self).
#[derive(Debug)]
pub struct Journal<R> {
    region: R,
    half_sectors: u16,
    half: u16,
    epoch: u32,
    /// The sector in use that is written, counted within the half.
    sector: u16,
    /// The next cell to write in it.
    next: u16,
    live: Vec<Live, MAX_LIVE>,
    damaged: u16,
    origin: Origin,
    /// Reading failed half-way, so that this value does not know what is in flash.
    stale: bool,
}

impl<R: NorFlash> Journal<R> {
    /// Reads the journal in `region`, or makes a new one if there is none. Reads the half in force once.
    ///
    /// # Errors
    /// [`JournalError::WrongSize`], or a flash command failed. What is in flash is never an error.
    pub fn mount(region: R) -> Result<Self, JournalError> {
        let half_sectors =
            u16::try_from(region.capacity() / (2 * SECTOR_LEN as usize)).unwrap_or(0);
        let whole = usize::from(half_sectors) * 2 * SECTOR_LEN as usize == region.capacity();
        if half_sectors == 0 || half_sectors > u16::MAX / CELLS_PER_SECTOR || !whole {
            return Err(JournalError::WrongSize);
        }
        let mut journal = Self {
            region,
            half_sectors,
            half: 0,
            epoch: 0,
            sector: 0,
            next: 1,
            live: Vec::new(),
            damaged: 0,
            origin: Origin::Found,
            stale: false,
        };
        let headers = [journal.read_header(0)?, journal.read_header(1)?];
        match headers {
            [Some(first), Some(second)] if second.epoch > first.epoch => {
                journal.load(1, second.epoch)?;
            }
            [Some(first), _] => journal.load(0, first.epoch)?,
            [None, Some(second)] => journal.load(1, second.epoch)?,
            [None, None] => journal.make()?,
        }
        Ok(journal)
    }

    /// What the mount found.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Cells that read neither blank nor as part of a good record: what cut writes left since the last compaction.
    #[must_use]
    pub fn damaged_cells(&self) -> u16 {
        self.damaged
    }

    /// The latest record of this type and key.
    ///
    /// # Errors
    /// The flash cannot be read, or [`JournalError::Undecodable`].
    pub fn latest<T: Record>(&mut self, key: u16) -> Result<Option<T>, JournalError> {
        let mut buf = Aligned::<MAX_RECORD_LEN>::new();
        let Some(view) = self.latest_of(T::KIND, key, &mut buf)? else {
            return Ok(None);
        };
        let record = T::read(&mut view.payload());
        if record.is_none() {
            return Err(JournalError::Undecodable { kind: T::KIND });
        }
        Ok(record)
    }

    fn latest_of<'b>(
        &mut self,
        kind: u8,
        key: u16,
        buf: &'b mut Aligned<MAX_RECORD_LEN>,
    ) -> Result<Option<RecordView<'b>>, JournalError> {
        self.check()?;
        let Some(live) = self.find(kind, key) else {
            return Ok(None);
        };
        let record = self.read_record(live, buf)?;
        match RecordView::parse(self.epoch, record) {
            Ok(view) if view.kind() == kind => Ok(Some(view)),
            Ok(_) | Err(_) => Err(JournalError::Undecodable { kind }),
        }
    }

    /// Appends a record, which replaces the earlier one of this type and key. Does nothing if they are equal.
    ///
    /// When this returns, the record is in flash and has been read back. It takes one write, at most one erase, and in one of
    /// several hundred calls a compaction.
    ///
    /// # Errors
    /// [`JournalError::Full`] and [`JournalError::TooLong`]: nothing was done. Otherwise the earlier record or this one
    /// counts.
    pub fn append<T: Record>(&mut self, key: u16, record: &T) -> Result<(), JournalError> {
        let mut buf = Aligned::<MAX_RECORD_LEN>::new();
        let record = encode(self.epoch, key, record, &mut buf.0).map_err(too_long)?;
        let len = record.len();
        self.append_encoded(T::KIND, key, len, &mut buf)
    }

    /// Appends the first `len` bytes of `buf`.
    fn append_encoded(
        &mut self,
        kind: u8,
        key: u16,
        len: usize,
        buf: &mut Aligned<MAX_RECORD_LEN>,
    ) -> Result<(), JournalError> {
        self.check()?;
        let record = buf.0.get(..len).unwrap_or_default();
        let cells = count(record);
        let earlier = self.find(kind, key);
        if let Some(earlier) = earlier {
            let at = self.address(self.half, earlier.cell);
            if reads_as(&mut self.region, at, record)? {
                return Ok(());
            }
        }
        if (earlier.is_none() && self.live.is_full()) || !self.fits(kind, key, u16::from(cells)) {
            return Err(JournalError::Full);
        }
        match self.put(record) {
            Ok(cell) => {
                self.remember(Live {
                    kind,
                    cells,
                    key,
                    cell,
                });
                Ok(())
            }
            // No room in this half, or it does not take the record.
            Err(_) => self.compact(kind, key, len, buf),
        }
    }

    /// Removes the record of this type and key, if there is one.
    ///
    /// # Errors
    /// A flash command failed: the record counts still, or not any more.
    pub fn remove<T: Record>(&mut self, key: u16) -> Result<(), JournalError> {
        self.remove_any(T::KIND, key)
    }

    fn remove_any(&mut self, kind: u8, key: u16) -> Result<(), JournalError> {
        self.check()?;
        if self.find(kind, key).is_none() {
            return Ok(());
        }
        let mut buf = Aligned::<MAX_RECORD_LEN>::new();
        let record = encode(self.epoch, key, &Forget { kind }, &mut buf.0).map_err(too_long)?;
        match self.put(record) {
            Ok(_) => {
                self.forget(kind, key);
                Ok(())
            }
            Err(_) => self.compact(kind, key, 0, &mut buf),
        }
    }

    fn check(&self) -> Result<(), JournalError> {
        if self.stale {
            Err(JournalError::Stale)
        } else {
            Ok(())
        }
    }

    /// Writes a record behind the last one, and reads it back.
    fn put(&mut self, record: &[u8]) -> Result<u16, JournalError> {
        let cells = u16::from(count(record));
        if self.next + cells > CELLS_PER_SECTOR {
            if self.sector + 1 >= self.half_sectors {
                return Err(JournalError::Full);
            }
            self.erase_sector(self.half, self.sector + 1)?;
            self.sector += 1;
            self.next = 0;
        }
        let cell = self.sector * CELLS_PER_SECTOR + self.next;
        // Whatever becomes of the write, these cells are used up.
        self.next += cells;
        self.write_cells(self.half, cell, record)?;
        Ok(cell)
    }

    /// Copies the latest records into the other half, which is then in force; of this kind and key, the first `len` bytes of
    /// `buf` instead, or nothing if that is 0.
    fn compact(
        &mut self,
        kind: u8,
        key: u16,
        len: usize,
        buf: &mut Aligned<MAX_RECORD_LEN>,
    ) -> Result<(), JournalError> {
        let (half, epoch) = (
            1 - self.half,
            self.epoch.checked_add(1).ok_or(JournalError::Exhausted)?,
        );
        self.erase_sector(half, 0)?;
        let mut place = Place { sector: 0, next: 1 };
        if len > 0 {
            self.copy(
                half,
                epoch,
                &mut place,
                buf.0.get(..len).unwrap_or_default(),
            )?;
        }
        let mut damaged = 0;
        for at in 0..self.live.len() {
            let Some(live) = self
                .live
                .get(at)
                .copied()
                .filter(|live| !live.is(kind, key))
            else {
                continue;
            };
            let record = self.read_record(live, buf)?;
            match self.copy(half, epoch, &mut place, record) {
                Ok(()) => {}
                // It was good at the mount: the flash has lost it since.
                Err(JournalError::Undecodable { .. }) => damaged += 1,
                Err(error) => return Err(error),
            }
        }
        // What a compaction into the same epoch left that was cut further on would count again behind this header.
        for sector in place.sector + 1..self.half_sectors {
            if self.holds_record_of(epoch, half, sector)? {
                self.erase_sector(half, sector)?;
            }
        }
        let written = self.write_cells(half, 0, &Aligned(HalfHeader { epoch }.encode()).0);
        // From here on the flash says which half is in force, not the outcome of the write.
        self.stale = true;
        if self.read_header(half)? == Some(HalfHeader { epoch }) {
            self.load(half, epoch)?;
            self.damaged += damaged;
            self.stale = false;
            return Ok(());
        }
        self.stale = false;
        written.and(Err(JournalError::NotWritten))
    }

    /// Whether any cell of the sector begins a record that checks in this epoch.
    fn holds_record_of(
        &mut self,
        epoch: u32,
        half: u16,
        sector: u16,
    ) -> Result<bool, JournalError> {
        let mut buf = Aligned::<MAX_RECORD_LEN>::new();
        for at in 0..CELLS_PER_SECTOR {
            let cell = sector * CELLS_PER_SECTOR + at;
            let Cell::First { cells } = self.read_cell(half, cell)? else {
                continue;
            };
            if usize::from(at) + cells > usize::from(CELLS_PER_SECTOR) {
                continue;
            }
            let from = self.address(half, cell);
            let bytes = buf.0.get_mut(..cells * CELL_LEN).unwrap_or_default();
            read(&mut self.region, from, bytes)?;
            if RecordView::parse(epoch, bytes).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a half can hold the latest records, with one of `cells` cells for this kind and key, in whatever order, and
    /// leave [`SPARE_CELLS`]. This holds at any time, so that a record can always be replaced by one of the same length.
    fn fits(&self, kind: u8, key: u16, cells: u16) -> bool {
        let live = self.live.iter().filter(|live| !live.is(kind, key));
        let live = live.map(|live| u32::from(live.cells)).sum::<u32>() + u32::from(cells);
        // A sector ends in at most so many cells that the next record would not fit into.
        let gaps = u32::from(self.half_sectors - 1) * (MAX_CELLS as u32 - 1);
        let header = 1;
        header + live + gaps + u32::from(SPARE_CELLS)
            <= u32::from(self.half_sectors) * u32::from(CELLS_PER_SECTOR)
    }

    /// Writes a record of the half in force into the other one, erasing the sector if it is the first one there.
    fn copy(
        &mut self,
        half: u16,
        epoch: u32,
        place: &mut Place,
        record: &[u8],
    ) -> Result<(), JournalError> {
        let mut out = Aligned([0; MAX_RECORD_LEN]);
        let record = RecordView::parse(self.epoch, record)
            .and_then(|view| view.copy_to(epoch, &mut out.0))
            .map_err(|_| JournalError::Undecodable {
                kind: record.first().copied().unwrap_or_default(),
            })?;
        let before = place.sector;
        let cell = place.take(u16::from(count(record)));
        if place.sector >= self.half_sectors {
            return Err(JournalError::Full);
        }
        if place.sector != before {
            self.erase_sector(half, place.sector)?;
        }
        self.write_cells(half, cell, record)
    }

    /// Makes an empty journal.
    fn make(&mut self) -> Result<(), JournalError> {
        let epoch = 1;
        let (half, origin) = match (self.holds_nothing(0)?, self.holds_nothing(1)?) {
            (true, true) => {
                self.erase_sector(0, 0)?;
                (0, Origin::Fresh)
            }
            (_, second_holds_nothing) => {
                // Until the record below is there, the other half is what shows that something was lost.
                let half = u16::from(second_holds_nothing);
                self.erase_half(half)?;
                let mut buf = Aligned::<MAX_RECORD_LEN>::new();
                let record = encode(epoch, 0, &NOTHING_IS_BLANK, &mut buf.0).map_err(too_long)?;
                self.write_cells(half, 1, record)?;
                self.erase_half(1 - half)?;
                (half, Origin::Lost)
            }
        };
        self.write_cells(half, 0, &Aligned(HalfHeader { epoch }.encode()).0)?;
        self.load(half, epoch)?;
        self.origin = origin;
        Ok(())
    }

    /// Whether everything but the header cell reads blank: then no record was ever here. (A header cell that is not blank is
    /// what a cut in the first use leaves.)
    fn holds_nothing(&mut self, half: u16) -> Result<bool, JournalError> {
        let (from, to) = (self.address(half, 1), self.address(half + 1, 0));
        Ok(reads_blank(&mut self.region, from, to - from)?)
    }

    fn erase_half(&mut self, half: u16) -> Result<(), JournalError> {
        for sector in 0..self.half_sectors {
            self.erase_sector(half, sector)?;
        }
        Ok(())
    }

    /// Reads a half of this epoch, which is then in force.
    fn load(&mut self, half: u16, epoch: u32) -> Result<(), JournalError> {
        (self.half, self.epoch) = (half, epoch);
        (self.sector, self.next, self.damaged) = (0, 1, 0);
        self.live.clear();
        for sector in 0..self.half_sectors {
            self.load_sector(sector)?;
        }
        Ok(())
    }

    fn load_sector(&mut self, sector: u16) -> Result<(), JournalError> {
        let mut in_use = sector == 0;
        let mut damaged = 0;
        let mut end = u16::from(in_use);
        let mut at = end;
        while at < CELLS_PER_SECTOR {
            let mut buf = Aligned::<MAX_RECORD_LEN>::new();
            let cell = sector * CELLS_PER_SECTOR + at;
            let found = match self.read_cell(self.half, cell)? {
                Cell::Erased => {
                    at += 1;
                    continue;
                }
                Cell::First { cells }
                    if usize::from(at) + cells <= usize::from(CELLS_PER_SECTOR) =>
                {
                    let live = Live {
                        kind: 0,
                        cells: u8::try_from(cells).unwrap_or(1),
                        key: 0,
                        cell,
                    };
                    RecordView::parse(self.epoch, self.read_record(live, &mut buf)?).ok()
                }
                Cell::First { .. } | Cell::Continuation | Cell::Damaged => None,
            };
            match found {
                Some(view) => {
                    let cells = u8::try_from(view.cells()).unwrap_or(1);
                    let live = Live {
                        kind: view.kind(),
                        cells,
                        key: view.key(),
                        cell,
                    };
                    match view.decode::<Forget>() {
                        Ok(forget) => self.forget(forget.kind, live.key),
                        Err(_) => self.remember(live),
                    }
                    in_use = true;
                    at += u16::from(cells);
                }
                None => {
                    damaged += 1;
                    at += 1;
                }
            }
            end = at;
        }
        if in_use {
            (self.sector, self.next) = (sector, end);
            self.damaged += damaged;
        }
        Ok(())
    }

    fn find(&self, kind: u8, key: u16) -> Option<Live> {
        self.live.iter().copied().find(|live| live.is(kind, key))
    }

    fn remember(&mut self, new: Live) {
        match self.live.iter_mut().find(|live| live.is(new.kind, new.key)) {
            Some(live) => *live = new,
            None => {
                // More pairs than the format allows: nobody writes them.
                let _ = self.live.push(new);
            }
        }
    }

    fn forget(&mut self, kind: u8, key: u16) {
        // No pair is there twice.
        if let Some(at) = self.live.iter().position(|live| live.is(kind, key)) {
            self.live.remove(at);
        }
    }
}

/// Where the next record of a compaction goes.
struct Place {
    sector: u16,
    next: u16,
}

impl Place {
    /// Takes `cells` cells that lie in one sector, and says which is the first.
    fn take(&mut self, cells: u16) -> u16 {
        if self.next + cells > CELLS_PER_SECTOR {
            self.sector += 1;
            self.next = 0;
        }
        let cell = self.sector * CELLS_PER_SECTOR + self.next;
        self.next += cells;
        cell
    }
}

fn count(record: &[u8]) -> u8 {
    u8::try_from(record.len() / CELL_LEN).unwrap_or(u8::MAX)
}

fn too_long(_: RecordError) -> JournalError {
    JournalError::TooLong
}
