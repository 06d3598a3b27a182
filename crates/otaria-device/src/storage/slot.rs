//! Writing an image into a slot, block by block, so that a cut costs one block.
//!
//! ```text
//! slot:   0 ......... held ....... erased_to ......... erasing_to ........ end
//!         | blocks that | erased,    | an erase was       | whatever was
//!         | are whole   | block in   | begun here, or     | there before
//!         |             | progress   | nobody knows       |
//! ```
//!
//! The journal's [`Progress`] record holds these three positions. It is written before an erase begins (`erasing_to` rises),
//! after it (`erased_to` rises), and after the last page of a block (`blocks_held` rises). It names its slot: what it says of
//! the other one, or of none (an earlier version wrote it), does not count.
//!
//! # What a cut here leaves
//!
//! | in | leaves | the next boot |
//! |---|---|---|
//! | the record before an erase | the old record: nothing was begun | begins the erase |
//! | an erase | any mixture of old bits, ones and unstable bits, below `erasing_to` | erases up to `erasing_to` again without a look |
//! | the record after an erase | an erased range below `erasing_to` | erases it once more: it cannot be told from the line above |
//! | a page of a block | the block's sectors, partly written, below `erased_to` | erases those (at most 4) again, and writes the block from its start |
//! | that erase | unstable bits in the same sectors | the same |
//! | the record after a block | a whole block that is not held | the same |
//!
//! A block is never written over what a cut left of it, although the same bytes would only clear more bits: some flash (with
//! ECC or encryption) does not allow a word to be written twice, and a word that was cut may not keep its charge.
//!
//! # Wear
//! A sector is erased once for an image, unless it is blank already; then not at all. Sectors below `erasing_to` of *any*
//! earlier download do not count as blank. An interruption costs at most 8 erase commands: 4 sectors of the block in progress,
//! and 1 block erase or 4 sector erases ahead of it.
//!
//! # Trust
//! The writer is made from a [`VerifiedHeader`] and a [`CheckedTable`], for a [`TargetSlot`], which never is the running one.
//! There is no other way to erase or write a slot.

#[cfg(test)]
mod tests;

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use otaria_engine::slot::Slot;
use otaria_wire::journal::Progress;
use otaria_wire::package::VerifiedHeader;

use super::journal::{Journal, JournalError};
use super::table_store::{CheckedTable, TableWriter};
use super::{
    Aligned, ERASE_BLOCK_LEN, FlashFault, PAGE_LEN, SECTOR_LEN, erase, read, reads_blank, trial,
    write,
};

/// Most bytes that one call programs: four pages, 2.8 ms, a sixth of the time in which a 4 Mbit/s link fills an 8 KiB window.
pub const MAX_WRITE: usize = 1024;

/// Where no block erase fits, this much is erased under one progress record.
const PIECE_LEN: u32 = 4 * SECTOR_LEN;
/// From this many sectors on, one block erase (150 ms) is quicker than so many sector erases (45 ms each).
const BLOCK_ERASE_FROM: u32 = 4;
/// Sectors that one call looks through: 16 KiB, 2 ms.
const LOOK_SECTORS: u32 = 4;

const PAGE: usize = PAGE_LEN as usize;

/// Why a slot is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotError {
    /// It is the slot that runs. Nothing was done.
    Running,
    /// A trial is open: both slots are needed as they are. Nothing was done.
    TrialOpen,
    /// The image does not fit into the slot. Nothing was done.
    TooLarge,
    /// The table is not that of the header. Nothing was done.
    OtherTable,
    /// The journal does not say that this package is being downloaded: [`start_download`] comes first. Nothing was done.
    NotStarted,
    /// The block's sectors are not erased yet. Nothing was done.
    NotErased,
    /// Blocks come in order and whole. Nothing was done.
    OutOfOrder,
    /// A flash command failed. The writer must not be used any more.
    Flash(FlashFault),
    /// The journal failed. The writer must not be used any more.
    Journal(JournalError),
}

impl From<FlashFault> for SlotError {
    fn from(fault: FlashFault) -> Self {
        Self::Flash(fault)
    }
}

