//! A model of the SPI NOR flash beside an ESP32.
//!
//! What it enforces, so that a driver bug cannot hide:
//! - a write only clears bits; one that would set a bit is refused, changes nothing, and is remembered in
//!   [`SimFlash::violations`], as are unaligned and out-of-bounds calls;
//! - an erase works on whole sectors. As esp-storage does it, the aligned 64 KiB pieces of a range are block erases and the rest
//!   sector erases. Each erase command and each write call is one *op*, and ops are counted from 0;
//! - without power nothing works, not even a read.
//!
//! What can go wrong is planned in a [`FaultPlan`]: power cuts before, after and *inside* an op, and ops that fail or are ignored
//! with the power on. What a torn op leaves depends only on the plan's seed.
//!
//! Not modelled: bits that a torn *write* leaves half programmed, reads that disturb neighbours, and loss of charge over years.
//!
//! Sectors are shared until they differ: a clone of a 4 MB flash copies a few pointers, and a thousand devices that hold the same
//! factory image hold it once.
//!
//! ```
//! use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
//! use otaria_sim::flash::{Cut, FaultPlan, FlashError, SimFlash};
//!
//! let mut flash = SimFlash::new(0x10000);
//! flash.set_plan(FaultPlan::cut(1, Cut::TornPrefix, 7));
//! flash.erase(0, 0x1000)?; // op 0
//! assert_eq!(flash.write(0, b"whole record"), Err(FlashError::PowerLost)); // op 1
//!
//! flash.power_on();
//! let mut found = [0; 12];
//! flash.read(0, &mut found)?;
//! assert_ne!(&found, b"whole record");
//! # Ok::<(), FlashError>(())
//! ```

mod fault;
mod history;
mod op;
mod sector;
#[cfg(test)]
mod tests;
mod timing;

use core::fmt;
use std::sync::Arc;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use fastrand::Rng;

pub use fault::{Cut, Fault, FaultPlan};
pub use op::{Op, OpKind, Stats};
pub use timing::{Busy, Timing};

use history::Moment;
use sector::Sector;

/// Bytes of the smallest unit that can be erased.
pub const SECTOR_LEN: u32 = 4096;
/// Bytes of the unit that the block erase command erases.
pub const BLOCK_LEN: u32 = 65536;
/// Bytes that one program command of the chip writes at most. A longer write call is still one op.
pub const PAGE_LEN: u32 = 256;

/// Why a flash call did not do what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlashError {
    /// Address or length is not a multiple of what the call needs.
    #[error("flash address or length is not aligned")]
    NotAligned,
    /// The range ends behind the flash.
    #[error("flash range is out of bounds")]
    OutOfBounds,
    /// The write would set a bit that is 0, which only an erase can do.
    #[error("write at {addr:#x} sets a bit that is 0")]
    SetsBit {
        /// The first byte with such a bit.
        addr: u32,
    },
    /// The command failed and changed nothing; the power is on.
    #[error("flash command at {addr:#x} failed")]
    Failed {
        /// The first byte of the command.
        addr: u32,
    },
    /// There is no power.
    #[error("power lost")]
    PowerLost,
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            FlashError::NotAligned => NorFlashErrorKind::NotAligned,
            FlashError::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            FlashError::SetsBit { .. } | FlashError::Failed { .. } | FlashError::PowerLost => {
                NorFlashErrorKind::Other
            }
        }
    }
}

/// A NOR flash. See the [module](self).
pub struct SimFlash {
    /// `None` is an erased sector.
    sectors: Vec<Option<Arc<Sector>>>,
    wear: Vec<u32>,
    worn: Vec<u32>,
    powered: bool,
    ops: u64,
    stats: Stats,
    plan: FaultPlan,
    rng: Rng,
    violations: Vec<FlashError>,
    log: Option<Vec<Op>>,
    history: Option<Vec<Moment>>,
    timing: Timing,
    busy: Busy,
    /// The op that may still be going on in virtual time, and what it found.
    last: Option<Undo>,
}

/// What an op found, so that a cut can still undo part of it.
#[derive(Clone)]
struct Undo {
    op: Op,
    before: Vec<Option<Arc<Sector>>>,
}

