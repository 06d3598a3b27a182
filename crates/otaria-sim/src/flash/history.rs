//! What was in flash before each op, so that a power cut can be tried at any op of a run without running it again.

use std::sync::Arc;

use fastrand::Rng;

use super::sector::Sector;
use super::{Cut, Op, SECTOR_LEN, SimFlash, Stats, Undo};

/// One op of a run, and what was there before it.
#[derive(Clone)]
pub(super) struct Moment {
    op: Op,
    before: Vec<Option<Arc<Sector>>>,
    wear: Vec<u32>,
    stats: Stats,
}

impl SimFlash {
    /// The same flash, which from now on remembers its contents before each op: see [`SimFlash::cut_at`]. Sectors that an op
    /// leaves alone are shared, so a moment costs little more than the sector that its op changes.
    #[must_use]
    pub fn with_history(mut self) -> Self {
        self.history = Some(Vec::new());
        self
    }

    /// How many moments are remembered: the ops since [`SimFlash::with_history`].
    pub fn moments(&self) -> usize {
        self.history.as_ref().map_or(0, Vec::len)
    }

    /// The op of a moment.
    ///
    /// # Panics
    /// If there is no such moment.
    pub fn op_at(&self, moment: usize) -> Op {
        self.moment(moment).op
    }

    /// The flash as a power cut at a moment's op leaves it: with the power off, and no history of its own. `seed` decides what is
    /// torn how, as in a [`FaultPlan`](super::FaultPlan).
    ///
    /// # Panics
    /// If there is no such moment.
    pub fn cut_at(&self, moment: usize, cut: Cut, seed: u64) -> SimFlash {
        let Moment {
            op,
            before,
            wear,
            stats,
        } = self.moment(moment);
        let mut flash = SimFlash::new(self.sectors.len() as u32 * SECTOR_LEN);
        flash.timing = self.timing;
        flash.worn.clone_from(&self.worn);
        flash.wear.clone_from(wear);
        flash.stats = *stats;
        flash.ops = op.index + 1;
        let mut rng = Rng::with_seed(seed);
        if cut == Cut::Before || !cut.applies_to(op.kind) {
            flash.sectors.clone_from(before);
        } else {
            flash.sectors.clone_from(self.after(moment));
            let (first, last) = op.sectors();
            if op.kind.is_erase() {
                flash.wear[first..=last].iter_mut().for_each(|n| *n += 1);
            }
            let undo = Undo {
                op: *op,
                before: before[first..=last].to_vec(),
            };
            flash.tear(&undo, cut, &mut rng);
        }
        flash.rng = rng;
        flash.power_off();
        flash
    }

    /// Remembers what is there before `op`.
    pub(super) fn remember(&mut self, op: Op) {
        let Some(history) = &mut self.history else {
            return;
        };
        history.push(Moment {
            op,
            before: self.sectors.clone(),
            wear: self.wear.clone(),
            stats: self.stats,
        });
    }

    fn moment(&self, moment: usize) -> &Moment {
        &self.history.as_deref().unwrap_or_default()[moment]
    }

    /// What was there right after a moment's op.
    fn after(&self, moment: usize) -> &Vec<Option<Arc<Sector>>> {
        let history = self.history.as_deref().unwrap_or_default();
        history
            .get(moment + 1)
            .map_or(&self.sectors, |next| &next.before)
    }
}
