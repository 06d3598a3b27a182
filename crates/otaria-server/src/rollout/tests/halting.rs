//! When a rollout stops by itself, with the numbers that docs/ROLLOUTS.md gives.

use super::*;
use crate::model::HaltRule;
use crate::rollout::halt::{Test, reason};

/// Good enough to draw samples, and the same in every run.
struct Random(u64);

impl Random {
    fn share(&mut self) -> f64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How many of `rollouts` the test stops, and after how many devices, if each try fails with this probability.
fn stopped(devices: usize, failing: f64, rollouts: usize) -> (usize, usize) {
    let test = Test::new(&HaltRule::default(), 0.01, devices, 1);
    let mut random = Random(0x0074_6172_6961 + devices as u64);
    let (mut count, mut needed) = (0, 0);
    for _ in 0..rollouts {
        let draws: Vec<bool> = (0..devices).map(|_| random.share() < failing).collect();
        if test.stops(draws.iter().copied()) {
            count += 1;
            let first = (1..=devices).find(|n| test.stops(draws[..*n].iter().copied()));
            needed += first.unwrap_or(devices);
        }
    }
    (count, needed / count.max(1))
}

#[test]
fn good_releases_are_hardly_ever_stopped_and_bad_ones_early_in_small_fleets_and_large() {
    println!("devices  good stopped  30 % bad stopped (after)  10 % bad stopped (after)");
    for (devices, rollouts) in [(10, 2000), (100, 1000), (1000, 200), (10_000, 20)] {
        let (good, _) = stopped(devices, 0.01, rollouts);
        let (bad, bad_after) = stopped(devices, 0.3, rollouts);
        let (worse, worse_after) = stopped(devices, 0.1, rollouts);
        let percent = |count: usize| count as f64 * 100.0 / rollouts as f64;
        println!(
            "{devices:>7}  {:>10.1} %  {:>12.1} % ({bad_after:>4})  {:>12.1} % ({worse_after:>4})",
            percent(good),
            percent(bad),
            percent(worse)
        );
        assert!(
            percent(good) <= 5.0,
            "{devices}: {good} of {rollouts} good ones stopped"
        );
        if devices >= 100 {
            assert!(
                percent(bad) >= 99.0 && bad_after < 50,
                "{devices}: {bad} {bad_after}"
            );
        }
        if devices >= 1000 {
            assert!(
                percent(worse) >= 99.0 && worse_after < 350,
                "{devices}: {worse} {worse_after}"
            );
        }
    }
}

#[test]
fn so_many_failures_in_a_row_stop_a_rollout() {
    for (devices, sums, needed) in [
        (10, 1, 3),
        (100, 1, 4),
        (1000, 1, 5),
        (1000, 3, 5),
        (10_000, 1, 6),
    ] {
        let test = Test::new(&HaltRule::default(), 0.01, devices, sums);
        let first = (1..).find(|n| test.stops(std::iter::repeat_n(true, *n)));
        assert_eq!(first, Some(needed), "{devices} devices, {sums} sums");
    }
}

#[test]
fn a_long_good_past_does_not_hide_a_defect_that_begins_late() {
    let test = Test::new(&HaltRule::default(), 0.01, 10_000, 1);
    let late = std::iter::repeat_n(false, 9_000).chain(std::iter::repeat_n(true, 6));
    assert!(test.stops(late));
}

fn outcome(stratum: &str, failed: Option<&str>) -> Outcome {
    Outcome {
        stratum: stratum.to_owned(),
        failed: failed.map(str::to_owned),
    }
}

#[test]
fn a_defect_of_one_hardware_revision_is_seen_as_such() {
    let mut outcomes = Vec::new();
    for n in 0..30 {
        outcomes.push(outcome("esp32c3 revision 0.4", None));
        if n % 5 == 0 {
            outcomes.push(outcome("esp32c3 revision 1.1", Some("trial_crashed")));
        }
    }
    let reason = reason(&HaltRule::default(), 0.01, 1000, &outcomes).unwrap();
    assert!(
        reason.starts_with("6 of 6 updates failed (trial_crashed 6x) with esp32c3 revision 1.1; of all others 0 of 30"),
        "{reason}"
    );
}

#[test]
fn counts_and_shares_are_limits_of_their_own() {
    let rule = HaltRule {
        failures: Some(2),
        test: false,
        ..HaltRule::default()
    };
    let bad = outcome("x", Some("refused"));
    let good = outcome("x", None);
    assert!(reason(&rule, 0.01, 10, std::slice::from_ref(&bad)).is_none());
    assert!(reason(&rule, 0.01, 10, &[bad.clone(), bad.clone()]).is_some());
    let rule = HaltRule {
        percent: Some(20.0),
        after: 5,
        test: false,
        ..HaltRule::default()
    };
    let one_of = |n: usize| [vec![bad.clone()], vec![good.clone(); n - 1]].concat();
    assert!(
        reason(&rule, 0.01, 10, &one_of(4)).is_none(),
        "too few have ended"
    );
    assert!(reason(&rule, 0.01, 10, &one_of(5)).is_some());
    assert!(reason(&rule, 0.01, 10, &one_of(6)).is_none());
}

#[test]
fn a_halt_comes_in_the_wave_in_which_devices_fail() {
    let mut lab = Lab::new(&[20, 200], |spec| spec.halt.test = true);
    let offered = lab.step(1);
    for device in &offered {
        match device % 3 {
            0 => lab.fails(*device, "trial_crashed"),
            _ => lab.says(*device, Status::Succeeded),
        }
    }
    lab.step(1);
    assert_eq!(
        (lab.course.state, lab.course.wave),
        (RolloutState::Halted, 0)
    );
    let reason = lab.course.reason.clone().unwrap();
    assert!(
        reason.contains("7 of 20 updates failed (trial_crashed 7x)"),
        "{reason}"
    );

    // Whoever goes on has seen these failures; new ones halt it again.
    lab.act(RolloutAction::Resume).unwrap();
    let offered = lab.step(1);
    assert_eq!(offered.len(), 100);
    for device in offered.iter().take(10) {
        lab.fails(*device, "trial_crashed");
    }
    lab.step(1);
    assert_eq!(lab.course.state, RolloutState::Halted);
    assert!(lab.course.reason.clone().unwrap().contains("10 of 10"));
}
