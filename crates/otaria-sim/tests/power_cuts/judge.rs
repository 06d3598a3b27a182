//! Whether a story came to a good end.

use std::fmt::Write as _;

use otaria_sim::flash::{Cut, SECTOR_LEN};
use otaria_wire::messages::{Event, EventKind, FailureCode, FailureGroup};
use otaria_wire::partitions::{Layout, Region};

use crate::facts::{Notes, release_in, selected};
use crate::invariants::{Invariant, Verdict};
use crate::lab::{Life, Rest, Setup, Start, factory};
use crate::releases::{BLOCK_LEN, Release};
use crate::scenarios::{Circumstance, End};
use crate::story::Erases;

/// Erase commands that one download may take in its slot: fewer than four sectors one by one, or a block at once.
const SLOT_ERASES: u32 = 3;
/// Other erase commands that an update may take.
const OTHER_ERASES: u32 = 16;
/// Each trial after the first one: activation, the bootloader's mark, and two to be sure that its entry is gone.
const ERASES_PER_TRIAL: u32 = 4;
/// Erase commands that an interruption may add.
const ERASES_PER_CUT: u32 = 8;

/// What a cut has left, before anybody has touched it.
pub(crate) fn start(start: &Start, verdict: &mut Verdict) {
    let layout = factory().layout();
    let mut flash = start.flash.clone();
    flash.power_on();
    selection(&flash, &layout, "where the power went", verdict);
}

/// The whole story, up to its end at `rest`, and the later update behind that, if there was one.
pub(crate) fn story(setup: Setup, start: &Start, life: &mut Life, rest: &Rest, with_later: bool) {
    let layout = factory().layout();
    let mut verdict = core::mem::take(&mut life.verdict);
    commands(life, &layout, &mut verdict);
    if rest.reached {
        ends(setup, start, life, rest, &mut verdict);
    }
    if rest.reached && with_later {
        later(life, rest, &mut verdict);
    }
    wear(setup, start, life, rest, &layout, &mut verdict);
    let flash = &life.flash;
    let stats = flash.stats();
    verdict.require(
        Invariant::NoPanicNoViolation,
        flash.violations().is_empty(),
        || format!("broken rules of the flash: {:?}", flash.violations()),
    );
    verdict.require(
        Invariant::NoPanicNoViolation,
        stats.rewritten_words == 0,
        || format!("{} words were written twice", stats.rewritten_words),
    );
    verdict.require(
        Invariant::NoPanicNoViolation,
        stats.unaligned_reads == 0,
        || format!("{} reads were not aligned", stats.unaligned_reads),
    );
    life.verdict = verdict;
}

/// The slot that otadata selects holds a released image, whole.
fn selection(
    flash: &otaria_sim::flash::SimFlash,
    layout: &Layout,
    when: &str,
    verdict: &mut Verdict,
) {
    let Some(selected) = selected(flash, layout) else {
        return;
    };
    let slot = selected.entry.slot(2) as usize;
    verdict.require(
        Invariant::OnlyVerifiedImagesSelected,
        release_in(flash, layout, slot).is_some(),
        || format!("{when}, slot {slot} is selected, and what it holds was never released"),
    );
}

/// Invariant 2 at every flash command: after each one to otadata the selected slot holds a released image, and no command goes to
/// the selected slot. Nor is a slot erased while a trial is open.
fn commands(life: &Life, layout: &Layout, verdict: &mut Verdict) {
    let flash = &life.flash;
    for moment in 0..flash.moments() {
        let op = flash.op_at(moment);
        if holds(layout.otadata, op.addr) {
            let after = flash.cut_at(moment, Cut::After, 0);
            selection(&after, layout, &format!("after {op}"), verdict);
        }
        let slot = layout.slots.iter().position(|slot| holds(*slot, op.addr));
        let Some(slot) = slot else { continue };
        let before = flash.cut_at(moment, Cut::Before, 0);
        let in_force = selected(&before, layout).map(|selected| selected.entry.slot(2) as usize);
        verdict.require(
            Invariant::OnlyVerifiedImagesSelected,
            in_force != Some(slot),
            || format!("{op} changes slot {slot}, which is selected"),
        );
        if op.kind.is_erase() {
            let notes = Notes::read(&before, layout);
            verdict.require(
                Invariant::OnlyVerifiedImagesSelected,
                notes.open_trial().is_none(),
                || format!("{op} erases slot {slot} while a trial is open"),
            );
        }
    }
}

