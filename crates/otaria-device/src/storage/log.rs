//! A ring of log lines: what happened before the crash, over power cuts.
//!
//! ```text
//! otalog partition, n sectors
//!
//! +---------+---------+---------+---------+
//! | seq 8   | seq 9   | seq 6   | seq 7   |     seq 9 is the head, written from its first cell on;
//! +---------+---------+---------+---------+     seq 6 is the oldest and the next to be erased
//!  \_ header cell, then lines, see otaria_wire::flash_log
//! ```
//!
//! A sector is taken into use by an erase, then a header with the next sequence, then lines. So whatever lies behind the last
//! cell of the head that does not read blank was erased to the end; and any other sector is erased before use, unless this run
//! of the program has done so already ([`FlashLog::erase_ahead`]).
//!
//! # What a cut here leaves
//!
//! | command | a cut leaves |
//! |---|---|
//! | write a line | cells whose CRC fails: passed over. Or the line |
//! | erase the next sector | the oldest lines there, or some, or none; the head is as it was |
//! | write its header | a bad header: the sector is erased again. Or a new, empty head |
//!
//! At most the line that is being written is lost, and the oldest sector.

#[cfg(test)]
mod tests;

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::flash_log::{
    CELL_LEN, Cell, MAX_RECORD_LEN, SECTOR_CELLS, SectorHeader, cells_for, decode, encode,
};
use otaria_wire::messages::LogLine;

use super::{Aligned, FlashFault, SECTOR_LEN, erase, read, write};

const CELLS: u16 = SECTOR_CELLS as u16;
/// With so few cells left in the head, the next sector may be erased ahead: six lines of the longest kind.
const AHEAD_CELLS: u16 = 48;

/// Why a line is not kept or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogError {
    /// The region has fewer than two sectors, or more than 65535. Nothing was done.
    WrongSize,
    /// A flash command failed.
    Flash(FlashFault),
    /// The sequence cannot rise any more. Flash wears out long before.
    Exhausted,
}

impl From<FlashFault> for LogError {
    fn from(fault: FlashFault) -> Self {
        Self::Flash(fault)
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongSize => f.write_str("the log's region does not have two sectors or more"),
            Self::Flash(fault) => write!(f, "log: {fault}"),
            Self::Exhausted => f.write_str("the log's sequence is exhausted"),
        }
    }
}

impl core::error::Error for LogError {}

/// The sector that is written.
#[derive(Debug, Clone, Copy)]
struct Head {
    sector: u16,
    sequence: u32,
    /// Next cell to write.
    next: u16,
}

/// The ring. See the [module](self).
#[derive(Debug)]
pub struct FlashLog<R> {
    region: R,
    sectors: u16,
    /// `None` if nothing was ever written.
    head: Option<Head>,
    /// The sector behind the head was erased by this run.
    ahead: bool,
}

/// A position in the ring, for reading. Lines may be appended meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Tail {
    sequence: u32,
    cell: u16,
    /// Lines still to be passed over, because there are more than were asked for.
    skip: usize,
    /// Lines still to be given.
    left: usize,
}

impl<R: NorFlash> FlashLog<R> {
    /// Finds the head of the ring in `region`: reads one cell of each sector, and the head.
    ///
    /// # Errors
    /// [`LogError::WrongSize`], or the flash cannot be read. What is in it is never an error.
    pub fn mount(region: R) -> Result<Self, LogError> {
        let sectors = region.capacity() / SECTOR_LEN as usize;
        let sectors = u16::try_from(sectors).map_err(|_| LogError::WrongSize)?;
        if sectors < 2 {
            return Err(LogError::WrongSize);
        }
        let mut log = Self {
            region,
            sectors,
            head: None,
            ahead: false,
        };
        for sector in 0..sectors {
            if let Some(SectorHeader { sequence }) = log.read_header(sector)?
                && log.head.is_none_or(|head| head.sequence < sequence)
            {
                log.head = Some(Head {
                    sector,
                    sequence,
                    next: 1,
                });
            }
        }
        if let Some(head) = log.head {
            log.head = Some(Head {
                next: log.end_of(head.sector)?,
                ..head
            });
        }
        Ok(log)
    }

    /// Appends a line: one write; and every hundred lines or so an erase, unless [`FlashLog::erase_ahead`] has done that.
    ///
    /// # Errors
    /// The line is lost, all others stay.
    pub fn append(&mut self, line: &LogLine) -> Result<(), LogError> {
        let cells = u16::try_from(cells_for(line.text.len())).unwrap_or(CELLS);
        let mut head = match self.head {
            Some(head) if head.next + cells <= CELLS => head,
            Some(_) | None => self.advance()?,
        };
        let mut buf = Aligned::<MAX_RECORD_LEN>::new();
        let record = encode(head.sequence, line, &mut buf.0);
        let at = address(head.sector, head.next);
        // Whatever becomes of the write, these cells are used up.
        head.next += cells;
        self.head = Some(head);
        Ok(write(&mut self.region, at, record)?)
    }

    /// Erases the sector behind the head if that is nearly full, so that the next line need not wait for it. Says whether it
    /// did. For moments in which nothing else happens.
    ///
    /// # Errors
    /// The flash cannot be erased.
    pub fn erase_ahead(&mut self) -> Result<bool, LogError> {
        let nearly_full = self
            .head
            .is_some_and(|head| head.next + AHEAD_CELLS > CELLS);
        if self.ahead || !nearly_full {
            return Ok(false);
        }
        self.erase_sector(self.behind_head())?;
        self.ahead = true;
        Ok(true)
    }

