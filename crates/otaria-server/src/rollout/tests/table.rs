//! What follows from what, one rule at a time.

use super::*;
use crate::model::{Bytes, Window};

#[test]
fn a_device_goes_through_its_stages_to_the_confirmation() {
    let mut lab = Lab::new(&[1], |_| {});
    assert_eq!(lab.step(1), [0]);
    for (status, activated, stage) in [
        (Status::Running, false, Stage::Working),
        (Status::Retrying, false, Stage::Working),
        (Status::Running, true, Stage::Rebooting),
        (Status::Trial, false, Stage::Trial),
        (Status::Succeeded, false, Stage::Confirmed),
    ] {
        lab.says(0, status);
        lab.seen[0].activated = activated;
        lab.step(1);
        assert_eq!(lab.stage(0), stage, "{status}");
    }
    assert_eq!(lab.course.state, RolloutState::Done);
    assert_eq!(lab.outcomes.len(), 1, "one try, and it is counted once");
}

#[test]
fn every_phase_has_its_timeout_which_is_a_failure() {
    for (status, activated, limit, why) in [
        (Status::Pending, false, 900, "no answer to the offer"),
        (Status::Running, false, 7200, "the download took too long"),
        (Status::Retrying, false, 7200, "the download took too long"),
        (Status::Running, true, 600, "vanished after the restart"),
        (Status::Trial, false, 1800, "the trial did not end"),
    ] {
        let mut lab = Lab::new(&[2], |_| {});
        lab.step(1);
        lab.says(0, status);
        lab.seen[0].activated = activated;
        lab.step(1);
        lab.says(1, Status::Succeeded);
        lab.step(limit - 2);
        assert!(lab.stage(0).is_in_flight(), "{why}: not yet");
        lab.step(4);
        assert_eq!(lab.stage(0), Stage::Failed, "{why}");
        assert_eq!(lab.members[0].why.as_deref(), Some(why));
        assert_eq!(
            lab.outcomes
                .iter()
                .filter(|one| one.failed.is_some())
                .count(),
            1
        );
    }
}

#[test]
fn a_device_that_vanishes_after_the_restart_counts_even_if_it_is_not_connected() {
    let mut lab = Lab::new(&[1], |_| {});
    lab.step(1);
    lab.says(0, Status::Running);
    lab.seen[0].activated = true;
    lab.seen[0].online = false;
    lab.step(1);
    lab.step(601);
    assert_eq!(lab.stage(0), Stage::Failed);
    // It was only slow.
    lab.says(0, Status::Succeeded);
    lab.step(1);
    assert_eq!(lab.stage(0), Stage::Confirmed, "a late success is one");
}

#[test]
fn a_device_that_failed_is_tried_again_later_and_not_too_often() {
    let mut lab = Lab::new(&[1], |spec| {
        spec.limits.retries = 2;
        spec.limits.retry_after = seconds(60);
        spec.waves[0].gate.confirmed = 0.0;
    });
    assert_eq!(lab.step(1), [0]);
    for _ in 0..2 {
        lab.fails(0, "trial_crashed");
        assert!(lab.step(1).is_empty());
        assert!(lab.step(58).is_empty(), "not yet");
        assert_eq!(lab.step(2), [0]);
    }
    lab.fails(0, "trial_crashed");
    assert!(lab.step(1).is_empty());
    assert!(lab.step(1000).is_empty());
    assert_eq!((lab.stage(0), lab.members[0].offers), (Stage::Failed, 3));
    assert_eq!(lab.outcomes.len(), 3, "every try counts for the halt rule");
    assert_eq!(lab.course.state, RolloutState::Done);

    lab.act(RolloutAction::RetryFailed).unwrap();
    assert_eq!(lab.step(1), [0], "an operator may begin anew");
}

#[test]
fn waves_come_one_after_the_other_and_the_gate_counts_confirmed_devices() {
    let mut lab = Lab::new(&[4, 8], |spec| spec.waves[0].gate.confirmed = 75.0);
    assert_eq!(lab.step(1), [0, 1, 2, 3]);
    lab.all_confirm(&[0, 1]);
    assert!(lab.step(1).is_empty(), "two of four are not three quarters");
    lab.says(2, Status::Succeeded);
    assert_eq!(lab.step(1).len(), 8, "one that is slow holds nobody up");
}

#[test]
fn a_gate_soaks_from_the_moment_in_which_it_is_reached() {
    let mut lab = Lab::new(&[2, 1], |spec| spec.waves[0].gate.soak = seconds(600));
    let offered = lab.step(1);
    lab.all_confirm(&offered);
    assert!(lab.step(1).is_empty());
    assert!(lab.step(599).is_empty());
    assert_eq!(lab.step(1), [2]);
}