impl Clone for SimFlash {
    /// A copy with the same contents, counters and plan that goes its own way; its [`Busy`] account is a new one.
    fn clone(&self) -> Self {
        let busy = Busy::default();
        busy.charge(self.busy.pending());
        SimFlash {
            sectors: self.sectors.clone(),
            wear: self.wear.clone(),
            worn: self.worn.clone(),
            powered: self.powered,
            ops: self.ops,
            stats: self.stats,
            plan: self.plan.clone(),
            rng: self.rng.clone(),
            violations: self.violations.clone(),
            log: self.log.clone(),
            history: self.history.clone(),
            timing: self.timing,
            busy,
            last: self.last.clone(),
        }
    }
}

impl fmt::Debug for SimFlash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFlash")
            .field("capacity", &self.capacity())
            .field("powered", &self.powered)
            .field("ops", &self.ops)
            .field("violations", &self.violations)
            .finish_non_exhaustive()
    }
}

impl SimFlash {
    /// An erased flash with the power on, instant commands and no log.
    ///
    /// # Panics
    /// If `capacity` is not a multiple of the sector length.
    pub fn new(capacity: u32) -> Self {
        assert!(
            capacity.is_multiple_of(SECTOR_LEN),
            "a flash has whole sectors"
        );
        let sectors = (capacity / SECTOR_LEN) as usize;
        SimFlash {
            sectors: vec![None; sectors],
            wear: vec![0; sectors],
            worn: Vec::new(),
            powered: true,
            ops: 0,
            stats: Stats::default(),
            plan: FaultPlan::default(),
            rng: Rng::with_seed(0),
            violations: Vec::new(),
            log: None,
            history: None,
            timing: Timing::INSTANT,
            busy: Busy::default(),
            last: None,
        }
    }

    /// The same flash with commands that take time.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// The same flash with a log of its ops.
    #[must_use]
    pub fn with_log(mut self) -> Self {
        self.log = Some(Vec::new());
        self
    }

    /// Plans faults, instead of those planned before. Ops are counted over the life of the flash: see [`SimFlash::op_count`].
    pub fn set_plan(&mut self, plan: FaultPlan) {
        self.rng = Rng::with_seed(plan.seed());
        self.plan = plan;
    }

    /// From now on every command that touches the sector at `addr` fails and changes nothing.
    pub fn wear_out(&mut self, addr: u32) {
        self.worn.push(addr / SECTOR_LEN);
    }

    /// How many ops reached the chip so far; the next one has this index.
    pub fn op_count(&self) -> u64 {
        self.ops
    }

    /// Totals since the flash was made.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The ops since [`SimFlash::with_log`]; empty without.
    pub fn log(&self) -> &[Op] {
        self.log.as_deref().unwrap_or_default()
    }

    /// Calls that broke a rule of the chip. A correct driver makes none, whatever is in flash.
    pub fn violations(&self) -> &[FlashError] {
        &self.violations
    }

    /// How often each sector was erased, torn erases included.
    pub fn wear(&self) -> &[u32] {
        &self.wear
    }

    /// The account to which commands charge their time.
    pub fn busy(&self) -> &Busy {
        &self.busy
    }

    /// Whether the power is on.
    pub fn powered(&self) -> bool {
        self.powered
    }

    /// Turns the power on.
    pub fn power_on(&mut self) {
        self.powered = true;
        self.last = None;
        self.busy.clear();
    }

    /// Turns the power off while no command is going on.
    pub fn power_off(&mut self) {
        self.powered = false;
        self.last = None;
    }

    /// Turns the power off in the middle of the latest op, which is then torn. For a flash with [`Timing`]: the op took effect at
    /// once, but takes until later, and meanwhile the power goes.
    pub fn power_off_during_op(&mut self, seed: u64) {
        self.powered = false;
        let Some(undo) = self.last.take() else { return };
        let mut rng = Rng::with_seed(seed);
        let cut = match (undo.op.kind.is_erase(), rng.bool()) {
            (true, true) => Cut::TornErase,
            (true, false) => Cut::WeakErase,
            (false, true) => Cut::TornPrefix,
            (false, false) => Cut::TornBits,
        };
        self.tear(&undo, cut, &mut rng);
    }

