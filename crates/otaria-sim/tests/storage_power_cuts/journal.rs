//! The journal: each record is the one acknowledged last, or the one that was being written, and stays what it was read as.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;

use otaria_device::storage::journal::{Journal, Origin};
use otaria_device::storage::region::Region;
use otaria_sim::flash::{Fault, FaultPlan, SECTOR_LEN, SimFlash};
use otaria_wire::journal::{Boot, Download, Progress, Quarantine, Record};
use otaria_wire::{Sha256Digest, clip};

use crate::sweep::{Scenario, sweep};

/// Appends and removes of small and large records, until the halves have changed places a few times.
struct Records {
    sectors: u32,
    steps: u32,
    /// Large records that are held at the same time.
    large: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Download(u16, Box<Download>),
    Quarantine(u16, Quarantine),
    Progress(Progress),
    Boot(Boot),
    ForgetQuarantine(u16),
}

/// What one place of the journal holds, as text: enough to compare.
type Places = BTreeMap<&'static str, Option<String>>;

#[derive(Clone, Default)]
struct World {
    /// Steps acknowledged.
    done: u32,
    /// What the journal holds, as acknowledged or as read after a cut.
    held: Places,
}

const QUARANTINE: [&str; 3] = ["q0", "q1", "q2"];
const DOWNLOAD: [&str; 7] = ["d0", "d1", "d2", "d3", "d4", "d5", "d6"];

fn step(n: u32, large: u32) -> Step {
    let byte = n as u8;
    match n % 7 {
        0 => Step::Boot(Boot { count: n }),
        1 => Step::Progress(Progress {
            identity8: [byte; 8],
            blocks_held: n as u16,
            erased_to: n * 4096,
            erasing_to: n * 8192,
            slot: byte % 3,
        }),
        2 | 5 => Step::Quarantine(
            (n % 3) as u16,
            Quarantine {
                identity: Sha256Digest([byte; 32]),
                job_hash8: [byte; 8],
                code: 600,
                order: n,
            },
        ),
        6 if n.is_multiple_of(2) => Step::ForgetQuarantine((n / 2 % 3) as u16),
        _ => Step::Download(
            (n / 7 % large) as u16,
            Box::new(Download {
                identity: Sha256Digest([byte; 32]),
                job: clip(&format!("job {n:060}")),
                url: clip(&format!(
                    "http://host/{}",
                    "x".repeat(360 + n as usize * 53 % 120)
                )),
                etag: clip(&"e".repeat(64)),
                ..Download::default()
            }),
        ),
    }
}

impl Step {
    /// Where it goes, and what is there afterwards.
    fn effect(&self) -> (&'static str, Option<String>) {
        match self {
            Step::Boot(record) => ("boot", Some(format!("{record:?}"))),
            Step::Progress(record) => ("progress", Some(format!("{record:?}"))),
            Step::Download(key, record) => (DOWNLOAD[*key as usize], Some(format!("{record:?}"))),
            Step::Quarantine(key, record) => {
                (QUARANTINE[*key as usize], Some(format!("{record:?}")))
            }
            Step::ForgetQuarantine(key) => (QUARANTINE[*key as usize], None),
        }
    }
}

impl Records {
    fn mount<'a>(&self, flash: &'a RefCell<SimFlash>) -> Option<Journal<Region<'a, SimFlash>>> {
        let region = Region::new(flash, 0, self.sectors * SECTOR_LEN).unwrap();
        Journal::mount(region).ok()
    }

    fn read(&self, flash: &RefCell<SimFlash>) -> Places {
        let mut journal = self.mount(flash).expect("the power is on");
        let mut places = Places::new();
        places.insert("boot", show::<Boot>(&mut journal, 0));
        places.insert("progress", show::<Progress>(&mut journal, 0));
        for (key, place) in DOWNLOAD.into_iter().enumerate() {
            places.insert(place, show::<Download>(&mut journal, key as u16));
        }
        for (key, place) in QUARANTINE.into_iter().enumerate() {
            places.insert(place, show::<Quarantine>(&mut journal, key as u16));
        }
        places
    }
}

fn show<T: Record + Debug>(
    journal: &mut Journal<Region<'_, SimFlash>>,
    key: u16,
) -> Option<String> {
    journal
        .latest::<T>(key)
        .unwrap()
        .map(|record| format!("{record:?}"))
}

impl Scenario for Records {
    type World = World;

    fn start(&self) -> (SimFlash, World) {
        let places = ["boot", "progress"]
            .into_iter()
            .chain(DOWNLOAD)
            .chain(QUARANTINE);
        let held = places.map(|place| (place, None)).collect();
        (
            SimFlash::new(self.sectors * SECTOR_LEN),
            World { done: 0, held },
        )
    }

