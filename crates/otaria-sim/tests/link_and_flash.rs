//! Links that lose, stall, reset and vanish, and flash whose commands fail although the power is on.
//!
//! Power cuts have a sweep of their own. Here every row, and every command of an update that fails or is ignored once, ends in a
//! confirmed image or a reported failure, and a later update succeeds.

mod stage;

use std::ops::RangeInclusive;
use std::time::Duration;

use otaria_package::pack::CodecChoice;
use otaria_sim::device::Hardware;
use otaria_sim::flash::{Fault, FaultPlan, OpKind, Timing};
use otaria_sim::net::{HostConfig, LinkConfig};
use otaria_wire::messages::{EventKind, FailureCode};
use otaria_wire::partitions::Region;
use stage::{MINUTE, Plan, SECOND, Stage, play};

const IMAGE_LEN: usize = 100 * 1024;
/// Block erases that an image of this length takes.
const ERASES: usize = 2;
/// Erases that an interruption may add.
const MORE_ERASES: usize = 8;

/// A link, and what happens to it.
struct Row {
    name: &'static str,
    link: LinkConfig,
    window: usize,
    /// What happens, from the wish on.
    act: fn(&Stage),
    /// How long the update may take, from the wish to its confirmation.
    within: Duration,
    /// How often the package is asked for.
    requests: RangeInclusive<usize>,
    /// Starts of the device.
    starts: usize,
}

const GOOD: LinkConfig = LinkConfig::WIFI;

fn row(name: &'static str, link: LinkConfig, act: fn(&Stage)) -> Row {
    Row {
        name,
        link,
        window: 8192,
        act,
        within: 2 * MINUTE,
        requests: 1..=1,
        starts: 2,
    }
}

/// Does something to the link every so often, as long as the device downloads.
fn again_and_again(stage: &Stage, every: Duration, act: fn(&Stage)) {
    for _ in 0..60 {
        stage.world.run_for(every);
        if stage.has("app", EventKind::Downloaded, None) || stage.check("1.1.0").is_ok() {
            break;
        }
        act(stage);
    }
}

/// Runs until the device has reported this of the job.
fn until(stage: &Stage, kind: EventKind) {
    let said = |stage: &Stage| stage.has("app", kind, None);
    assert!(stage.run_until(5 * MINUTE, said), "{}", stage.story());
}

fn nothing(_: &Stage) {}

fn away(stage: &Stage, time: Duration) {
    stage.device.set_access_point(false);
    stage.world.run_for(time);
    stage.device.set_access_point(true);
}

