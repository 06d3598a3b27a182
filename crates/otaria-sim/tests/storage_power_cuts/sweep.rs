//! Runs a scenario once to count its flash commands, then once for every command and kind of cut, then with a second cut.

use std::cell::RefCell;
use std::env;
use std::fmt::{self, Display};
use std::ops::AddAssign;

use otaria_sim::flash::{Cut, FaultPlan, Op, SimFlash};

/// Something that a device does over several boots, and what has to be true meanwhile.
pub(crate) trait Scenario {
    /// What the world outside of the device knows: what was acknowledged, which boot this is.
    type World: Clone;

    /// A device before anything happens.
    fn start(&self) -> (SimFlash, Self::World);

    /// Goes on until all is done (true), or until the power goes. Called again after a cut.
    fn run(&self, flash: &RefCell<SimFlash>, world: &mut Self::World) -> bool;

    /// Called after each cut, with the power back on.
    fn check_after_cut(&self, flash: &RefCell<SimFlash>, world: &mut Self::World);

    /// Called when `run` has come to its end after so many cuts.
    fn check_at_end(&self, flash: &SimFlash, world: &Self::World, cuts: u32);
}

/// Seeds for each first cut, and how many second cuts there are at most.
struct Extent {
    seeds: u64,
    second_cuts: usize,
}

impl Extent {
    fn from_env() -> Self {
        match env::var("OTARIA_SWEEP").as_deref() {
            Ok("exhaustive") => Extent {
                seeds: 6,
                second_cuts: usize::MAX,
            },
            _ => Extent {
                seeds: 2,
                second_cuts: 600,
            },
        }
    }
}

/// Names the cuts of a run that panics.
struct Context<'a> {
    name: &'a str,
    cuts: Vec<(Op, Cut, u64)>,
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}:", self.name);
            for (op, cut, seed) in &self.cuts {
                eprintln!("  {cut:?} at {op}, seed {seed}");
            }
        }
    }
}

/// A device in the middle of a scenario.
struct Device<'a, S: Scenario> {
    scenario: &'a S,
    flash: SimFlash,
    world: S::World,
}

impl<S: Scenario> Clone for Device<'_, S> {
    fn clone(&self) -> Self {
        Device {
            flash: self.flash.clone(),
            world: self.world.clone(),
            ..*self
        }
    }
}

impl<'a, S: Scenario> Device<'a, S> {
    fn start(scenario: &'a S) -> Self {
        let (flash, world) = scenario.start();
        Device {
            scenario,
            flash: flash.with_log(),
            world,
        }
    }

    /// Runs to the end, and returns the commands that it took.
    fn finish(mut self, cuts: u32) -> Vec<Op> {
        let from = self.flash.log().len();
        assert!(self.run(), "the scenario does not come to its end");
        self.scenario.check_at_end(&self.flash, &self.world, cuts);
        self.flash.log()[from..].to_vec()
    }

    /// Runs into a cut at `op`, and stands there with the power back on.
    fn cut(mut self, op: Op, cut: Cut, seed: u64) -> Self {
        self.flash.set_plan(FaultPlan::cut(op.index, cut, seed));
        assert!(!self.run(), "the scenario has not met the cut");
        self.flash.power_on();
        self.check_after_cut();
        self
    }

    fn run(&mut self) -> bool {
        let flash = RefCell::new(self.flash.clone());
        let done = self.scenario.run(&flash, &mut self.world);
        self.flash = flash.into_inner();
        assert!(
            self.flash.violations().is_empty(),
            "{:?}",
            self.flash.violations()
        );
        assert_eq!(
            self.flash.stats().rewritten_words,
            0,
            "a word was written twice"
        );
        assert_eq!(
            self.flash.stats().unaligned_reads,
            0,
            "a read was not aligned"
        );
        assert_eq!(done, self.flash.powered());
        done
    }

    fn check_after_cut(&mut self) {
        let flash = RefCell::new(self.flash.clone());
        self.scenario.check_after_cut(&flash, &mut self.world);
    }
}

fn cuts_of(op: Op) -> impl Iterator<Item = Cut> {
    Cut::ALL
        .into_iter()
        .filter(move |cut| cut.applies_to(op.kind))
}

/// How much a sweep did.
#[derive(Default)]
pub(crate) struct Count {
    commands: usize,
    first_cuts: usize,
    second_cuts: usize,
    all_second_cuts: usize,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.commands += other.commands;
        self.first_cuts += other.first_cuts;
        self.second_cuts += other.second_cuts;
        self.all_second_cuts += other.all_second_cuts;
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count {
            commands,
            first_cuts,
            second_cuts,
            all_second_cuts,
        } = self;
        write!(
            f,
            "{commands} commands, {first_cuts} cuts, {second_cuts} of {all_second_cuts} second cuts"
        )
    }
}

/// Cuts the power everywhere.
pub(crate) fn sweep(name: &str, scenario: &impl Scenario) -> Count {
    let extent = Extent::from_env();
    let whole = Device::start(scenario).finish(0);
    let mut first_cuts = 0;
    let mut recoveries = Vec::new();
    for op in &whole {
        for cut in cuts_of(*op) {
            for seed in 0..extent.seeds {
                let context = Context {
                    name,
                    cuts: vec![(*op, cut, seed)],
                };
                let device = Device::start(scenario).cut(*op, cut, seed);
                let recovery = device.clone().finish(1);
                first_cuts += 1;
                // A second seed would only repeat the second cuts of the first one.
                if seed == 0 {
                    recoveries.push((context.cuts[0], device, recovery));
                }
            }
        }
    }
    let all: usize = recoveries
        .iter()
        .flat_map(|(_, _, ops)| ops)
        .map(|op| cuts_of(*op).count())
        .sum();
    // Odd, so that it does not meet the same kind of cut every time.
    let stride = (all / extent.second_cuts.max(1)) | 1;
    let mut n = 0;
    let mut second_cuts = 0;
    for (first, device, recovery) in &recoveries {
        for op in recovery {
            for cut in cuts_of(*op) {
                n += 1;
                if n % stride == 0 {
                    let seed = n as u64;
                    let _context = Context {
                        name,
                        cuts: vec![*first, (*op, cut, seed)],
                    };
                    device.clone().cut(*op, cut, seed).finish(2);
                    second_cuts += 1;
                }
            }
        }
    }
    Count {
        commands: whole.len(),
        first_cuts,
        second_cuts,
        all_second_cuts: all,
    }
}