impl From<JournalError> for SlotError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("the slot is the one that runs"),
            Self::TrialOpen => f.write_str("a trial is open"),
            Self::TooLarge => f.write_str("the image does not fit into the slot"),
            Self::OtherTable => f.write_str("the block table is not that of the header"),
            Self::NotStarted => f.write_str("the download of this package was not started"),
            Self::NotErased => f.write_str("the block's sectors are not erased yet"),
            Self::OutOfOrder => f.write_str("blocks come in order and whole"),
            Self::Flash(fault) => write!(f, "slot: {fault}"),
            Self::Journal(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SlotError {}

/// A slot that may be written: not the one that runs.
#[derive(Debug)]
pub struct TargetSlot<R> {
    slot: Slot,
    region: R,
}

impl<R: NorFlash> TargetSlot<R> {
    /// `slot`, which lies in `region`, while `running` runs (from the MMU, not from otadata).
    ///
    /// # Errors
    /// [`SlotError::Running`] if they are the same.
    pub fn new(slot: Slot, running: Option<Slot>, region: R) -> Result<Self, SlotError> {
        if running == Some(slot) {
            return Err(SlotError::Running);
        }
        Ok(Self { slot, region })
    }

    /// Which slot it is.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Reads bytes of it; `offset` and length are multiples of 4. Whoever decodes a block from earlier ones, or looks at a
    /// whole image, reads through here and can write nothing.
    ///
    /// # Errors
    /// The flash cannot be read, or the range is not within the slot.
    pub fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashFault> {
        read(&mut self.region, offset, bytes)
    }

    fn len(&self) -> u32 {
        u32::try_from(self.region.capacity()).unwrap_or(u32::MAX) / SECTOR_LEN * SECTOR_LEN
    }
}

/// Begins the download of a package, or goes on with it: the first flash that a new package changes.
///
/// From here on the journal's progress is that of this package. What earlier downloads left half erased stays on record. The
/// returned writer then keeps header and table.
///
/// # Errors
/// [`SlotError::TrialOpen`]: nothing was done. [`SlotError::Journal`].
pub fn start_download<J: NorFlash>(
    journal: &mut Journal<J>,
    header: &VerifiedHeader,
    blocks_offset: u32,
) -> Result<TableWriter<'static>, SlotError> {
    refuse_open_trial(journal)?;
    let identity8 = header.identity().first8();
    let earlier = progress(journal)?;
    if earlier.is_none_or(|earlier| earlier.identity8 != identity8) {
        journal.append(0, &begin(identity8, earlier))?;
    }
    Ok(TableWriter::new(blocks_offset))
}

/// Forgets all progress: the next download starts from the first block and trusts nothing in the slot. For an image that did
/// not verify.
///
/// # Errors
/// [`SlotError::Journal`].
pub fn discard<J: NorFlash>(journal: &mut Journal<J>) -> Result<(), SlotError> {
    let earlier = progress(journal)?;
    // No package has this identity: it would have to hash to zeros.
    Ok(journal.append(0, &begin([0; 8], earlier))?)
}

/// The first record of a download. Sectors that an earlier one began to erase or write are never taken for blank.
fn begin(identity8: [u8; 8], earlier: Option<Progress>) -> Progress {
    let suspect_to = earlier.map_or(0, |earlier| earlier.erased_to.max(earlier.erasing_to));
    Progress {
        identity8,
        blocks_held: 0,
        erased_to: 0,
        erasing_to: suspect_to,
        slot: 0,
    }
}

/// How a progress record names a slot.
fn number(slot: Slot) -> u8 {
    slot.index().saturating_add(1)
}

fn progress<J: NorFlash>(journal: &mut Journal<J>) -> Result<Option<Progress>, SlotError> {
    Ok(journal.latest::<Progress>(0)?)
}

fn refuse_open_trial<J: NorFlash>(journal: &mut Journal<J>) -> Result<(), SlotError> {
    match trial::load(journal)? {
        Some(record) if record.is_open() => Err(SlotError::TrialOpen),
        Some(_) | None => Ok(()),
    }
}

/// Whether there is anything left to erase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EraseState {
    /// Call again when there is time.
    More,
    /// All that the image needs is erased.
    Done,
}

