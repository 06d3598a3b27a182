//! Power cuts: `kill -9` of QEMU at 30 seeded moments of an update, and a new QEMU on the same flash file.

use std::time::{Duration, Instant};

use fastrand::Rng;
use otaria_wire::messages::EventKind;

use crate::lab::{Lab, Web};

const MOMENTS: u32 = 30;
const SEED: u64 = 20_261_124;

/// How long an update takes here and now: from the wish to the confirmation.
fn measure(lab: &Lab) -> Duration {
    let mut device = lab.device("uncut", false);
    device.power_on();
    device.runs_confirmed(0, "1.0.0");
    let start = Instant::now();
    lab.publish(&device, "b");
    assert_eq!(device.ends(), (EventKind::Confirmed, None));
    start.elapsed()
}

/// One moment in each thirtieth of an update. `half`: the even ones or the odd ones.
fn killed(half: u32) {
    let Some(lab) = Lab::open(Web::Nginx, &["b"]) else {
        return;
    };
    let whole = measure(&lab);
    let mut rng = Rng::with_seed(SEED);
    for moment in 0..MOMENTS {
        let at = whole.mul_f64((f64::from(moment) + rng.f64()) / f64::from(MOMENTS));
        if moment % 2 == half {
            println!("moment {moment} of seed {SEED}: {at:?} of {whole:?}");
            kill_at(&lab, moment, at);
        }
    }
}

fn kill_at(lab: &Lab, moment: u32, at: Duration) {
    // Each second one with a bootloader that does rollback.
    let mut device = lab.device(&format!("kill-{moment}"), moment / 2 % 2 == 1);
    device.power_on();
    device.runs_confirmed(0, "1.0.0");
    lab.publish(&device, "b");
    std::thread::sleep(at);
    let before = device.power_off();
    let heard = device.ear.count();
    device.power_on();
    device.says("loader: Slot(");
    device.runs_confirmed(heard, "1.1.0");
    let after = device.power_off();
    assert_eq!(
        complaints(&before) + complaints(&after),
        0,
        "{before:#?}\n{after:#?}"
    );
}

/// Images that the loader did not take. A cut may leave a half-written one, but never a selected one.
fn complaints(console: &[String]) -> usize {
    let refused = |line: &&String| line.starts_with("loader:") && line.contains("refused");
    console.iter().filter(refused).count()
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_board_that_loses_its_power_boots_and_reaches_the_release_at_even_moments() {
    killed(0);
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_board_that_loses_its_power_boots_and_reaches_the_release_at_odd_moments() {
    killed(1);
}
