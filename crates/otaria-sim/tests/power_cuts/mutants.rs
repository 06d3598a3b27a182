//! Devices with one fault each, to show that the sweep finds it.
//!
//! The fault lies in the flash driver, between the device's unchanged code and the flash: it holds writes back, changes them, or
//! lets them go elsewhere, and lies about it until the next reset. So each mutant is a device whose stores do things in the wrong
//! order, or leave one thing out, and no line of the product knows about it.

use core::cell::RefCell;
use std::rc::Rc;

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use otaria_sim::flash::{FlashError, SECTOR_LEN, SimFlash};
use otaria_wire::journal::{
    CELL_LEN, Confirmed, HalfHeader, MAX_RECORD_LEN, Progress, Record, RecordView, TrialCounters,
    TrialStage, TrialTarget, encode,
};
use otaria_wire::otadata::{Entry, OtaState};
use otaria_wire::partitions::{Layout, Region};

use crate::facts::Notes;
use crate::invariants::Invariant;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Writes the new image over the running one.
    UpdatesInPlace,
    /// Verifies the image while parts of it are not in flash yet, and activates it before they are.
    ActivatesBeforeVerifying,
    /// Writes the trial's record after the activation.
    RecordsTrialAfterActivation,
    /// Closes the trial before the confirmed record with the floors is written.
    ConfirmsBeforeFloors,
    /// Confirms, but does not mark the entry VALID.
    ConfirmsWithoutEntry,
    /// Goes on with whatever blocks lie in the slot, without a look at whose they are.
    ResumesAnything,
    /// Never closes the record of a trial that was rolled back.
    NeverCloses,
}

impl Mutant {
    /// The promise that it breaks.
    pub(crate) fn breaks(self) -> Invariant {
        match self {
            Mutant::UpdatesInPlace => Invariant::AuthenticImageBoots,
            Mutant::ActivatesBeforeVerifying => Invariant::OnlyVerifiedImagesSelected,
            Mutant::RecordsTrialAfterActivation | Mutant::ConfirmsBeforeFloors => {
                Invariant::NoTrialWithoutRecord
            }
            Mutant::ConfirmsWithoutEntry => Invariant::NoSilentLoss,
            Mutant::ResumesAnything => Invariant::NoMixedImages,
            Mutant::NeverCloses => Invariant::LaterUpdateSucceeds,
        }
    }

    /// Its flash driver, for one boot.
    pub(crate) fn driver(self, flash: Rc<RefCell<SimFlash>>, layout: Layout) -> Driver {
        Driver {
            mutant: self,
            flash,
            layout,
            held: Vec::new(),
            lies: Vec::new(),
        }
    }
}

/// A flash driver with a fault.
pub(crate) struct Driver {
    mutant: Mutant,
    flash: Rc<RefCell<SimFlash>>,
    layout: Layout,
    /// Writes that the device thinks are in flash.
    held: Vec<(u32, Vec<u8>)>,
    /// What the device wrote where something else was written.
    lies: Vec<Lie>,
}

struct Lie {
    at: u32,
    bytes: Vec<u8>,
    /// It is told once, to whoever reads back what he wrote.
    once: bool,
}

/// What becomes of a write.
enum Fate {
    Pass,
    /// Kept until [`Driver::release`].
    Hold,
    /// Written, and then what is held.
    PassThenRelease,
    /// This is written instead.
    Forge {
        bytes: Vec<u8>,
        once: bool,
    },
}

impl Driver {
    fn map(&self, addr: u32) -> u32 {
        let [first, second] = self.layout.slots;
        if self.mutant == Mutant::UpdatesInPlace && holds(second, addr) {
            addr - second.offset + first.offset
        } else {
            addr
        }
    }

    fn fate(&self, addr: u32, bytes: &[u8]) -> Fate {
        let otadata = holds(self.layout.otadata, addr);
        let kind = holds(self.layout.journal, addr).then(|| bytes[0]);
        match self.mutant {
            Mutant::UpdatesInPlace => Fate::Pass,
            Mutant::ActivatesBeforeVerifying => {
                if otadata {
                    Fate::PassThenRelease
                } else if self.layout.slots.iter().any(|slot| holds(*slot, addr)) {
                    Fate::Hold
                } else {
                    Fate::Pass
                }
            }
            Mutant::RecordsTrialAfterActivation => match kind {
                _ if otadata => Fate::PassThenRelease,
                Some(TrialTarget::KIND) => Fate::Hold,
                Some(TrialCounters::KIND) if !self.held.is_empty() => Fate::Hold,
                _ => Fate::Pass,
            },
            Mutant::ConfirmsBeforeFloors => match kind {
                Some(Confirmed::KIND) if self.on_trial() => Fate::Hold,
                Some(TrialCounters::KIND) => Fate::PassThenRelease,
                _ => Fate::Pass,
            },
            Mutant::ConfirmsWithoutEntry => {
                let entry = bytes
                    .try_into()
                    .ok()
                    .and_then(|entry| Entry::parse(entry).ok());
                match entry.filter(|entry| otadata && entry.state == OtaState::Valid) {
                    Some(entry) => Fate::Forge {
                        bytes: Entry {
                            state: OtaState::PendingVerify,
                            ..entry
                        }
                        .encode()
                        .to_vec(),
                        once: false,
                    },
                    None => Fate::Pass,
                }
            }
            Mutant::ResumesAnything => self.forge(addr, bytes, |progress: &Progress| {
                let before = self.notes().progress?;
                let other = progress.identity8 != before.identity8 && progress.identity8 != [0; 8];
                (other && progress.blocks_held == 0).then_some(Progress {
                    identity8: progress.identity8,
                    ..before
                })
            }),
            Mutant::NeverCloses => self.forge(addr, bytes, |counters: &TrialCounters| {
                (counters.stage == TrialStage::Closed && counters.code != 0).then_some(
                    TrialCounters {
                        stage: TrialStage::RollingBack,
                        ..*counters
                    },
                )
            }),
        }
    }