#[test]
fn a_fall_back_during_the_soak_closes_the_gate_again() {
    let mut lab = Lab::new(&[2, 1], |spec| {
        spec.waves[0].gate.confirmed = 100.0;
        spec.waves[0].gate.soak = seconds(600);
    });
    let offered = lab.step(1);
    lab.all_confirm(&offered);
    lab.step(1);
    lab.seen[0].runs_expected = Some(false);
    lab.step(300);
    assert_eq!(lab.stage(0), Stage::Failed);
    assert_eq!(
        lab.members[0].why.as_deref(),
        Some("fell back after it had confirmed")
    );
    assert_eq!(
        lab.course.state,
        RolloutState::Halted,
        "100 % cannot be reached any more"
    );
    assert!(lab.step(1000).is_empty());
}

#[test]
fn a_later_fall_back_reopens_a_rollout_that_was_done() {
    let mut lab = Lab::new(&[1], |spec| {
        spec.limits.retries = 1;
        spec.limits.retry_after = seconds(60);
    });
    lab.step(1);
    lab.says(0, Status::Succeeded);
    lab.step(1);
    assert_eq!(lab.course.state, RolloutState::Done);
    lab.says(0, Status::RolledBack);
    lab.seen[0].runs_expected = Some(false);
    lab.step(3600);
    assert_eq!(lab.course.state, RolloutState::Running);
    assert_eq!(lab.step(60), [0]);
}

#[test]
fn a_device_that_somebody_gave_something_else_has_not_fallen_back() {
    let mut lab = Lab::new(&[1], |_| {});
    lab.step(1);
    lab.says(0, Status::Succeeded);
    lab.step(1);
    lab.seen[0].runs_expected = Some(false);
    lab.seen[0].is_newest = false;
    lab.step(1);
    assert_eq!(lab.stage(0), Stage::Confirmed);
}

#[test]
fn approval_is_waited_for_and_counts_for_one_wave() {
    let mut lab = Lab::new(&[1, 1, 1], |spec| {
        spec.waves[0].gate.approve = true;
        spec.waves[1].gate.approve = true;
    });
    lab.step(1);
    lab.says(0, Status::Succeeded);
    assert!(lab.step(1).is_empty());
    assert!(
        engine::waits_for(&lab.course, &lab.members, &lab.seen)
            .unwrap()
            .contains("approve")
    );
    lab.act(RolloutAction::Approve).unwrap();
    assert_eq!(lab.step(1), [1]);
    lab.says(1, Status::Succeeded);
    assert!(lab.step(1).is_empty());
    lab.act(RolloutAction::Approve).unwrap();
    assert_eq!(lab.step(1), [2]);
}

#[test]
fn a_gate_that_cannot_be_reached_any_more_halts_and_says_why() {
    let mut lab = Lab::new(&[4, 4], |spec| spec.waves[0].gate.confirmed = 75.0);
    lab.step(1);
    lab.fails(0, "trial_crashed");
    lab.step(1);
    assert_eq!(lab.course.state, RolloutState::Running);
    lab.fails(1, "trial_crashed");
    lab.step(1);
    assert_eq!(lab.course.state, RolloutState::Halted);
    let reason = lab.course.reason.clone().unwrap();
    assert!(reason.contains("2 of 4 devices failed"), "{reason}");
    assert_eq!(
        lab.stage(2),
        Stage::Waiting,
        "who had not begun the trial was called back"
    );

    lab.act(RolloutAction::Resume).unwrap();
    assert_eq!(
        lab.step(1).len(),
        6,
        "whoever goes on in spite of it goes on"
    );
}

#[test]
fn sleepers_hold_up_no_wave_and_come_when_they_wake() {
    let mut lab = Lab::new(&[4, 2], |spec| spec.waves[0].gate.confirmed = 100.0);
    lab.seen[0].online = false;
    lab.seen[1].online = false;
    assert_eq!(lab.step(1), [2, 3]);
    lab.all_confirm(&[2, 3]);
    assert_eq!(lab.step(1), [4, 5]);
    lab.all_confirm(&[4, 5]);
    lab.step(30 * 24 * 3600);
    assert_eq!(lab.stage(0), Stage::Waiting, "it has failed at nothing");
    assert_eq!(lab.course.state, RolloutState::Running);
    lab.seen[0].online = true;
    assert_eq!(lab.step(1), [0]);
}

#[test]
fn a_wave_of_which_nobody_is_awake_says_nothing_and_opens_nothing() {
    let mut lab = Lab::new(&[2, 2], |spec| spec.waves[0].gate.confirmed = 0.0);
    lab.seen[0].online = false;
    lab.seen[1].online = false;
    assert!(lab.step(1).is_empty());
    assert!(lab.step(100_000).is_empty());
    assert!(
        engine::waits_for(&lab.course, &lab.members, &lab.seen)
            .unwrap()
            .contains("wakes up")
    );
}

#[test]
fn a_device_that_falls_asleep_over_an_offer_is_called_back_and_has_not_failed() {
    let mut lab = Lab::new(&[2], |spec| spec.limits.concurrent = 1);
    assert_eq!(lab.step(1), [0]);
    lab.seen[0].online = false;
    assert!(lab.step(1).is_empty());
    assert_eq!(lab.step(901), [1], "its place goes to another");
    assert_eq!((lab.stage(0), lab.members[0].failures), (Stage::Waiting, 0));
    assert!(lab.outcomes.is_empty());
}

