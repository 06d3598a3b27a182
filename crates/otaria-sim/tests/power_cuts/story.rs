//! One telling of a story: from a given flash to its end, and on through one more update.

use std::ops::Range;

use otaria_sim::flash::{Cut, SimFlash};
use otaria_wire::messages::Event;
use otaria_wire::partitions::Layout;

use crate::facts::{self, Notes};
use crate::invariants::{Invariant, Verdict};
use crate::judge;
use crate::lab::{Lab, Life, Setup, Start, factory, note_proven};
use crate::releases::Release;
use crate::scenarios::{Before, Circumstance};
use crate::sweep::CutAt;

/// A story that was told.
pub(crate) struct Told {
    pub(crate) life: Life,
    /// The moment at which it was at its end; what follows is the later update.
    pub(crate) end: usize,
}

/// What happened before the story.
pub(crate) fn beginning(setup: Setup) -> Start {
    let mut start = Start {
        flash: factory().flash(),
        broker: Default::default(),
        events: Vec::new(),
        proven: vec![Release::Factory],
        erases: Erases::default(),
        uncut: None,
        cuts: 0,
        news: None,
    };
    // Only in the story itself is the mutant at work.
    let setup = Setup {
        mutant: None,
        ..setup
    };
    for before in setup.scenario.before {
        match *before {
            Before::Wish(release) => {
                let mut lab = Lab::new(setup, &start);
                lab.wish(release);
                let mut verdict = Verdict::default();
                lab.run(&mut verdict, Invariant::ReachesTargetOrReport);
                let life = lab.finish(verdict);
                assert!(!life.verdict.is_broken(), "{before:?}: {:?}", life.verdict);
                start.flash = life.flash.cut_at(life.flash.moments() - 1, Cut::After, 0);
                start.flash.power_on();
                start.broker = life.broker;
                start.proven = life.proven;
            }
            Before::JournalRoom(cells) => facts::fill_journal(&mut start.flash, cells),
            Before::LogRoom(cells) => facts::fill_log(&mut start.flash, cells),
        }
    }
    start
}

/// Tells a story from here, and judges it; if asked for, with a later update behind it.
pub(crate) fn tell(setup: Setup, start: &Start, later: bool) -> Told {
    let mut verdict = Verdict::default();
    judge::start(start, &mut verdict);
    let mut lab = Lab::new(setup, start);
    if start.cuts == 0 {
        lab.wish(setup.scenario.wish);
    }
    let alive = lab.run(&mut verdict, Invariant::ReachesTargetOrReport);
    let rest = lab.rest();
    if alive && later {
        lab.wish(Release::Later);
        lab.run(&mut verdict, Invariant::LaterUpdateSucceeds);
    }
    let mut life = lab.finish(verdict);
    judge::story(setup, start, &mut life, &rest, later);
    Told {
        life,
        end: rest.moments,
    }
}

impl Told {
    /// Where the device stands after a cut.
    pub(crate) fn fork(&self, setup: Setup, start: &Start, at: CutAt) -> Start {
        let life = &self.life;
        let mark = &life.marks[at.moment];
        let mut events: Vec<Event> = start.events.clone();
        let known = life
            .events
            .iter()
            .filter(|(number, _)| *number < mark.messages);
        events.extend(known.map(|(_, event)| event.clone()));
        let layout = factory().layout();
        let mut starts = life.proven_at.iter().rev();
        let latest = starts.find(|(moment, _)| *moment <= at.moment);
        let mut proven = latest.map_or(&start.proven, |(_, proven)| proven).clone();
        let before = life.flash.cut_at(at.moment, Cut::Before, 0);
        note_proven(&mut proven, &Notes::read(&before, &layout));
        let news = match setup.scenario.world {
            Circumstance::WishChanges(other) if start.cuts == 0 => Some(other),
            _ => None,
        };
        let erases = Erases::of(&life.flash, 0..at.moment + 1, &layout);
        Start {
            flash: life.flash.cut_at(at.moment, at.cut, at.seed),
            broker: (*mark.broker).clone(),
            events,
            proven,
            erases: Erases {
                slots: start.erases.slots + erases.slots,
                others: start.erases.others + erases.others,
            },
            uncut: start
                .uncut
                .or_else(|| Some(Erases::of(&life.flash, 0..self.end, &layout))),
            cuts: start.cuts + 1,
            news,
        }
    }
}

/// Erase commands; one of 64 KiB is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Erases {
    pub(crate) slots: u32,
    pub(crate) others: u32,
}

impl Erases {
    pub(crate) fn total(self) -> u32 {
        self.slots + self.others
    }

    /// Those among these moments.
    pub(crate) fn of(flash: &SimFlash, moments: Range<usize>, layout: &Layout) -> Erases {
        let mut erases = Erases::default();
        for moment in moments {
            let op = flash.op_at(moment);
            let in_slot = layout
                .slots
                .iter()
                .any(|slot| (slot.offset..slot.end()).contains(&op.addr));
            match (op.kind.is_erase(), in_slot) {
                (true, true) => erases.slots += 1,
                (true, false) => erases.others += 1,
                (false, _) => {}
            }
        }
        erases
    }
}
