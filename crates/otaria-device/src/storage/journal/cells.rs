//! Cells in flash: where they lie, and one command at a time on them.

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::journal::{CELL_LEN, Cell, HalfHeader, MAX_RECORD_LEN};

use super::super::{Aligned, SECTOR_LEN, erase, read, reads_as, reads_blank, write};
use super::{CELLS_PER_SECTOR, Journal, JournalError, Live};

impl<R: NorFlash> Journal<R> {
    pub(super) fn address(&self, half: u16, cell: u16) -> u32 {
        u32::from(half) * u32::from(self.half_sectors) * SECTOR_LEN
            + u32::from(cell) * CELL_LEN as u32
    }

    pub(super) fn read_header(&mut self, half: u16) -> Result<Option<HalfHeader>, JournalError> {
        let at = self.address(half, 0);
        let mut cell = Aligned::<CELL_LEN>::new();
        read(&mut self.region, at, &mut cell.0)?;
        Ok(HalfHeader::parse(&cell.0))
    }

    pub(super) fn read_cell(&mut self, half: u16, cell: u16) -> Result<Cell, JournalError> {
        let at = self.address(half, cell);
        let mut cell = Aligned::<CELL_LEN>::new();
        read(&mut self.region, at, &mut cell.0)?;
        Ok(Cell::of(&cell.0))
    }

    pub(super) fn read_record<'b>(
        &mut self,
        live: Live,
        buf: &'b mut Aligned<MAX_RECORD_LEN>,
    ) -> Result<&'b [u8], JournalError> {
        let at = self.address(self.half, live.cell);
        let bytes = buf
            .0
            .get_mut(..usize::from(live.cells) * CELL_LEN)
            .unwrap_or_default();
        read(&mut self.region, at, bytes)?;
        Ok(bytes)
    }

    pub(super) fn write_cells(
        &mut self,
        half: u16,
        cell: u16,
        bytes: &[u8],
    ) -> Result<(), JournalError> {
        let at = self.address(half, cell);
        write(&mut self.region, at, bytes)?;
        if reads_as(&mut self.region, at, bytes)? {
            Ok(())
        } else {
            Err(JournalError::NotWritten)
        }
    }

    /// Erases a sector and looks whether it is blank then.
    pub(super) fn erase_sector(&mut self, half: u16, sector: u16) -> Result<(), JournalError> {
        let from = self.address(half, sector * CELLS_PER_SECTOR);
        erase(&mut self.region, from, from + SECTOR_LEN)?;
        if reads_blank(&mut self.region, from, SECTOR_LEN)? {
            Ok(())
        } else {
            Err(JournalError::NotWritten)
        }
    }
}
