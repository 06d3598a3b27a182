//! What a broker that means harm can wear out of a device's flash, with packages that are good.

use std::collections::BTreeMap;

use otaria_package::pack::CodecChoice;
use otaria_sim::flash::{OpKind, Timing};
use otaria_sim::net::{HostConfig, LinkConfig};
use otaria_wire::messages::{EventKind, FailureCode};

use crate::stage::{MINUTE, Plan, SECOND, Stage};

const IMAGE_LEN: usize = 96 * 1024;
const TURNS: usize = 200;
/// Downloads that may begin in the time that the turns take: both packages once, what can be spent at once, and one for each hour.
const STARTS: usize = 2 + 21 + 2;

/// A stage whose device needs a quarter of a minute for a package.
fn slow() -> Stage {
    let mut network = HostConfig::device();
    network.link = LinkConfig {
        bits_per_second: 50_000,
        ..LinkConfig::WIFI
    };
    Stage::set(&Plan {
        network,
        timing: Timing::INSTANT,
        ..Plan::default()
    })
}

/// Erases of each sector since command `from`.
fn erases(stage: &Stage, from: u64) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for op in stage.device.flash().log() {
        let sectors = match op.kind {
            OpKind::Write => 0,
            OpKind::SectorErase => 1,
            OpKind::BlockErase => 16,
        };
        if op.index >= from {
            for sector in 0..sectors {
                *counts.entry(op.addr / 4096 + sector).or_default() += 1;
            }
        }
    }
    counts
}