    /// Another record in the place of one of this type, if `change` wants that.
    fn forge<T: Record>(
        &self,
        addr: u32,
        bytes: &[u8],
        change: impl FnOnce(&T) -> Option<T>,
    ) -> Fate {
        let forged = || {
            let epoch = self.epoch(addr)?;
            let view = RecordView::parse(epoch, bytes).ok()?;
            let other = change(&view.decode().ok()?)?;
            let mut out = [0; MAX_RECORD_LEN];
            let forged = encode(epoch, view.key(), &other, &mut out).ok()?;
            (forged.len() == bytes.len()).then(|| forged.to_vec())
        };
        if !holds(self.layout.journal, addr) {
            return Fate::Pass;
        }
        forged().map_or(Fate::Pass, |bytes| Fate::Forge { bytes, once: true })
    }

    /// The epoch of the half of the journal in which `addr` lies.
    fn epoch(&self, addr: u32) -> Option<u32> {
        let half_len = 4 * SECTOR_LEN;
        let half = (addr - self.layout.journal.offset) / half_len;
        let header = self
            .flash
            .borrow()
            .peek(self.layout.journal.offset + half * half_len, CELL_LEN);
        HalfHeader::parse(header[..].try_into().ok()?).map(|header| header.epoch)
    }

    fn notes(&self) -> Notes {
        Notes::read(&self.flash.borrow(), &self.layout)
    }

    fn on_trial(&self) -> bool {
        self.notes().open_trial().is_some()
    }

    fn release(&mut self) -> Result<(), FlashError> {
        for (addr, bytes) in self.held.drain(..) {
            self.flash.borrow_mut().write(addr, &bytes)?;
        }
        Ok(())
    }
}

impl ErrorType for Driver {
    type Error = FlashError;
}

impl ReadNorFlash for Driver {
    const READ_SIZE: usize = SimFlash::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.flash.borrow_mut().read(self.map(offset), bytes)?;
        for (at, held) in &self.held {
            lay_over(offset, bytes, *at, held);
        }
        self.lies.retain(|lie| {
            let told = lay_over(offset, bytes, lie.at, &lie.bytes);
            !(told && lie.once)
        });
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.flash.borrow().capacity()
    }
}

impl NorFlash for Driver {
    const WRITE_SIZE: usize = SimFlash::WRITE_SIZE;
    const ERASE_SIZE: usize = SimFlash::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        self.held.retain(|(at, _)| !(from..to).contains(at));
        self.lies.retain(|lie| !(from..to).contains(&lie.at));
        let (from, to) = (self.map(from), self.map(from) + (to - from));
        self.flash.borrow_mut().erase(from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let at = self.map(offset);
        let fate = self.fate(offset, bytes);
        match fate {
            Fate::Hold => {
                self.held.push((offset, bytes.to_vec()));
                Ok(())
            }
            Fate::Pass => self.flash.borrow_mut().write(at, bytes),
            Fate::PassThenRelease => {
                self.flash.borrow_mut().write(at, bytes)?;
                self.release()
            }
            Fate::Forge {
                bytes: forged,
                once,
            } => {
                let bytes = bytes.to_vec();
                self.lies.push(Lie {
                    at: offset,
                    bytes,
                    once,
                });
                self.flash.borrow_mut().write(at, &forged)
            }
        }
    }
}

fn holds(region: Region, addr: u32) -> bool {
    (region.offset..region.end()).contains(&addr)
}

/// Lays `over`, which begins at `at`, over what was read at `offset`; whether they met.
fn lay_over(offset: u32, bytes: &mut [u8], at: u32, over: &[u8]) -> bool {
    let mut met = false;
    for (i, byte) in over.iter().enumerate() {
        let place = (at as usize + i).checked_sub(offset as usize);
        if let Some(place) = place.and_then(|place| bytes.get_mut(place)) {
            *place = *byte;
            met = true;
        }
    }
    met
}