    /// Takes the sector behind the head into use.
    fn advance(&mut self) -> Result<Head, LogError> {
        let sector = self.behind_head();
        let before = self.head.map_or(0, |head| head.sequence);
        let sequence = before.checked_add(1).ok_or(LogError::Exhausted)?;
        if !self.ahead {
            self.erase_sector(sector)?;
        }
        // Should the header fail, the sector is no longer blank for sure.
        self.ahead = false;
        let header = Aligned(SectorHeader { sequence }.encode());
        write(&mut self.region, address(sector, 0), &header.0)?;
        let head = Head {
            sector,
            sequence,
            next: 1,
        };
        self.head = Some(head);
        Ok(head)
    }

    /// A position from which [`FlashLog::next_line`] gives the newest `lines` lines, oldest first. Reads those lines once.
    ///
    /// # Errors
    /// The flash cannot be read.
    pub fn tail(&mut self, lines: usize) -> Result<Tail, LogError> {
        let Some(head) = self.head else {
            return Ok(Tail {
                sequence: 0,
                cell: CELLS,
                skip: 0,
                left: 0,
            });
        };
        let mut found = 0;
        let mut sequence = head.sequence;
        for back in 0..u32::from(self.sectors) {
            let Some(at) = head.sequence.checked_sub(back) else {
                break;
            };
            if found >= lines {
                break;
            }
            sequence = at;
            let mut cell = 1;
            while self.line_at(at, &mut cell)?.is_some() {
                found += 1;
            }
        }
        Ok(Tail {
            sequence,
            cell: 1,
            skip: found.saturating_sub(lines),
            left: lines,
        })
    }

    /// The next line from `tail` on, or `None` at the end. Lines that were overwritten meanwhile are left out.
    ///
    /// # Errors
    /// The flash cannot be read.
    pub fn next_line(&mut self, tail: &mut Tail) -> Result<Option<LogLine>, LogError> {
        let Some(head) = self.head else {
            return Ok(None);
        };
        let oldest = head.sequence.saturating_sub(u32::from(self.sectors) - 1);
        if tail.sequence < oldest {
            *tail = Tail {
                sequence: oldest,
                cell: 1,
                skip: 0,
                ..*tail
            };
        }
        while tail.left > 0 && tail.sequence <= head.sequence {
            match self.line_at(tail.sequence, &mut tail.cell)? {
                Some(_) if tail.skip > 0 => tail.skip -= 1,
                Some(line) => {
                    tail.left -= 1;
                    return Ok(Some(line));
                }
                None if tail.sequence == head.sequence => break,
                None => {
                    tail.sequence += 1;
                    tail.cell = 1;
                }
            }
        }
        Ok(None)
    }

    /// The first good line of the sector of this sequence from `cell` on, which then is behind it.
    fn line_at(&mut self, sequence: u32, cell: &mut u16) -> Result<Option<LogLine>, LogError> {
        let Some((sector, end)) = self.sector_of(sequence) else {
            return Ok(None);
        };
        while *cell < end {
            let mut buf = Aligned::<MAX_RECORD_LEN>::new();
            let Some(first) = buf.0.first_chunk_mut::<CELL_LEN>() else {
                break;
            };
            let at = address(sector, *cell);
            read(&mut self.region, at, first)?;
            if let Cell::First { cells } = Cell::of(first)
                && usize::from(*cell) + cells <= SECTOR_CELLS
                && let Some(record) = buf.0.get_mut(..cells * CELL_LEN)
            {
                read(&mut self.region, at, record)?;
                // The CRC covers the sequence: an older turn of this sector does not count.
                if let Ok(line) = decode(sequence, record) {
                    *cell += u16::try_from(cells).unwrap_or(1);
                    return Ok(Some(line));
                }
            }
            *cell += 1;
        }
        Ok(None)
    }

    /// The sector of a sequence that the ring still holds, and the end of its cells.
    fn sector_of(&self, sequence: u32) -> Option<(u16, u16)> {
        let head = self.head?;
        let back = u16::try_from(head.sequence.checked_sub(sequence)?).ok()?;
        if back == 0 {
            return Some((head.sector, head.next));
        }
        let up = self.sectors.checked_sub(back).filter(|up| *up > 0)?;
        let sector = (u32::from(head.sector) + u32::from(up)) % u32::from(self.sectors);
        Some((sector as u16, CELLS))
    }

    fn behind_head(&self) -> u16 {
        match self.head {
            Some(head) if head.sector + 1 < self.sectors => head.sector + 1,
            Some(_) | None => 0,
        }
    }

    /// The first cell behind all that does not read blank.
    fn end_of(&mut self, sector: u16) -> Result<u16, LogError> {
        let mut end = CELLS;
        while end > 1 {
            let mut cell = Aligned::<CELL_LEN>::new();
            read(&mut self.region, address(sector, end - 1), &mut cell.0)?;
            if Cell::of(&cell.0) != Cell::Erased {
                break;
            }
            end -= 1;
        }
        Ok(end)
    }

    fn read_header(&mut self, sector: u16) -> Result<Option<SectorHeader>, LogError> {
        let mut cell = Aligned::<CELL_LEN>::new();
        read(&mut self.region, address(sector, 0), &mut cell.0)?;
        Ok(SectorHeader::parse(&cell.0))
    }

    fn erase_sector(&mut self, sector: u16) -> Result<(), LogError> {
        let from = address(sector, 0);
        Ok(erase(
            &mut self.region,
            from,
            from.saturating_add(SECTOR_LEN),
        )?)
    }
}

fn address(sector: u16, cell: u16) -> u32 {
    u32::from(sector) * SECTOR_LEN + u32::from(cell) * CELL_LEN as u32
}