/// A range that is looked through, then erased, under one progress record.
#[derive(Debug, Clone, Copy)]
struct Unit {
    from: u32,
    /// End of the unit, at most the image's end.
    to: u32,
    /// A block erase of [`ERASE_BLOCK_LEN`] from `from` on lies within the slot.
    has_block: bool,
    /// Next sector to look at.
    look: u32,
    /// Bit n: the nth sector has to be erased.
    mask: u16,
    /// The journal knows of it.
    announced: bool,
}

impl Unit {
    /// Whether one block erase is the quickest way.
    fn by_block(&self) -> bool {
        self.has_block && self.mask.count_ones() >= BLOCK_ERASE_FROM
    }

    /// How far its erase commands reach: a block erase may go beyond the image.
    fn erasing_to(&self) -> u32 {
        if self.by_block() {
            self.from.saturating_add(ERASE_BLOCK_LEN)
        } else {
            self.to
        }
    }
}

/// A block that is being written.
#[derive(Debug, Clone, Copy)]
struct OpenBlock {
    /// Where it starts in the slot.
    start: u32,
    len: u32,
    /// Bytes programmed; what is in the page buffer comes behind.
    written: u32,
}

/// Writes the blocks of one image, in order. See the [module](self).
///
/// Every call ends after at most one erase, or one write of [`MAX_WRITE`] bytes, or one page and one journal record: whoever
/// runs beside others yields between calls. After an error from flash or journal the writer is dropped; a new one goes on where
/// the journal says.
#[derive(Debug)]
pub struct SlotWriter<R> {
    target: TargetSlot<R>,
    identity8: [u8; 8],
    image_len: u32,
    block_len: u32,
    blocks: u32,
    held: u32,
    /// Sectors that have to be erased before the first block, because of a cut in it: next, and end.
    redo: (u32, u32),
    erased_to: u32,
    /// Nothing below this counts as blank.
    suspect_to: u32,
    unit: Option<Unit>,
    open: Option<OpenBlock>,
    page: Aligned<PAGE>,
    fill: usize,
}

impl<R: NorFlash> SlotWriter<R> {
    /// A writer that goes on at the first block that the journal does not hold for exactly this package.
    ///
    /// # Errors
    /// [`SlotError::TrialOpen`], [`SlotError::TooLarge`], [`SlotError::OtherTable`], [`SlotError::NotStarted`]: nothing was
    /// done. [`SlotError::Journal`].
    pub fn open<J: NorFlash>(
        target: TargetSlot<R>,
        header: &VerifiedHeader,
        table: &CheckedTable,
        journal: &mut Journal<J>,
    ) -> Result<Self, SlotError> {
        refuse_open_trial(journal)?;
        if header.image_len > target.len() {
            return Err(SlotError::TooLarge);
        }
        if table.identity() != header.identity() {
            return Err(SlotError::OtherTable);
        }
        let identity8 = header.identity().first8();
        let progress = progress(journal)?.filter(|progress| progress.identity8 == identity8);
        let mut progress = progress.ok_or(SlotError::NotStarted)?;
        let something = progress.blocks_held > 0 || progress.erased_to > 0;
        if something && progress.slot != number(target.slot) {
            // That was the other slot, which runs by now: somebody has flashed the device in between.
            progress = begin(identity8, Some(progress));
            journal.append(0, &progress)?;
        }
        let blocks = header.block_count();
        let end = header.image_len.next_multiple_of(SECTOR_LEN);
        let held = u32::from(progress.blocks_held).min(blocks);
        let held_to = header.block_len.saturating_mul(held).min(end);
        let erased_to = progress.erased_to.max(held_to);
        let block_to = held_to.saturating_add(header.block_len).min(end);
        Ok(Self {
            target,
            identity8,
            image_len: header.image_len,
            block_len: header.block_len,
            blocks,
            held,
            redo: (held_to, block_to.min(erased_to)),
            erased_to,
            suspect_to: progress.erasing_to,
            unit: None,
            open: None,
            page: Aligned::new(),
            fill: 0,
        })
    }

    /// Number of blocks of the image.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Blocks that are whole in the slot; also the index of the next one.
    #[must_use]
    pub fn blocks_held(&self) -> u32 {
        self.held
    }