fn rows() -> Vec<Row> {
    let lossy = |loss| LinkConfig { loss, ..GOOD };
    let slow = |bits_per_second, latency| LinkConfig {
        bits_per_second,
        latency: Duration::from_millis(latency),
        ..GOOD
    };
    vec![
        row("a good link", GOOD, nothing),
        row("every hundredth packet is lost", lossy(0.01), nothing),
        row("every tenth packet is lost", lossy(0.1), nothing),
        Row {
            within: 40 * MINUTE,
            requests: 1..=30,
            ..row("every third packet is lost", lossy(0.33), nothing)
        },
        row("by satellite", slow(4_000_000, 600), nothing),
        Row {
            within: 10 * MINUTE,
            ..row("16 kbit/s", slow(16_000, 100), nothing)
        },
        Row {
            window: 536,
            ..row("a window of 536 bytes", GOOD, nothing)
        },
        Row {
            window: 65_535,
            ..row("a window of 64 KiB", GOOD, nothing)
        },
        row("the link stalls for 15 s", GOOD, |stage| {
            until(stage, EventKind::Accepted);
            stage.host.stall(15 * SECOND);
        }),
        Row {
            within: 5 * MINUTE,
            requests: 2..=3,
            ..row("the link stalls for 25 s", GOOD, |stage| {
                until(stage, EventKind::Accepted);
                stage.host.stall(25 * SECOND);
            })
        },
        Row {
            within: 10 * MINUTE,
            requests: 2..=40,
            ..row(
                "all connections are reset every second",
                slow(200_000, 5),
                |stage| {
                    again_and_again(stage, SECOND, |stage| stage.host.reset_connections());
                },
            )
        },
        Row {
            within: 20 * MINUTE,
            requests: 1..=40,
            ..row("Wi-Fi goes for 3 s every 4 s", slow(200_000, 5), |stage| {
                again_and_again(stage, 4 * SECOND, |stage| away(stage, 3 * SECOND));
            })
        },
        Row {
            within: 10 * MINUTE,
            ..row("no Wi-Fi when the wish comes", GOOD, |stage| {
                away(stage, 3 * MINUTE);
            })
        },
        Row {
            within: 10 * MINUTE,
            requests: 2..=3,
            ..row(
                "no Wi-Fi for two minutes in the download",
                slow(400_000, 5),
                |stage| {
                    until(stage, EventKind::Accepted);
                    stage.world.run_for(SECOND);
                    away(stage, 2 * MINUTE);
                },
            )
        },
        Row {
            within: 10 * MINUTE,
            ..row(
                "no Wi-Fi for two minutes from the download's end on",
                GOOD,
                |stage| {
                    until(stage, EventKind::Downloaded);
                    away(stage, 2 * MINUTE);
                },
            )
        },
        Row {
            within: 30 * MINUTE,
            starts: 4,
            ..row("no Wi-Fi for twenty minutes in the trial", GOOD, |stage| {
                until(stage, EventKind::TrialStarted);
                away(stage, 20 * MINUTE);
            })
        },
        Row {
            within: 10 * MINUTE,
            requests: 2..=4,
            ..row(
                "the web server cannot be reached for a minute",
                slow(400_000, 5),
                |stage| {
                    until(stage, EventKind::Accepted);
                    stage.world.run_for(SECOND);
                    stage.web_host.set_black_hole(true);
                    stage.world.run_for(MINUTE);
                    stage.web_host.set_black_hole(false);
                },
            )
        },
        Row {
            within: 10 * MINUTE,
            requests: 2..=3,
            starts: 3,
            ..row(
                "reset is pressed in the download",
                slow(400_000, 5),
                |stage| {
                    until(stage, EventKind::Accepted);
                    stage.world.run_for(SECOND);
                    stage.device.press_reset();
                },
            )
        },
        Row {
            within: 10 * MINUTE,
            starts: 5,
            ..row("reset is pressed three times in the trial", GOOD, |stage| {
                until(stage, EventKind::TrialStarted);
                for _ in 0..3 {
                    stage.device.press_reset();
                    stage.world.run_for(3 * SECOND);
                }
            })
        },
    ]
}

fn act(row: &Row) -> Result<(), String> {
    let stage = Stage::set(&Plan {
        timing: Timing::W25Q,
        network: HostConfig {
            link: row.link,
            window: row.window,
            ..HostConfig::device()
        },
        ..Plan::default()
    });
    let package = stage.package("1.1.0", IMAGE_LEN, CodecChoice::Stored);
    stage.put("/app.otaria", package.bytes);
    let before = stage.op_count();
    let began = stage.world.now();
    stage.wish("app", "/app.otaria");
    (row.act)(&stage);
    let confirmed = |stage: &Stage| {
        stage.has("app", EventKind::Confirmed, None) && stage.running().as_deref() == Some("1.1.0")
    };
    let left = (began + row.within).saturating_sub(stage.world.now());
    if !stage.run_until(left, confirmed) {
        return Err(format!("not within {:?}\n{}", row.within, stage.story()));
    }
    let requests = stage
        .web
        .requests()
        .iter()
        .filter(|request| request.head.starts_with("GET"))
        .count();
    let starts = stage.device.boots().len();
    if !row.requests.contains(&requests) || starts != row.starts {
        return Err(format!(
            "{requests} requests, {starts} starts\n{}",
            stage.story()
        ));
    }
    let ops = stage.slot_ops(before);
    let erases = ERASES + MORE_ERASES * (requests - 1);
    if ops.written != IMAGE_LEN as u64 || ops.erases > erases {
        return Err(format!("{ops:?}, at most {erases} erases are due"));
    }
    stage.check("1.1.0")?;
    stage.later_update()
}