/// Invariants 4, 5 and 7 at the end of the story.
fn ends(setup: Setup, start: &Start, life: &Life, rest: &Rest, verdict: &mut Verdict) {
    let events = || {
        let new = life
            .events
            .iter()
            .filter(|(number, _)| *number < rest.messages);
        start.events.iter().chain(new.map(|(_, event)| event))
    };
    let last = result(events());
    let reached = |end: &End| {
        rest.running == Some(end.runs)
            && last.is_some_and(|last| last.event == end.says && last.failure() == end.code)
    };
    let right = setup.scenario.ends(start.cuts);
    verdict.require(
        Invariant::ReachesTargetOrReport,
        right.iter().any(reached),
        || {
            format!(
                "{:?} runs, reported last: {}; not {right:?}; {}",
                rest.running,
                last.map_or_else(|| "nothing".to_owned(), told),
                events().map(told).collect::<Vec<_>>().join(", "),
            )
        },
    );
    let told_of = |boot: u32| {
        events().any(|event| {
            event.boot >= boot && event.event == EventKind::RolledBack && event.job.is_none()
        })
    };
    let proven = rest.proven.last().copied();
    verdict.require(
        Invariant::NoSilentLoss,
        rest.running == proven || told_of(0),
        || {
            format!(
                "{proven:?} was confirmed, {:?} runs, and nobody was told",
                rest.running
            )
        },
    );
    if let Some((release, boot)) = life.lost {
        verdict.require(Invariant::NoSilentLoss, told_of(boot), || {
            format!("{release:?} was confirmed and did not run in boot {boot}, and nobody was told")
        });
    }
    let mixed = events().find(|event| {
        event
            .failure()
            .is_some_and(|code| code.group() == FailureGroup::Image)
    });
    if let Some(mixed) = mixed {
        verdict.broken(
            Invariant::NoMixedImages,
            format!(
                "a download ended in an image that was never released: {}",
                told(mixed)
            ),
        );
    }
    let layout = factory().layout();
    stable(rest, &layout, verdict);
}

/// The last final event. After a restart the broker still holds the wish, and the device may say once more that there is nothing to
/// be done about it.
fn result<'e>(events: impl Iterator<Item = &'e Event>) -> Option<&'e Event> {
    events
        .filter(|event| event.event.is_final())
        .reduce(|result, event| {
            let repeated = event.event == EventKind::AlreadyRunning
                || event.failure() == Some(FailureCode::Quarantined);
            if repeated && event.boot > result.boot {
                result
            } else {
                event
            }
        })
}

/// What the device relies on from now on does not hang on bits that read differently every time.
fn stable(rest: &Rest, layout: &Layout, verdict: &mut Verdict) {
    let flash = &rest.flash;
    let in_force = selected(flash, layout);
    for sector in 0..2 {
        let addr = layout.otadata.offset + sector * SECTOR_LEN;
        let blank = flash
            .peek(addr, SECTOR_LEN as usize)
            .iter()
            .all(|byte| *byte == 0xFF);
        let used = in_force.is_some_and(|selected| selected.sector == sector as usize);
        verdict.require(
            Invariant::AuthenticImageBoots,
            !flash.is_unstable(addr) || (blank && !used),
            || format!("otadata sector {sector} is unstable at the end (in force: {used})"),
        );
    }
    if let (Some(release), Some(slot)) = (rest.running, rest.slot) {
        let from = layout.slots[slot].offset;
        for addr in (from..from + release.image().len() as u32).step_by(SECTOR_LEN as usize) {
            verdict.require(
                Invariant::OnlyVerifiedImagesSelected,
                !flash.is_unstable(addr),
                || format!("the running image lies in sector {addr:#x}, which is unstable"),
            );
        }
    }
}

/// Invariant 6.
fn later(life: &Life, rest: &Rest, verdict: &mut Verdict) {
    let confirmed = life.events.iter().any(|(number, event)| {
        *number >= rest.messages
            && event.event == EventKind::Confirmed
            && event.job.as_deref() == Some("Later")
    });
    verdict.require(
        Invariant::LaterUpdateSucceeds,
        life.running == Some(Release::Later) && confirmed,
        || {
            let new = life
                .events
                .iter()
                .filter(|(number, _)| *number >= rest.messages);
            let said: Vec<_> = new.map(|(_, event)| told(event)).collect();
            format!(
                "{:?} runs after the later update: {}",
                life.running,
                said.join(", ")
            )
        },
    );
}

