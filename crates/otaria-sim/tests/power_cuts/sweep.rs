//! Tells each story once, then once for every cut, then with a second cut while the device recovers from the first.

use std::env;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use otaria_sim::flash::Cut;

use crate::invariants::{Invariant, Violation};
use crate::lab::{Setup, Start};
use crate::scenarios::Scenario;
use crate::story::{Told, beginning, tell};

/// Failing cases that are shown; the rest is only counted.
const SHOWN: usize = 6;

/// From one seed of a command to its next.
const SEED_STEP: u64 = 1 << 16;

/// How much is swept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Cuts that tear are made with so many seeds each.
    pub(crate) seeds: u64,
    /// One in so many first cuts (those of the first seed) is followed by second ones; 0: none ...
    pub(crate) first_one_in: u64,
    /// ... at all of the first so many commands after it ...
    pub(crate) second_all: usize,
    /// ... and at one in so many of those behind.
    pub(crate) second_one_in: u64,
    /// After one in so many second cuts a later update is made, too. After a first cut it always is.
    pub(crate) later_one_in: u64,
}

impl Extent {
    /// Every cut, and every second cut behind it.
    pub(crate) const EXHAUSTIVE: Extent = Extent {
        seeds: 4,
        first_one_in: 1,
        second_all: usize::MAX,
        second_one_in: 1,
        later_one_in: 16,
    };

    /// Every cut, and every second cut at the beginning of the recovery: for stories of several trials, one after the other.
    const LONG_STORY: Extent = Extent {
        second_all: 24,
        second_one_in: 8,
        ..Extent::EXHAUSTIVE
    };

    /// Every cut, and a few second cuts.
    pub(crate) const SHORT: Extent = Extent {
        seeds: 1,
        first_one_in: 8,
        second_all: 0,
        second_one_in: 32,
        later_one_in: 4,
    };

    /// Every cut.
    pub(crate) const SINGLE: Extent = Extent {
        first_one_in: 0,
        ..Extent::SHORT
    };

    /// What `OTARIA_SWEEP` asks for.
    pub(crate) fn from_env(scenario: &Scenario) -> Extent {
        match env::var("OTARIA_SWEEP").as_deref() {
            Ok("exhaustive") if scenario.trials() > 2 => Extent::LONG_STORY,
            Ok("exhaustive") => Extent::EXHAUSTIVE,
            Ok("single") => Extent::SINGLE,
            Ok("short") | Err(_) => Extent::SHORT,
            Ok(other) => panic!("OTARIA_SWEEP={other}: short, single or exhaustive"),
        }
    }
}

/// A cut at a flash command, counted from the latest power on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CutAt {
    pub(crate) moment: usize,
    pub(crate) cut: Cut,
    pub(crate) seed: u64,
}

impl fmt::Display for CutAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}:{}", self.moment, self.cut, self.seed)
    }
}

impl FromStr for CutAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [moment, cut, seed] = parts[..] else {
            return Err(format!("{text}: not command:cut:seed"));
        };
        let cut = Cut::ALL
            .into_iter()
            .find(|known| format!("{known:?}") == cut)
            .ok_or_else(|| format!("{cut}: no kind of cut"))?;
        Ok(CutAt {
            moment: moment.parse().map_err(|_| format!("{moment}: no number"))?,
            cut,
            seed: seed.parse().map_err(|_| format!("{seed}: no number"))?,
        })
    }
}

/// What was done to a device: enough to do it again. `scenario/bootloader/first cut/second cut`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) scenario: String,
    pub(crate) rollback: bool,
    pub(crate) cuts: Vec<CutAt>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.scenario, bootloader(self.rollback))?;
        self.cuts.iter().try_for_each(|cut| write!(f, "/{cut}"))
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let scenario = parts.next().unwrap_or_default().to_owned();
        let rollback = match parts.next() {
            Some("rollback") => true,
            Some("stock") => false,
            other => return Err(format!("{other:?}: neither stock nor rollback")),
        };
        let cuts = parts.map(str::parse).collect::<Result<_, _>>()?;
        Ok(Case {
            scenario,
            rollback,
            cuts,
        })
    }
}