/// Wishes for each of `paths` in turn, every time for ten seconds; an empty one is no wish. Erases of each sector.
fn alternate(stage: &Stage, paths: &[&str], reboot: bool) -> BTreeMap<u32, usize> {
    let from = stage.op_count();
    for turn in 0..TURNS {
        match paths[turn % paths.len()] {
            "" => stage.publish("desired", "", true),
            path => stage.wish(&format!("turn-{turn}"), path),
        }
        stage.world.run_for(8 * SECOND);
        if reboot {
            let id = format!("turn-{turn}");
            let command = format!(r#"{{"id":"{id}","cmd":"reboot"}}"#);
            stage.publish("cmd", command, false);
        }
        stage.world.run_for(2 * SECOND);
    }
    let counts = erases(stage, from);
    stage.check("1.0.0").unwrap();
    counts
}

fn good_packages(stage: &Stage) {
    for (path, version) in [("/a.otaria", "1.1.0"), ("/b.otaria", "1.2.0")] {
        stage.world.run_for(SECOND);
        let package = stage.package(version, IMAGE_LEN, CodecChoice::Stored);
        stage.put(path, package.bytes);
    }
}

/// The most erases of one sector; something must have been erased.
fn worst(counts: &BTreeMap<u32, usize>) -> usize {
    let worst = counts.values().max().copied().unwrap_or_default();
    let all: usize = counts.values().sum();
    println!("at most {worst} a sector, {all} in all");
    assert!(worst > 1, "the broker must get something done: {counts:?}");
    worst
}

#[test]
fn wishes_that_come_and_go_erase_no_sector_more_often_than_downloads_may_begin() {
    for paths in [
        &["/a.otaria", "/b.otaria"][..],
        &["/a.otaria", "", "/b.otaria", ""],
    ] {
        for reboot in [false, true] {
            let stage = slow();
            good_packages(&stage);
            let counts = alternate(&stage, paths, reboot);
            // A restart in the middle of a block costs that block's sectors once more.
            let each = if reboot { 2 } else { 1 };
            assert!(worst(&counts) <= each * STARTS, "{reboot} {counts:?}");
        }
    }
}

#[test]
fn trials_that_are_cancelled_wear_otadata_no_faster_than_downloads_may_begin() {
    let stage = Stage::new();
    good_packages(&stage);
    let from = stage.op_count();
    for turn in 0..TURNS / 2 {
        let job = format!("turn-{turn}");
        stage.wish(&job, ["/a.otaria", "/b.otaria"][turn % 2]);
        let tried = |stage: &Stage| {
            stage.has(&job, EventKind::TrialStarted, None)
                || stage.has(&job, EventKind::Retrying, Some(FailureCode::BegunTooOften))
        };
        assert!(stage.run_until(2 * MINUTE, tried), "{}", stage.story());
        let command = format!(r#"{{"id":"{job}","cmd":"cancel"}}"#);
        stage.publish("cmd", command, false);
        // More messages than one in eight seconds are not kept, and such a command is dropped.
        stage.world.run_for(20 * SECOND);
        let ended = |stage: &Stage| stage.end_of(&job).is_some();
        assert!(stage.run_until(2 * MINUTE, ended), "{}", stage.story());
    }
    let counts = erases(&stage, from);
    // Selected, given up, and erased to the end by the old image's guard.
    assert!(worst(&counts) <= 3 * STARTS, "{counts:?}");
    stage.check("1.0.0").unwrap();
}

#[test]
fn after_such_an_attack_a_newer_package_is_not_delayed() {
    let stage = slow();
    good_packages(&stage);
    alternate(&stage, &["/a.otaria", "/b.otaria"], true);
    let package = stage.package("1.3.0", IMAGE_LEN, CodecChoice::Stored);
    stage.put("/c.otaria", package.bytes);
    stage.wish("good", "/c.otaria");
    let confirmed = |stage: &Stage| stage.has("good", EventKind::Confirmed, None);
    assert!(stage.run_until(2 * MINUTE, confirmed), "{}", stage.story());
    stage.check("1.3.0").unwrap();
}

#[test]
fn who_waits_for_the_flash_says_so_and_the_update_comes_within_the_hour() {
    let stage = slow();
    good_packages(&stage);
    alternate(&stage, &["/a.otaria", "/b.otaria"], false);
    stage.wish("patient", "/b.otaria");
    let waits = |stage: &Stage| {
        let code = Some(FailureCode::BegunTooOften);
        stage.has("patient", EventKind::Retrying, code)
    };
    assert!(stage.run_until(MINUTE, waits), "{}", stage.story());
    let confirmed = |stage: &Stage| stage.has("patient", EventKind::Confirmed, None);
    assert!(
        stage.run_until(130 * MINUTE, confirmed),
        "{}",
        stage.story()
    );
}

#[test]
fn a_package_that_is_wished_for_and_withdrawn_goes_on_where_it_was() {
    let stage = slow();
    good_packages(&stage);
    let from = stage.op_count();
    for turn in 0..6 {
        stage.wish(&format!("turn-{turn}"), "/a.otaria");
        stage.world.run_for(6 * SECOND);
        stage.publish("desired", "", true);
        stage.world.run_for(4 * SECOND);
    }
    let store = stage.layout.journal.offset / 4096 + 8;
    let counts = erases(&stage, from);
    assert_eq!(
        counts.get(&store),
        Some(&1),
        "the table is kept: {counts:?}"
    );
}

#[test]
fn after_forty_packages_that_are_refused_a_good_one_is_not_delayed() {
    let stage = Stage::new();
    good_packages(&stage);
    let mut bad = stage.package("1.1.0", IMAGE_LEN, CodecChoice::Stored).bytes;
    bad[260] ^= 1;
    stage.put("/bad.otaria", bad);
    for turn in 0..40 {
        let job = format!("bad-{turn}");
        stage.wish(&job, "/bad.otaria");
        let refused =
            |stage: &Stage| stage.has(&job, EventKind::Refused, Some(FailureCode::BadSignature));
        assert!(stage.run_until(MINUTE, refused), "{}", stage.story());
    }
    stage.wish("good", "/a.otaria");
    let begun = |stage: &Stage| stage.has("good", EventKind::Accepted, None);
    assert!(stage.run_until(10 * SECOND, begun), "{}", stage.story());
}