/// Invariant 9. An erase command counts once, whether it erases a sector or a block of 64 KiB.
///
/// Without a cut no slot sector is erased twice, and other erase commands are at most 16. With cuts, the story takes at most 8 more
/// for each of them than it took without; and a whole update more if the wish led to another package meanwhile.
fn wear(
    setup: Setup,
    start: &Start,
    life: &Life,
    rest: &Rest,
    layout: &Layout,
    verdict: &mut Verdict,
) {
    let story = Erases::of(&life.flash, 0..rest.moments, layout);
    let update = OTHER_ERASES + ERASES_PER_TRIAL * (setup.scenario.trials() - 1);
    let mut uncut = |from: &[u32], to: &[u32], erases: Erases, most: Erases| {
        let slots = layout.slots.iter().flat_map(|slot| {
            (slot.offset / SECTOR_LEN) as usize..(slot.end() / SECTOR_LEN) as usize
        });
        let worn = slots.map(|sector| to[sector] - from[sector]).max();
        verdict.require(
            Invariant::BoundedWear,
            worn <= Some(most.slots) && erases.others <= most.others,
            || format!("without a cut {erases:?}, a slot sector {worn:?} times"),
        );
    };
    if start.cuts == 0 {
        // A block that the server does not send to its end is begun again.
        let interrupted = setup.scenario.world == Circumstance::ClosesEarly;
        let most = Erases {
            slots: 1 + u32::from(interrupted),
            others: update,
        };
        uncut(start.flash.wear(), rest.flash.wear(), story, most);
    }
    if rest.reached {
        let later = Erases::of(&life.flash, rest.moments..life.flash.moments(), layout);
        let most = Erases {
            slots: 1,
            others: OTHER_ERASES,
        };
        uncut(rest.flash.wear(), life.flash.wear(), later, most);
    }
    if let Some(uncut) = start.uncut {
        let all = start.erases.total() + story.total();
        let again = setup.scenario.downloads(start.cuts) - 1;
        // Sectors that were blank needed no erase; a cut may make them doubtful.
        let once = SLOT_ERASES + uncut.others;
        let most = once + again * (SLOT_ERASES + update) + start.cuts * ERASES_PER_CUT;
        verdict.require(Invariant::BoundedWear, all <= most, || {
            format!(
                "{all} erase commands after {} cuts, {uncut:?} without",
                start.cuts
            )
        });
    }
}

/// Invariant 5, at a start of the device: the blocks that the journal says it holds are those of the package that it names.
pub(crate) fn held_blocks(
    flash: &otaria_sim::flash::SimFlash,
    layout: &Layout,
    notes: &Notes,
    verdict: &mut Verdict,
) {
    let Some(progress) = notes.progress.filter(|progress| progress.blocks_held > 0) else {
        return;
    };
    let Some(release) = Release::ALL
        .into_iter()
        .find(|release| release.identity().first8() == progress.identity8)
    else {
        verdict.broken(
            Invariant::NoMixedImages,
            format!("progress of an unknown package: {progress:?}"),
        );
        return;
    };
    let image = release.image();
    let held = &image[..image
        .len()
        .min(usize::from(progress.blocks_held) * BLOCK_LEN)];
    let there = layout
        .slots
        .iter()
        .any(|slot| flash.peek(slot.offset, held.len()) == held);
    verdict.require(Invariant::NoMixedImages, there, || {
        format!(
            "the journal holds {} blocks of {release:?}, and no slot does",
            progress.blocks_held
        )
    });
}

fn holds(region: Region, addr: u32) -> bool {
    (region.offset..region.end()).contains(&addr)
}

/// An event in a few words.
fn told(event: &Event) -> String {
    let mut words = format!("{}.{} {}", event.boot, event.n, event.event.name());
    if let Some(code) = event.failure() {
        let _ = write!(words, " {code}");
    }
    if let Some(text) = &event.text {
        let _ = write!(words, " ({text})");
    }
    words
}
