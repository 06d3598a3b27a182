//! Power cuts at every flash command of a whole device: bootloader, boot guard and runtime as they run on a chip, with an MQTT
//! broker and a web server, in virtual time.
//!
//! | module | what |
//! |---|---|
//! | [`scenarios`] | the stories that are swept |
//! | [`sweep`] | which cuts are made |
//! | [`story`], [`lab`] | one telling: a world, a device, until all is at rest; then one more update |
//! | [`judge`], [`invariants`] | what must hold |
//! | [`mutants`] | devices with a fault, which the sweep has to find |
//!
//! `OTARIA_SWEEP=short` (the default) makes every single cut and a spread of second ones; `OTARIA_SWEEP=exhaustive` follows every
//! cut with a second one at every command of the recovery's beginning, and a spread behind that. A failure prints `OTARIA_CASE=..`,
//! with which exactly that case runs again and shows what happened: `OTARIA_CASE=first_update/stock/17:TornBits:17 cargo test
//! -p otaria-sim --test power_cuts -- --nocapture`.

mod facts;
mod invariants;
mod judge;
mod lab;
mod mutants;
mod releases;
mod scenarios;
mod story;
mod sweep;

use std::env;

use otaria_device::storage::journal::JOURNAL_SECTORS;
use otaria_sim::flash::{Cut, SECTOR_LEN};
use otaria_wire::journal::TrialStage;

use facts::Notes;
use lab::{Setup, factory};
use mutants::Mutant;
use releases::Release;
use scenarios::Scenario;
use story::{beginning, tell};
use sweep::{Case, Extent, bootloader, replay, sweep as run_sweep};

/// Sweeps a story on both bootloaders.
fn swept(name: &str) {
    let scenario = Scenario::named(name);
    let only: Option<Case> = env::var("OTARIA_CASE")
        .ok()
        .map(|case| case.parse().expect("OTARIA_CASE is a case"));
    let mut reports = Vec::new();
    for rollback in [false, true] {
        let setup = Setup {
            scenario,
            rollback,
            mutant: None,
        };
        match &only {
            None => {
                let report = run_sweep(setup, Extent::from_env(scenario), |_| false);
                println!("{name:28} {:8} {report}", bootloader(rollback));
                reports.push(report);
            }
            Some(case) if case.scenario == name && case.rollback == rollback => {
                replay(setup, case);
            }
            Some(_) => {}
        }
    }
    for report in reports {
        report.expect_clean();
    }
}

macro_rules! sweeps {
    ($($name:ident)*) => {
        mod sweeps {
            $(
                #[test]
                fn $name() {
                    super::swept(stringify!($name));
                }
            )*
        }

        #[test]
        fn every_story_is_swept() {
            let swept = [$(stringify!($name)),*];
            let told: Vec<_> = scenarios::SCENARIOS.iter().map(|story| story.name).collect();
            assert_eq!(told, swept);
        }
    };
}

sweeps! {
    first_update
    update_after_confirm
    large_after_confirm
    update_after_roll_back
    crash_on_trial
    crash_on_trial_from_slot_1
    hang_on_trial
    unhealthy_on_trial
    never_healthy_on_trial
    cancelled_on_trial
    no_network_on_trial
    never_network_on_trial
    server_without_ranges
    server_closes_early
    file_changes
    file_changes_unseen
    wish_changes
    encrypted
    journal_full_in_download
    journal_full_at_activation
    journal_full_at_confirm
    journal_full_at_roll_back
    log_wraps
}

/// What the journal says when it is about to compact in a story.
fn notes_at_compaction(name: &str) -> Notes {
    let setup = Setup {
        scenario: Scenario::named(name),
        rollback: false,
        mutant: None,
    };
    let told = tell(setup, &beginning(setup), false);
    let layout = factory().layout();
    let halves = layout.journal.offset..layout.journal.offset + JOURNAL_SECTORS * SECTOR_LEN;
    let flash = &told.life.flash;
    let compaction = (0..told.end).find(|moment| {
        let op = flash.op_at(*moment);
        op.kind.is_erase() && halves.contains(&op.addr)
    });
    let compaction = compaction.expect("the journal compacts in this story");
    Notes::read(&flash.cut_at(compaction, Cut::Before, 0), &layout)
}

#[test]
fn the_journal_is_full_where_the_stories_say() {
    let notes = notes_at_compaction("journal_full_in_download");
    let held = notes.progress.map_or(0, |progress| progress.blocks_held);
    assert!((1..3).contains(&held), "{notes:?}");

    let notes = notes_at_compaction("journal_full_at_activation");
    let held = notes.progress.map_or(0, |progress| progress.blocks_held);
    assert!(held == 3 && notes.open_trial().is_none(), "{notes:?}");

    let notes = notes_at_compaction("journal_full_at_confirm");
    let sha256 = notes
        .confirmed
        .as_ref()
        .map(|confirmed| confirmed.image_sha256);
    assert!(notes.open_trial().is_some(), "{notes:?}");
    assert_eq!(sha256, Some(Release::Good.sha256()), "{notes:?}");

    let notes = notes_at_compaction("journal_full_at_roll_back");
    let counters = notes.open_trial().map(|trial| trial.counters);
    let counters = counters.expect("a trial is open");
    assert_eq!((counters.stage, counters.crashes), (TrialStage::Open, 2));
}

/// Sweeps a mutant until the invariant that it breaks is found broken.
fn caught(mutant: Mutant, scenario: &str, rollback: bool) {
    let setup = Setup {
        scenario: Scenario::named(scenario),
        rollback,
        mutant: Some(mutant),
    };
    let invariant = mutant.breaks();
    let report = run_sweep(setup, Extent::SINGLE, |report| {
        report.broken(invariant).is_some()
    });
    let Some((case, violation)) = report.broken(invariant) else {
        panic!(
            "{mutant:?} was not caught breaking {invariant}, only {:?}",
            report.failures.first()
        );
    };
    println!("{mutant:?}: {case}: {violation}");
}

#[test]
fn a_device_that_updates_in_place_is_caught() {
    caught(Mutant::UpdatesInPlace, "first_update", false);
}

#[test]
fn a_device_that_activates_before_it_verifies_is_caught() {
    caught(Mutant::ActivatesBeforeVerifying, "first_update", false);
}

#[test]
fn a_device_that_records_the_trial_after_the_activation_is_caught() {
    caught(Mutant::RecordsTrialAfterActivation, "first_update", false);
}

#[test]
fn a_device_that_confirms_before_the_floors_are_written_is_caught() {
    caught(Mutant::ConfirmsBeforeFloors, "first_update", false);
}

#[test]
fn a_device_that_confirms_without_marking_the_entry_is_caught() {
    caught(Mutant::ConfirmsWithoutEntry, "first_update", true);
}

#[test]
fn a_device_that_resumes_whatever_lies_there_is_caught() {
    caught(Mutant::ResumesAnything, "wish_changes", false);
}

#[test]
fn a_device_that_never_closes_a_trial_is_caught() {
    caught(Mutant::NeverCloses, "crash_on_trial", false);
}