    /// Sets bytes as a factory programmer does: no op, no rule, no wear.
    ///
    /// # Panics
    /// If the range ends behind the flash.
    pub fn load(&mut self, addr: u32, bytes: &[u8]) {
        for (sector, at, range) in pieces(addr, bytes.len()) {
            self.cells_mut(sector).load(at, &bytes[range]);
        }
    }

    /// Reads bytes as they are stored: no power needed, nothing counted, unstable bits as they read last.
    ///
    /// # Panics
    /// If the range ends behind the flash.
    pub fn peek(&self, addr: u32, len: usize) -> Vec<u8> {
        let mut out = vec![0xFF; len];
        for (sector, at, range) in pieces(addr, len) {
            let len = range.len();
            if let Some(cells) = &self.sectors[sector] {
                out[range].copy_from_slice(&cells.data()[at..at + len]);
            }
        }
        out
    }

    /// Whether any bit of the sector at `addr` is unstable, although it may read 0xFF throughout.
    pub fn is_unstable(&self, addr: u32) -> bool {
        self.sectors[(addr / SECTOR_LEN) as usize]
            .as_deref()
            .is_some_and(Sector::is_unstable)
    }

    /// The cells of a sector, made if the sector was blank, copied if another flash shares them.
    fn cells_mut(&mut self, sector: usize) -> &mut Sector {
        Arc::make_mut(self.sectors[sector].get_or_insert_with(|| Arc::new(Sector::blank())))
    }

    fn refuse(&mut self, error: FlashError) -> FlashError {
        self.violations.push(error);
        error
    }

    fn check(&mut self, align: usize, addr: u32, len: usize) -> Result<(), FlashError> {
        if !self.powered {
            return Err(FlashError::PowerLost);
        }
        let end = (addr as usize).checked_add(len);
        if end.is_none_or(|end| end > self.capacity()) {
            return Err(self.refuse(FlashError::OutOfBounds));
        }
        if !(addr as usize).is_multiple_of(align) || !len.is_multiple_of(align) {
            return Err(self.refuse(FlashError::NotAligned));
        }
        Ok(())
    }

    /// Counts an op, lets `apply` do it unless a fault says otherwise, and charges its time.
    fn command(
        &mut self,
        kind: OpKind,
        addr: u32,
        len: u32,
        apply: impl FnOnce(&mut Self),
    ) -> Result<(), FlashError> {
        let op = Op {
            index: self.ops,
            kind,
            addr,
            len,
        };
        self.ops += 1;
        if let Some(log) = &mut self.log {
            log.push(op);
        }
        self.remember(op);
        let (first, last) = op.sectors();
        let worn = self
            .worn
            .iter()
            .any(|sector| (first..=last).contains(&(*sector as usize)));
        let fault = if worn {
            Some(Fault::Fail)
        } else {
            self.plan.at(op.index)
        };
        let cut = match fault {
            None => None,
            Some(Fault::Fail) => return Err(FlashError::Failed { addr }),
            Some(Fault::Ignore) => return Ok(()),
            Some(Fault::Cut(cut)) if cut.applies_to(kind) => Some(cut),
            Some(Fault::Cut(_)) => Some(Cut::Before),
        };
        if cut == Some(Cut::Before) {
            self.power_off();
            return Err(FlashError::PowerLost);
        }
        if kind.is_erase() {
            for sector in first..=last {
                self.wear[sector] += 1;
            }
        }
        let undoable = cut.is_some() || self.timing != Timing::INSTANT;
        self.last = undoable.then(|| Undo {
            op,
            before: self.sectors[first..=last].to_vec(),
        });
        apply(self);
        self.busy.charge(self.timing.of(kind, addr, len));
        if let Some(cut) = cut {
            if let Some(undo) = self.last.take() {
                let mut rng = self.rng.clone();
                self.tear(&undo, cut, &mut rng);
                self.rng = rng;
            }
            self.power_off();
            return Err(FlashError::PowerLost);
        }
        Ok(())
    }