    /// Whether all blocks are in the slot, so that the image can be verified.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.held == self.blocks
    }

    /// The slot, to be read.
    pub fn target_mut(&mut self) -> &mut TargetSlot<R> {
        &mut self.target
    }

    /// The slot, to be verified.
    #[must_use]
    pub fn into_target(self) -> TargetSlot<R> {
        self.target
    }

    /// Bytes from the slot's start up to which blocks can be written now.
    #[must_use]
    pub fn erased_to(&self) -> u32 {
        let (redo, end) = self.redo;
        if redo < end { redo } else { self.erased_to }
    }

    /// Whether the next block's sectors are erased.
    #[must_use]
    pub fn can_begin_block(&self) -> bool {
        let start = self.held.saturating_mul(self.block_len);
        let end = start.saturating_add(self.block_len).min(self.image_len);
        self.open.is_none() && start < end && end <= self.erased_to()
    }

    /// Erases ahead: at most one erase command, or one look at 16 KiB, or one journal record. Harmless at any time.
    ///
    /// # Errors
    /// [`SlotError::Flash`], [`SlotError::Journal`].
    pub fn poll_erase<J: NorFlash>(
        &mut self,
        journal: &mut Journal<J>,
    ) -> Result<EraseState, SlotError> {
        let (redo, redo_end) = self.redo;
        if redo < redo_end {
            // Not announced in the journal: any boot that finds this block in progress does the same.
            self.erase(redo, SECTOR_LEN)?;
            self.redo = (redo + SECTOR_LEN, redo_end);
            return Ok(EraseState::More);
        }
        let Some(unit) = self.unit.or_else(|| self.next_unit()) else {
            return Ok(EraseState::Done);
        };
        self.unit = if unit.look < unit.to && !unit.by_block() {
            Some(self.look(unit)?)
        } else if unit.mask == 0 {
            // Blank already. The next record of any kind says so to the journal.
            self.erased_to = unit.to;
            None
        } else if !unit.announced {
            journal.append(0, &self.progress(unit.erasing_to()))?;
            Some(Unit {
                announced: true,
                ..unit
            })
        } else {
            self.erase_of(unit, journal)?
        };
        Ok(EraseState::More)
    }

    /// What comes behind `erased_to`.
    fn next_unit(&self) -> Option<Unit> {
        let from = self.erased_to;
        let end = self.image_len.next_multiple_of(SECTOR_LEN);
        if from >= end {
            return None;
        }
        let block_end = from.saturating_add(ERASE_BLOCK_LEN);
        let has_block = from.is_multiple_of(ERASE_BLOCK_LEN) && block_end <= self.target.len();
        let to = if has_block {
            block_end
        } else {
            (from - from % PIECE_LEN).saturating_add(PIECE_LEN)
        };
        Some(Unit {
            from,
            to: to.min(end),
            has_block,
            look: from,
            mask: 0,
            announced: false,
        })
    }

    /// Looks at some sectors of the unit, until it is clear what it takes to erase it.
    fn look(&mut self, mut unit: Unit) -> Result<Unit, SlotError> {
        for _ in 0..LOOK_SECTORS {
            if unit.look >= unit.to || unit.by_block() {
                break;
            }
            let trusted = unit.look >= self.suspect_to;
            if !trusted || !reads_blank(&mut self.target.region, unit.look, SECTOR_LEN)? {
                unit.mask |= 1 << ((unit.look - unit.from) / SECTOR_LEN);
            }
            unit.look += SECTOR_LEN;
        }
        Ok(unit)
    }

    /// One erase command of a unit; `None` when it was the last one, and the journal knows.
    fn erase_of<J: NorFlash>(
        &mut self,
        mut unit: Unit,
        journal: &mut Journal<J>,
    ) -> Result<Option<Unit>, SlotError> {
        if unit.by_block() {
            self.erase(unit.from, ERASE_BLOCK_LEN)?;
            unit.mask = 0;
        } else {
            let first = unit.mask.trailing_zeros();
            self.erase(unit.from + first * SECTOR_LEN, SECTOR_LEN)?;
            unit.mask &= unit.mask - 1;
        }
        if unit.mask != 0 {
            return Ok(Some(unit));
        }
        self.erased_to = unit.to;
        journal.append(0, &self.progress(unit.to))?;
        Ok(None)
    }

    /// Begins a block of `plain_len` bytes, which has to be the next one.
    ///
    /// # Errors
    /// [`SlotError::OutOfOrder`], [`SlotError::NotErased`]: nothing was done.
    pub fn begin_block(&mut self, index: u32, plain_len: u32) -> Result<(), SlotError> {
        let start = self.held.saturating_mul(self.block_len);
        let len = self.image_len.saturating_sub(start).min(self.block_len);
        if self.open.is_some() || index != self.held || len == 0 || plain_len != len {
            return Err(SlotError::OutOfOrder);
        }
        if !self.can_begin_block() {
            return Err(SlotError::NotErased);
        }
        self.fill = 0;
        self.open = Some(OpenBlock {
            start,
            len,
            written: 0,
        });
        Ok(())
    }

    /// Writes the next bytes of the block and says how many it took: all, or up to the end of one write of [`MAX_WRITE`]
    /// bytes. Bytes that do not fill a page wait for the next ones.
    ///
    /// # Errors
    /// [`SlotError::OutOfOrder`] if no block is begun or the bytes go beyond it: nothing was done. [`SlotError::Flash`].
    pub fn write(&mut self, plain: &[u8]) -> Result<usize, SlotError> {
        let mut block = self.open.ok_or(SlotError::OutOfOrder)?;
        let room = (block.len - block.written) as usize;
        if plain.len() > room.saturating_sub(self.fill) {
            return Err(SlotError::OutOfOrder);
        }
        let whole = plain.len().min(MAX_WRITE) / PAGE * PAGE;
        if self.fill == 0
            && let Some(pages) = plain.get(..whole).filter(|pages| !pages.is_empty())
        {
            write(&mut self.target.region, block.start + block.written, pages)?;
            block.written += whole as u32;
            self.open = Some(block);
            return Ok(whole);
        }
        let place = self.page.0.get_mut(self.fill..).unwrap_or_default();
        let taken = place.len().min(plain.len());
        for (place, byte) in place.iter_mut().zip(plain) {
            *place = *byte;
        }
        self.fill += taken;
        if self.fill == PAGE {
            self.flush(block)?;
        }
        Ok(taken)
    }

    /// Ends the block, of which all bytes have been written: from here on the journal holds it.
    ///
    /// # Errors
    /// [`SlotError::OutOfOrder`] if bytes are missing: nothing was done. [`SlotError::Flash`], [`SlotError::Journal`].
    pub fn finish_block<J: NorFlash>(&mut self, journal: &mut Journal<J>) -> Result<(), SlotError> {
        let block = self.open.ok_or(SlotError::OutOfOrder)?;
        if block.written as usize + self.fill != block.len as usize {
            return Err(SlotError::OutOfOrder);
        }
        if self.fill > 0 {
            self.flush(block)?;
        }
        self.open = None;
        self.held += 1;
        journal.append(0, &self.progress(self.announced_to()))?;
        Ok(())
    }

    /// Programs the page buffer, filled up with 0xFF to whole words.
    fn flush(&mut self, mut block: OpenBlock) -> Result<(), SlotError> {
        let len = self.fill.next_multiple_of(4);
        if let Some(padding) = self.page.0.get_mut(self.fill..len) {
            padding.fill(0xFF);
        }
        let bytes = self.page.0.get(..len).unwrap_or_default();
        write(&mut self.target.region, block.start + block.written, bytes)?;
        block.written += self.fill as u32;
        self.fill = 0;
        self.open = Some(block);
        Ok(())
    }

    /// End of the erase that the journal has to know of while it goes on.
    fn announced_to(&self) -> u32 {
        self.unit
            .filter(|unit| unit.announced)
            .map_or(0, |unit| unit.erasing_to())
    }

    fn progress(&self, erasing_to: u32) -> Progress {
        Progress {
            identity8: self.identity8,
            blocks_held: u16::try_from(self.held).unwrap_or(u16::MAX),
            erased_to: self.erased_to,
            erasing_to: erasing_to.max(self.suspect_to).max(self.erased_to),
            slot: number(self.target.slot),
        }
    }

    fn erase(&mut self, from: u32, len: u32) -> Result<(), SlotError> {
        Ok(erase(
            &mut self.target.region,
            from,
            from.saturating_add(len),
        )?)
    }
}
