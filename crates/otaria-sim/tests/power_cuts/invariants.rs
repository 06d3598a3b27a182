//! What must hold whatever happens: the invariants of the design, by number.

use std::fmt;

/// A promise of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Invariant {
    /// 1. Whatever happens, an authentic image boots.
    AuthenticImageBoots,
    /// 2. An image that is not fully verified is never selected, and one that is selected is never written.
    OnlyVerifiedImagesSelected,
    /// 3. An unconfirmed image never runs without a trial record.
    NoTrialWithoutRecord,
    /// 4. A confirmed image is never lost without a report.
    NoSilentLoss,
    /// 5. Resume never mixes two images.
    NoMixedImages,
    /// 6. After any failure a later good update succeeds.
    LaterUpdateSucceeds,
    /// 7. Once power and link are stable, the device reaches the target or a reported failure in bounded time.
    ReachesTargetOrReport,
    /// 8. Nothing in flash makes it panic, hang, or break a rule of the chip.
    NoPanicNoViolation,
    /// 9. An update erases each slot sector once and at most 16 others; each interruption adds at most 8.
    BoundedWear,
}

impl Invariant {
    fn number(self) -> u8 {
        self as u8 + 1
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Invariant::AuthenticImageBoots => "an authentic image boots",
            Invariant::OnlyVerifiedImagesSelected => "only verified images are selected",
            Invariant::NoTrialWithoutRecord => "an unconfirmed image runs with a trial record",
            Invariant::NoSilentLoss => "a confirmed image is not lost without a report",
            Invariant::NoMixedImages => "resume does not mix two images",
            Invariant::LaterUpdateSucceeds => "a later good update succeeds",
            Invariant::ReachesTargetOrReport => "the device reaches the target or a report",
            Invariant::NoPanicNoViolation => "no panic, no broken rule of the chip",
            Invariant::BoundedWear => "wear is bounded",
        };
        write!(f, "invariant {} ({words})", self.number())
    }
}

/// A broken promise.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// Broken promises, as they are found.
#[derive(Debug, Default)]
pub(crate) struct Verdict(Vec<Violation>);

impl Verdict {
    pub(crate) fn broken(&mut self, invariant: Invariant, what: impl Into<String>) {
        self.0.push(Violation {
            invariant,
            what: what.into(),
        });
    }

    pub(crate) fn require(
        &mut self,
        invariant: Invariant,
        holds: bool,
        what: impl FnOnce() -> String,
    ) {
        if !holds {
            self.broken(invariant, what());
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        !self.0.is_empty()
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        &self.0
    }

    pub(crate) fn take(&mut self, other: Verdict) {
        self.0.extend(other.0);
    }
}