pub(crate) fn bootloader(rollback: bool) -> &'static str {
    if rollback { "rollback" } else { "stock" }
}

/// What a sweep did and found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) commands: usize,
    /// Single cuts, and how many of them left something that no other one had left.
    pub(crate) cuts: usize,
    pub(crate) told: usize,
    /// Second cuts that were made, and all that there are.
    pub(crate) second_told: usize,
    pub(crate) all_second_cuts: usize,
    pub(crate) failures: Vec<(Case, Vec<Violation>)>,
    pub(crate) seconds: f64,
}

impl Report {
    fn add(&mut self, other: Report) {
        self.cuts += other.cuts;
        self.told += other.told;
        self.second_told += other.second_told;
        self.all_second_cuts += other.all_second_cuts;
        self.failures.extend(other.failures);
    }

    /// The first case that has broken this.
    pub(crate) fn broken(&self, invariant: Invariant) -> Option<(&Case, &Violation)> {
        let mut failures = self.failures.iter();
        failures.find_map(|(case, violations)| {
            let violation = violations
                .iter()
                .find(|violation| violation.invariant == invariant);
            violation.map(|violation| (case, violation))
        })
    }

    /// Panics if something was found, and says how to see it again.
    pub(crate) fn expect_clean(&self) {
        if self.failures.is_empty() {
            return;
        }
        let mut words = String::new();
        for (case, violations) in self.failures.iter().take(SHOWN) {
            words += &format!("\n  OTARIA_CASE={case}");
            for violation in violations {
                words += &format!("\n      {violation}");
            }
        }
        panic!("{} cases failed, among them:{words}", self.failures.len());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            commands,
            cuts,
            told,
            second_told,
            all_second_cuts,
            seconds,
            ..
        } = self;
        write!(
            f,
            "{commands:3} commands: {cuts:4} cuts, {told:4} of them differ; {second_told:6} of {all_second_cuts:6} second cuts; {seconds:.1} s"
        )
    }
}

/// Sweeps a story. Stops early if `enough` says so.
pub(crate) fn sweep(
    setup: Setup,
    extent: Extent,
    enough: impl Fn(&Report) -> bool + Sync,
) -> Report {
    let began = Instant::now();
    let start = beginning(setup);
    let case = |cuts: &[CutAt]| Case {
        scenario: setup.scenario.name.to_owned(),
        rollback: setup.rollback,
        cuts: cuts.to_vec(),
    };
    let whole = attempt(setup, &start, true);
    let report = Mutex::new(Report::default());
    let next = AtomicUsize::new(0);
    let mut commands = 0;
    match whole {
        Err(violations) => {
            let failure = (case(&[]), violations);
            report.lock().unwrap().failures.push(failure);
        }
        Ok(whole) => {
            commands = whole.end;
            if whole.life.verdict.is_broken() {
                let failure = (case(&[]), whole.life.verdict.violations().to_vec());
                report.lock().unwrap().failures.push(failure);
            }
            let cuts = Cuts::of(&whole, extent.seeds);
            report.lock().unwrap().cuts = cuts.made;
            let work = || loop {
                if enough(&report.lock().unwrap()) {
                    break;
                }
                let Some(first) = cuts.all.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    break;
                };
                let done = first_cut(setup, extent, &whole, &start, *first, &case);
                report.lock().unwrap().add(done);
            };
            let threads = thread::available_parallelism().map_or(1, usize::from);
            thread::scope(|scope| {
                for _ in 1..threads {
                    scope.spawn(work);
                }
                work();
            });
        }
    }
    let mut report = report.into_inner().unwrap();
    report.commands = commands;
    report.seconds = began.elapsed().as_secs_f64();
    report
}