#[test]
fn a_bad_link_delays_an_update_and_no_byte_is_written_twice() {
    play(&rows(), |row| row.name, act);
}

/// A stage whose flash fails as planned from the wish on.
fn with_faults(hardware: Hardware, plan: impl FnOnce(&Stage) -> Option<FaultPlan>) -> Stage {
    let stage = Stage::set(&Plan {
        hardware,
        ..Plan::default()
    });
    let package = stage.package("1.1.0", IMAGE_LEN, CodecChoice::Stored);
    stage.put("/app.otaria", package.bytes);
    if let Some(plan) = plan(&stage) {
        stage.device.flash_mut().set_plan(plan);
    }
    stage.wish("app", "/app.otaria");
    stage
}

/// Runs until the job has ended, one way or the other, and its result is known to the broker.
fn end(stage: &Stage) -> Result<(EventKind, Option<FailureCode>), String> {
    if !stage.run_until(150 * MINUTE, |stage| stage.end_of("app").is_some()) {
        return Err(format!("no end\n{}", stage.story()));
    }
    // What follows the report: a restart, or the logs.
    stage.world.run_for(MINUTE);
    let end = stage.end_of("app").ok_or("no end")?;
    Ok((end.event, end.failure()))
}

/// What runs, and what the bootloader would start, is one of the two.
fn one_of_two_runs(stage: &Stage, confirmed: bool) -> Result<(), String> {
    let due = if confirmed { "1.1.0" } else { "1.0.0" };
    let running = stage.running();
    let verdict = stage.device.verdict().ok();
    let verdict = verdict.map(|booted| booted.image.desc.version.as_str().to_owned());
    if running.as_deref() == Some(due) && verdict.as_deref() == Some(due) {
        return Ok(());
    }
    Err(format!(
        "{running:?} runs and {verdict:?} would be started, {due} is due\n{}",
        stage.story()
    ))
}

/// Every command of an update fails once: it changes nothing, and says so or does not.
#[test]
fn every_flash_command_may_fail_once_or_be_ignored_once() {
    for rollback in [false, true] {
        let hardware = Hardware {
            rollback,
            ..Hardware::default()
        };
        let reference = with_faults(hardware, |_| None);
        let first = Stage::set(&Plan {
            hardware,
            ..Plan::default()
        })
        .op_count();
        let ended = end(&reference);
        assert_eq!(ended, Ok((EventKind::Confirmed, None)));
        let last = reference.op_count();
        let slot = reference.layout.slots[1];
        let mut rows = Vec::new();
        for op in first..last {
            for fault in [Fault::Fail, Fault::Ignore] {
                let what = reference.device.flash().log()[op as usize];
                let slot_is_not_erased = fault == Fault::Ignore
                    && what.kind.is_erase()
                    && (slot.offset..slot.offset + slot.len).contains(&what.addr);
                rows.push(Broken {
                    name: format!("{fault:?} {what}, rollback {rollback}"),
                    op,
                    fault,
                    // Each try finds another block that cannot be written, and mends it; there are three tries.
                    may_fail: slot_is_not_erased,
                });
            }
        }
        play(
            &rows,
            |row| &row.name,
            |row| {
                let faults = FaultPlan::new(1).with(row.op, row.fault);
                let stage = with_faults(hardware, |_| Some(faults));
                let confirmed = match end(&stage)? {
                    (EventKind::Confirmed, None) => true,
                    (EventKind::Failed, Some(FailureCode::FlashWrite)) if row.may_fail => false,
                    other => return Err(format!("{other:?}\n{}", stage.story())),
                };
                one_of_two_runs(&stage, confirmed)?;
                later_update_on_bad_flash(&stage)
            },
        );
    }
}