    fn run(&self, flash: &RefCell<SimFlash>, world: &mut World) -> bool {
        let Some(mut journal) = self.mount(flash) else {
            return false;
        };
        while world.done < self.steps {
            let step = step(world.done, self.large);
            let outcome = match &step {
                Step::Boot(record) => journal.append(0, record),
                Step::Progress(record) => journal.append(0, record),
                Step::Download(key, record) => journal.append(*key, &**record),
                Step::Quarantine(key, record) => journal.append(*key, record),
                Step::ForgetQuarantine(key) => journal.remove::<Quarantine>(*key),
            };
            if outcome.is_err() {
                return false;
            }
            let (place, value) = step.effect();
            world.held.insert(place, value);
            world.done += 1;
        }
        true
    }

    fn check_after_cut(&self, flash: &RefCell<SimFlash>, world: &mut World) {
        let lost = self.mount(flash).map(|journal| journal.origin()) == Some(Origin::Lost);
        assert!(
            !lost || world.done == 0,
            "the journal was lost after {} steps",
            world.done
        );
        let found = self.read(flash);
        let (place, value) = step(world.done, self.large).effect();
        for (name, old) in &world.held {
            // A journal that was cut while it was first made holds one record that says so.
            let new = *name == place && found[name] == value;
            let made_anew = lost && *name == "progress";
            assert!(
                found[name] == *old || new || made_anew,
                "{name}: {:?}, not {old:?}",
                found[name]
            );
        }
        for _ in 0..3 {
            assert_eq!(self.read(flash), found, "it reads differently every time");
        }
        // The device goes on from what it has read: that must not change any more.
        world.held = found;
    }

    fn check_at_end(&self, flash: &SimFlash, world: &World, cuts: u32) {
        let flash = RefCell::new(flash.clone());
        assert_eq!(self.read(&flash), world.held);
        let wear = flash.borrow().stats().sector_erases;
        let (flash, _) = self.start();
        let flash = RefCell::new(flash);
        self.run(&flash, &mut World::default());
        let once = flash.borrow().stats().sector_erases;
        assert!(
            wear <= once + 8 * u64::from(cuts),
            "{wear} erases, {once} without cuts"
        );
    }
}

#[test]
fn a_journal_of_one_sector_a_half_survives_two_cuts_anywhere() {
    let count = sweep(
        "2 sectors",
        &Records {
            sectors: 2,
            steps: 60,
            large: 2,
        },
    );
    println!("journal of 2 sectors: {count}");
}

#[test]
fn a_journal_of_two_sectors_a_half_survives_two_cuts_anywhere() {
    let count = sweep(
        "4 sectors",
        &Records {
            sectors: 4,
            steps: 80,
            large: 2,
        },
    );
    println!("journal of 4 sectors: {count}");
}

#[test]
fn a_journal_whose_latest_records_take_two_sectors_survives_two_cuts_anywhere() {
    let count = sweep(
        "6 sectors",
        &Records {
            sectors: 6,
            steps: 110,
            large: 7,
        },
    );
    println!("journal of 6 sectors: {count}");
}

#[test]
fn a_command_that_fails_or_does_nothing_is_noticed_and_the_other_half_takes_over() {
    // The power stays on. Whatever fails, an acknowledged record is there, and at the end all of them are.
    let records = Records {
        sectors: 4,
        steps: 80,
        large: 2,
    };
    let (flash, mut world) = records.start();
    let whole = RefCell::new(flash);
    assert!(records.run(&whole, &mut world));
    let commands = whole.borrow().op_count();
    for op in 0..commands {
        for fault in [Fault::Fail, Fault::Ignore] {
            let (mut flash, mut world) = records.start();
            flash.set_plan(FaultPlan::new(op).with(op, fault));
            let flash = RefCell::new(flash);
            // A mount or an append may say that it failed; then it is tried again.
            let mut tries = 0;
            while !records.run(&flash, &mut world) {
                tries += 1;
                assert!(tries < 3, "{fault:?} at command {op}");
            }
            assert_eq!(
                records.read(&flash),
                world.held,
                "{fault:?} at command {op}"
            );
            assert!(flash.borrow().violations().is_empty());
        }
    }
}

#[test]
fn with_a_worn_out_half_the_journal_goes_on_in_the_other_until_that_is_full() {
    let records = Records {
        sectors: 4,
        steps: 1,
        large: 2,
    };
    for worn in 0..4 {
        let (mut flash, _) = records.start();
        flash.wear_out(worn * SECTOR_LEN);
        let flash = RefCell::new(flash);
        let Some(mut journal) = records.mount(&flash) else {
            // The very first sector. There is no journal without it.
            assert_eq!(worn, 0);
            continue;
        };
        let mut acknowledged = None;
        for count in 0..2000 {
            if journal.append(0, &Boot { count }).is_err() {
                break;
            }
            acknowledged = Some(Boot { count });
        }
        assert!(acknowledged.is_some());
        assert_eq!(
            records.mount(&flash).unwrap().latest::<Boot>(0),
            Ok(acknowledged),
            "sector {worn}"
        );
    }
}