/// A first cut, and second ones behind it.
fn first_cut(
    setup: Setup,
    extent: Extent,
    whole: &Told,
    start: &Start,
    first: CutAt,
    case: &dyn Fn(&[CutAt]) -> Case,
) -> Report {
    let mut report = Report {
        told: 1,
        ..Report::default()
    };
    let after_first = whole.fork(setup, start, first);
    let recovery = match attempt(setup, &after_first, true) {
        Ok(recovery) => recovery,
        Err(violations) => {
            report.failures.push((case(&[first]), violations));
            return report;
        }
    };
    if recovery.life.verdict.is_broken() {
        let violations = recovery.life.verdict.violations().to_vec();
        report.failures.push((case(&[first]), violations));
        return report;
    }
    let cuts = Cuts::of(&recovery, 1);
    if first.seed >= SEED_STEP {
        // It would only repeat the second cuts of the first seed.
        return report;
    }
    report.all_second_cuts = cuts.made;
    let mut draw = fastrand::Rng::with_seed(1 + first.moment as u64);
    let mut one_in = |n: u64| n == 1 || (n > 1 && draw.u64(..n) == 0);
    if !one_in(extent.first_one_in) {
        return report;
    }
    for second in cuts.all {
        if second.moment >= extent.second_all && !one_in(extent.second_one_in) {
            continue;
        }
        report.second_told += 1;
        let later = one_in(extent.later_one_in);
        let after_second = recovery.fork(setup, &after_first, second);
        let violations = match attempt(setup, &after_second, later) {
            Ok(told) => told.life.verdict.violations().to_vec(),
            Err(violations) => violations,
        };
        if !violations.is_empty() {
            report.failures.push((case(&[first, second]), violations));
        }
    }
    report
}

/// Tells a story; a panic in it is a violation.
fn attempt(setup: Setup, start: &Start, later: bool) -> Result<Told, Vec<Violation>> {
    catch_unwind(AssertUnwindSafe(|| tell(setup, start, later))).map_err(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic");
        vec![Violation {
            invariant: Invariant::NoPanicNoViolation,
            what: what.to_owned(),
        }]
    })
}

/// The cuts that can be made in a story that was told.
struct Cuts {
    /// Those that leave something that no other one leaves.
    all: Vec<CutAt>,
    made: usize,
}

impl Cuts {
    fn of(told: &Told, seeds: u64) -> Cuts {
        let mut all = Vec::new();
        let mut made = 0;
        for moment in 0..told.end {
            let op = told.life.flash.op_at(moment);
            // Flash is the same after a command as before the next one. If the world outside has not moved on in between, so is
            // all that is left when the power has gone.
            let marks = &told.life.marks;
            let same = moment > 0 && marks[moment] == marks[moment - 1];
            for cut in Cut::ALL.into_iter().filter(|cut| cut.applies_to(op.kind)) {
                let torn = !matches!(cut, Cut::Before | Cut::After);
                for n in 0..if torn { seeds } else { 1 } {
                    made += 1;
                    if cut != Cut::Before || !same {
                        let seed = if torn {
                            moment as u64 + n * SEED_STEP
                        } else {
                            0
                        };
                        all.push(CutAt { moment, cut, seed });
                    }
                }
            }
        }
        Cuts { all, made }
    }
}

/// Tells one case again, and shows all of it.
pub(crate) fn replay(setup: Setup, case: &Case) {
    let mut start = beginning(setup);
    let mut cuts = case.cuts.iter();
    loop {
        let told = match attempt(setup, &start, true) {
            Ok(told) => told,
            Err(violations) => panic!("{violations:#?}"),
        };
        show(&told);
        let Some(cut) = cuts.next() else {
            let violations = told.life.verdict.violations();
            assert!(violations.is_empty(), "{case}: {violations:#?}");
            return;
        };
        println!("--- {cut} ---");
        start = told.fork(setup, &start, *cut);
    }
}

fn show(told: &Told) {
    let life = &told.life;
    for start in &life.starts {
        println!("start: {start}");
    }
    for (number, event) in &life.events {
        println!("message {number}: {event:?}");
    }
    for moment in 0..life.flash.moments() {
        let end = if moment == told.end {
            "  <- at rest before"
        } else {
            ""
        };
        println!("{moment:4} {}{end}", life.flash.op_at(moment));
    }
}