    /// Puts back, of an op that was carried out, what a cut inside it would have left undone.
    fn tear(&mut self, undo: &Undo, cut: Cut, rng: &mut Rng) {
        let Op { addr, len, .. } = undo.op;
        let (first, _) = undo.op.sectors();
        match cut {
            Cut::Before | Cut::After => {}
            Cut::TornPrefix | Cut::TornBits => {
                let whole = self.peek(addr, len as usize);
                let end = rng.usize(..whole.len());
                let torn: Vec<u8> = whole
                    .iter()
                    .enumerate()
                    .map(|(i, byte)| match cut {
                        Cut::TornPrefix if i < end => *byte,
                        Cut::TornPrefix if i > end => 0xFF,
                        _ => byte | rng.u8(..),
                    })
                    .collect();
                self.sectors[first..first + undo.before.len()].clone_from_slice(&undo.before);
                for (sector, at, range) in pieces(addr, torn.len()) {
                    self.cells_mut(sector).program(at, &torn[range]);
                }
            }
            Cut::TornErase => {
                for (sector, before) in undo.before.iter().enumerate() {
                    let before = before.as_deref().cloned().unwrap_or_else(Sector::blank);
                    self.sectors[first + sector] = Some(Arc::new(before.torn_erase(rng)));
                }
            }
            Cut::WeakErase => {
                for sector in 0..undo.before.len() {
                    self.sectors[first + sector] = Some(Arc::new(Sector::weak_erase(rng)));
                }
            }
        }
    }
}

impl ErrorType for SimFlash {
    type Error = FlashError;
}

impl ReadNorFlash for SimFlash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.check(1, offset, bytes.len())?;
        for (sector, at, range) in pieces(offset, bytes.len()) {
            match &self.sectors[sector] {
                None => bytes[range].fill(0xFF),
                Some(cells) => cells.read(at, &mut bytes[range], &mut self.rng),
            }
        }
        self.stats.bytes_read += bytes.len() as u64;
        // Whoever reads has waited for the op before.
        self.last = None;
        if !offset.is_multiple_of(4) || !bytes.len().is_multiple_of(4) {
            self.stats.unaligned_reads += 1;
        }
        self.busy.charge(self.timing.of_read(bytes.len()));
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.sectors.len() * SECTOR_LEN as usize
    }
}

impl NorFlash for SimFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = SECTOR_LEN as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        let Some(len) = to.checked_sub(from) else {
            return Err(self.refuse(FlashError::OutOfBounds));
        };
        self.check(Self::ERASE_SIZE, from, len as usize)?;
        let mut at = from;
        while at < to {
            let (kind, len) = if at.is_multiple_of(BLOCK_LEN) && to - at >= BLOCK_LEN {
                self.stats.block_erases += 1;
                (OpKind::BlockErase, BLOCK_LEN)
            } else {
                self.stats.sector_erases += 1;
                (OpKind::SectorErase, SECTOR_LEN)
            };
            self.command(kind, at, len, |flash| {
                let first = (at / SECTOR_LEN) as usize;
                flash.sectors[first..first + (len / SECTOR_LEN) as usize].fill(None);
            })?;
            at += len;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        self.check(Self::WRITE_SIZE, offset, bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        for (sector, at, range) in pieces(offset, bytes.len()) {
            let Some(cells) = &self.sectors[sector] else {
                continue;
            };
            let words = cells.data()[at..at + range.len()].chunks_exact(4);
            self.stats.rewritten_words += words.filter(|word| *word != [0xFF; 4]).count() as u64;
            if let Some(bad) = cells.first_set_bit(at, &bytes[range.clone()]) {
                let addr = offset + (range.start + bad) as u32;
                return Err(self.refuse(FlashError::SetsBit { addr }));
            }
        }
        self.stats.writes += 1;
        self.stats.bytes_written += bytes.len() as u64;
        self.command(OpKind::Write, offset, bytes.len() as u32, |flash| {
            for (sector, at, range) in pieces(offset, bytes.len()) {
                flash.cells_mut(sector).program(at, &bytes[range]);
            }
        })
    }
}

/// Cuts a range of flash at its sector bounds: sector number, position in the sector, range of the caller's bytes.
fn pieces(addr: u32, len: usize) -> impl Iterator<Item = (usize, usize, core::ops::Range<usize>)> {
    let sector_len = SECTOR_LEN as usize;
    let mut done = 0;
    core::iter::from_fn(move || {
        let from = addr as usize + done;
        let piece = (sector_len - from % sector_len).min(len - done);
        (piece > 0).then(|| {
            let range = done..done + piece;
            done += piece;
            (from / sector_len, from % sector_len, range)
        })
    })
}