#[test]
fn the_time_for_an_answer_begins_when_the_device_wakes() {
    let mut lab = Lab::new(&[1], |_| {});
    lab.step(1);
    lab.seen[0].online = false;
    lab.step(600);
    lab.seen[0].online = true;
    lab.step(200);
    lab.step(800);
    assert_eq!(lab.stage(0), Stage::Offered);
    lab.step(200);
    assert_eq!(lab.stage(0), Stage::Failed);
}

#[test]
fn a_device_that_runs_the_image_already_is_done_without_an_offer() {
    let mut lab = Lab::new(&[2], |_| {});
    lab.seen[1].runs_expected = Some(true);
    assert_eq!(lab.step(1), [0]);
    assert_eq!(lab.stage(1), Stage::Confirmed);
    assert!(lab.outcomes.is_empty(), "it says nothing about the release");
}

#[test]
fn a_device_that_somebody_else_decided_about_leaves() {
    for status in [Status::Superseded, Status::Cancelling, Status::Cancelled] {
        let mut lab = Lab::new(&[2, 1], |_| {});
        lab.step(1);
        lab.says(0, status);
        lab.says(1, Status::Succeeded);
        assert_eq!(
            lab.step(1),
            [2],
            "{status}: it is neither waited for nor counted"
        );
        assert_eq!(lab.stage(0), Stage::Left);
    }
}

#[test]
fn no_more_than_allowed_update_at_once() {
    let mut lab = Lab::new(&[10], |spec| spec.limits.concurrent = 3);
    assert_eq!(lab.step(1), [0, 1, 2]);
    assert!(lab.step(1).is_empty());
    lab.says(1, Status::Succeeded);
    assert_eq!(lab.step(1), [3]);
}

#[test]
fn offers_keep_to_the_bandwidth() {
    let mut lab = Lab::new(&[100], |spec| {
        spec.limits.concurrent = 1000;
        spec.limits.bytes_per_second = Some(Bytes(2000));
    });
    let mut offered = 0;
    for _ in 0..20 {
        offered += lab.step(1).len();
    }
    // A package is 1000 bytes: two a second, and what may run ahead.
    assert!((40..=44).contains(&offered), "{offered}");
    lab.step(1000);
    assert!(
        lab.step(1).len() <= 4,
        "a rate that was not used is not saved up"
    );
}

#[test]
fn a_window_is_kept_by_each_devices_clock() {
    let mut lab = Lab::new(&[2], |spec| {
        spec.window = Some(Window {
            from: "01:00".parse().unwrap(),
            to: "05:00".parse().unwrap(),
            days: Vec::new(),
            tz: "UTC".to_owned(),
        });
    });
    lab.seen[1].tz = Some("+06:00".to_owned());
    // 2026-11-28, midnight in UTC, six in the morning at +06:00.
    lab.now_ms = 1_795_824_000_000;
    assert!(lab.step(0).is_empty());
    assert_eq!(lab.step(3600), [0]);
    assert_eq!(lab.step(18 * 3600), [1]);
}

#[test]
fn a_pause_calls_back_offers_and_lets_finish_who_has_begun() {
    let mut lab = Lab::new(&[3], |spec| spec.limits.concurrent = 2);
    lab.step(1);
    lab.says(0, Status::Running);
    lab.step(1);
    lab.act(RolloutAction::Pause).unwrap();
    assert_eq!(
        (lab.stage(0), lab.stage(1)),
        (Stage::Working, Stage::Waiting)
    );
    lab.says(0, Status::Succeeded);
    assert!(lab.step(1).is_empty());
    assert_eq!(lab.stage(0), Stage::Confirmed);
    lab.act(RolloutAction::Resume).unwrap();
    assert_eq!(lab.step(1), [1, 2]);
    assert_eq!(lab.members[1].offers, 2, "under a job of its own");
}

#[test]
fn a_cancelled_rollout_does_nothing_ever_again() {
    let mut lab = Lab::new(&[3], |_| {});
    lab.step(1);
    lab.says(0, Status::Trial);
    lab.step(1);
    lab.act(RolloutAction::Cancel).unwrap();
    assert_eq!(lab.count(|stage| stage == Stage::Left), 3);
    assert!(lab.step(1000).is_empty());
    for action in [
        RolloutAction::Pause,
        RolloutAction::Resume,
        RolloutAction::Approve,
        RolloutAction::Cancel,
        RolloutAction::RetryFailed,
    ] {
        assert!(lab.act(action).is_err(), "{action:?}");
    }
}

#[test]
fn what_a_device_runs_has_the_last_word_over_what_was_heard_of_the_try() {
    for status in [Status::Running, Status::Failed, Status::RolledBack] {
        let mut lab = Lab::new(&[1], |_| {});
        lab.step(1);
        lab.says(0, status);
        lab.seen[0].runs_expected = Some(true);
        lab.step(1);
        assert_eq!(lab.stage(0), Stage::Confirmed, "{status:?}");
        assert_eq!(lab.members[0].failures, 0, "{status:?}");
    }
}
