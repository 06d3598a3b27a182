//! Faults at a chosen command: power cuts before, after and inside it, and commands that fail with the power on.

use super::op::OpKind;

/// Where a power cut hits a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Nothing of the command happens.
    Before,
    /// All of the command happens, but its caller never learns of it.
    After,
    /// Of a write, the first bytes, and of the next byte some of the bits.
    TornPrefix,
    /// Of a write, a random half of the bits that were to be cleared.
    TornBits,
    /// Of an erase, each bit is the old one, or 1, or unstable: it reads at random until it is erased again.
    TornErase,
    /// Of an erase, all reads 0xFF, and yet it was not finished: as soon as something is written into the sector, bits of it
    /// read at random. The case that a blank check cannot see.
    WeakErase,
}

impl Cut {
    /// All of them.
    pub const ALL: [Cut; 6] = [
        Cut::Before,
        Cut::After,
        Cut::TornPrefix,
        Cut::TornBits,
        Cut::TornErase,
        Cut::WeakErase,
    ];

    /// Whether the cut means anything at a command of this kind. A torn write planned for a command that turns out to be an
    /// erase, or the other way round, hits as [`Cut::Before`].
    pub fn applies_to(self, kind: OpKind) -> bool {
        match self {
            Cut::Before | Cut::After => true,
            Cut::TornPrefix | Cut::TornBits => !kind.is_erase(),
            Cut::TornErase | Cut::WeakErase => kind.is_erase(),
        }
    }
}

/// What goes wrong at a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Power is lost: from here on every call returns [`super::FlashError::PowerLost`] until the power is back.
    Cut(Cut),
    /// The command changes nothing and says so; the power stays.
    Fail,
    /// The command changes nothing and reports success; the power stays.
    Ignore,
}

/// Which faults happen at which commands. Commands are counted from 0 over the life of the flash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultPlan {
    faults: Vec<(u64, Fault)>,
    seed: u64,
}

impl FaultPlan {
    /// No fault; `seed` decides what is torn how.
    pub fn new(seed: u64) -> Self {
        FaultPlan {
            faults: Vec::new(),
            seed,
        }
    }

    /// One power cut at command `op`.
    pub fn cut(op: u64, cut: Cut, seed: u64) -> Self {
        FaultPlan::new(seed).with(op, Fault::Cut(cut))
    }

    /// One more fault, at command `op`.
    #[must_use]
    pub fn with(mut self, op: u64, fault: Fault) -> Self {
        self.faults.push((op, fault));
        self
    }

    /// The seed that decides what is torn how.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The fault at command `op`, if there is one.
    pub(super) fn at(&self, op: u64) -> Option<Fault> {
        self.faults
            .iter()
            .find(|(at, _)| *at == op)
            .map(|(_, fault)| *fault)
    }
}