/// A command of an update that fails.
struct Broken {
    name: String,
    op: u64,
    fault: Fault,
    /// The update may fail for it; otherwise it has to be confirmed.
    may_fail: bool,
}

/// As [`Stage::later_update`], where flash has broken its own rules: an erase that is ignored leaves bits that the next write would
/// have to set.
fn later_update_on_bad_flash(stage: &Stage) -> Result<(), String> {
    match stage.later_update() {
        Err(why) if why.starts_with("flash rules broken") => Ok(()),
        other => other,
    }
}

/// A part of flash that is worn out for good, and what becomes of the update.
struct Worn {
    name: &'static str,
    /// The sector, from the start of a partition.
    sector: fn(&Stage) -> u32,
    end: (EventKind, Option<FailureCode>),
    /// Whether a smaller update can still succeed.
    later: bool,
}

fn sector(region: Region, number: u32) -> u32 {
    region.offset + number * 4096
}

#[test]
fn worn_out_flash_is_reported_and_the_old_image_runs_on() {
    let rows = [
        Worn {
            name: "a sector of the slot that a smaller image does not need",
            sector: |stage| sector(stage.layout.slots[1], 20),
            end: (EventKind::Failed, Some(FailureCode::FlashWrite)),
            later: true,
        },
        Worn {
            name: "a sector of the slot that the image does not need",
            sector: |stage| sector(stage.layout.slots[1], 100),
            end: (EventKind::Confirmed, None),
            later: true,
        },
        Worn {
            name: "the first sector of the slot",
            sector: |stage| sector(stage.layout.slots[1], 0),
            end: (EventKind::Failed, Some(FailureCode::FlashWrite)),
            later: false,
        },
        Worn {
            name: "the sector of otadata that is to be written",
            sector: |stage| sector(stage.layout.otadata, 1),
            end: (EventKind::Failed, Some(FailureCode::OtadataWrite)),
            later: false,
        },
        Worn {
            name: "the header's and table's sector",
            sector: |stage| sector(stage.layout.journal, 8),
            end: (EventKind::Failed, Some(FailureCode::FlashWrite)),
            later: false,
        },
        Worn {
            name: "the first sector of the log",
            sector: |stage| sector(stage.layout.log, 0),
            end: (EventKind::Confirmed, None),
            later: true,
        },
        Worn {
            name: "a sector of the journal that is to be used next",
            sector: |stage| sector(stage.layout.journal, 1),
            end: (EventKind::Confirmed, None),
            later: true,
        },
        Worn {
            name: "the other half of the journal",
            sector: |stage| sector(stage.layout.journal, 4),
            end: (EventKind::Confirmed, None),
            later: true,
        },
    ];
    play(
        &rows,
        |row| row.name,
        |row| {
            let stage = with_faults(Hardware::default(), |stage| {
                let sector = (row.sector)(stage);
                stage.device.flash_mut().wear_out(sector);
                None
            });
            let ended = end(&stage)?;
            if ended != row.end {
                return Err(format!("{ended:?}\n{}", stage.story()));
            }
            one_of_two_runs(&stage, ended.0 == EventKind::Confirmed)?;
            let slot = stage.layout.slots[1];
            let running =
                stage.device.flash().log().iter().any(|op| {
                    op.kind != OpKind::Write && op.addr < slot.offset && op.addr >= 0x1_0000
                });
            if running {
                return Err("the running slot was erased".to_owned());
            }
            if row.later {
                later_update_on_bad_flash(&stage)?;
            }
            Ok(())
        },
    );
}
