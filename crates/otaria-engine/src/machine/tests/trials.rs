//! The trial, its end, and what follows from an inconclusive one.

use otaria_wire::messages::{Desired, FailureCode, Phase};

use super::bench::{Bench, job, wish};
use crate::machine::{Action, BootFacts, BootRole, Event, Health};
use crate::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Answers everything that the engine asks: the host's answer and the application's.
fn answer(bench: &mut Bench, http: bool, health: Health) {
    while let Some(action) = bench.next() {
        match action {
            Action::Probe => bench.tell(Event::Probed(http)),
            Action::CheckHealth => bench.tell(Event::Health(health)),
            other => panic!("{other:?}"),
        }
    }
}

/// Lets the trial run until the engine wants something else than answers; says what, and when.
fn run(bench: &mut Bench, http: bool, health: Health) -> (Action, Duration) {
    for _ in 0..10_000 {
        while let Some(action) = bench.next() {
            match action {
                Action::Probe => bench.tell(Event::Probed(http)),
                Action::CheckHealth => bench.tell(Event::Health(health)),
                other => return (other, Duration::from_micros(bench.now.as_micros())),
            }
        }
        bench.wait();
    }
    panic!("the trial does not end");
}

#[test]
fn an_image_is_confirmed_when_link_broker_host_and_application_are_well_at_once() {
    let mut bench = Bench::soaked();
    assert_eq!(bench.engine.status().phase, Phase::Trial);
    bench.answer_health(Health::Healthy);
    bench.expect_nothing();
    bench.tell(Event::Link(true));
    bench.expect(Action::Probe);
    bench.tell(Event::Mqtt(true));
    bench.expect_nothing();
    bench.tell(Event::Probed(true));
    let report = bench.confirmed_report();
    bench.expect_nothing();
    bench.tell(Event::Confirmed(Ok(())));
    bench.expect_events(&["trial_started", "confirmed"]);
    assert_eq!(*bench.last(), report);
    assert_eq!(bench.engine.status().phase, Phase::Idle);
    // The wish that led here is done with.
    bench.wish(&wish("trial"));
    bench.tell(Event::Delivered);
    bench.expect_nothing();
}

#[test]
fn however_well_it_is_an_image_runs_for_a_while_before_it_is_confirmed() {
    let mut bench = Bench::on_trial();
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    answer(&mut bench, true, Health::Healthy);
    let (action, after) = run(&mut bench, true, Health::Healthy);
    assert!(matches!(action, Action::Confirm(_)), "{action:?}");
    assert_eq!(after, Duration::from_secs(10));
}

#[test]
fn one_missing_condition_keeps_an_image_from_being_confirmed() {
    for missing in 0..4 {
        let mut bench = Bench::on_trial();
        bench.tell(Event::Link(missing != 0));
        bench.tell(Event::Mqtt(missing != 1));
        let (http, health) = (
            missing != 2,
            if missing == 3 {
                Health::Unknown
            } else {
                Health::Healthy
            },
        );
        let (action, after) = run(&mut bench, http, health);
        let (code, limit) = match missing {
            0 => (FailureCode::TrialNoNetwork, 15 * MINUTE),
            1 | 2 => (FailureCode::TrialNoNetwork, 5 * MINUTE),
            _ => (FailureCode::TrialTimeout, 5 * MINUTE),
        };
        assert_eq!(action, Action::RollBack(code), "missing {missing}");
        assert_eq!(after, limit, "missing {missing}");
    }
}

#[test]
fn the_five_minutes_begin_with_the_network_and_the_fifteen_with_the_boot() {
    let mut bench = Bench::on_trial();
    answer(&mut bench, true, Health::Unknown);
    bench.pass(4 * MINUTE);
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    let (action, after) = run(&mut bench, true, Health::Unknown);
    assert_eq!(
        (action, after),
        (Action::RollBack(FailureCode::TrialTimeout), 9 * MINUTE)
    );

    let mut bench = Bench::on_trial();
    answer(&mut bench, true, Health::Unknown);
    bench.pass(13 * MINUTE);
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    let (_, after) = run(&mut bench, true, Health::Unknown);
    assert_eq!(after, 15 * MINUTE);
}

#[test]
fn an_application_that_says_it_is_unwell_ends_the_trial_at_once() {
    let mut bench = Bench::on_trial();
    bench.answer_health(Health::Unhealthy);
    bench.expect(Action::RollBack(FailureCode::HealthCheckFailed));
    bench.expect_nothing();
    bench.tell(Event::RolledBack);
    bench.expect(Action::Reboot);
}

#[test]
fn a_network_that_worked_once_does_not_excuse_a_silent_application() {
    let mut bench = Bench::on_trial();
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    answer(&mut bench, true, Health::Unknown);
    bench.tell(Event::Mqtt(false));
    bench.tell(Event::Link(false));
    let (action, _) = run(&mut bench, false, Health::Unknown);
    assert_eq!(action, Action::RollBack(FailureCode::TrialTimeout));
}

#[test]
fn a_network_that_goes_while_all_else_is_well_condemns_no_image() {
    for gone in [Event::Mqtt(false), Event::Link(false)] {
        let mut bench = Bench::on_trial();
        bench.tell(Event::Link(true));
        bench.tell(Event::Mqtt(true));
        answer(&mut bench, true, Health::Healthy);
        bench.tell(gone);
        let (action, _) = run(&mut bench, false, Health::Healthy);
        assert_eq!(action, Action::RollBack(FailureCode::TrialNoNetwork));
    }
}

#[test]
fn the_host_is_asked_again_after_a_while_and_not_once_it_has_answered() {
    let mut bench = Bench::on_trial();
    bench.answer_health(Health::Unknown);
    bench.tell(Event::Link(true));
    bench.expect(Action::Probe);
    bench.tell(Event::Probed(false));
    bench.expect_nothing();
    bench.pass(10 * SECOND);
    bench.answer_health(Health::Unknown);
    bench.expect(Action::Probe);
    bench.tell(Event::Probed(true));
    bench.pass(10 * SECOND);
    bench.answer_health(Health::Unknown);
    bench.expect_nothing();
}

#[test]
fn a_cancellation_rolls_a_trial_back() {
    let mut bench = Bench::on_trial();
    bench.next();
    bench.tell(Event::Cancel);
    bench.expect(Action::RollBack(FailureCode::Cancelled));
}

#[test]
fn a_newer_wish_waits_until_the_trial_is_over() {
    let mut bench = Bench::soaked();
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    bench.wish(&wish("newer"));
    answer(&mut bench, false, Health::Unknown);
    bench.pass(10 * SECOND);
    bench.answer_health(Health::Healthy);
    bench.expect(Action::Probe);
    bench.tell(Event::Probed(true));
    bench.confirmed_report();
    bench.tell(Event::Confirmed(Ok(())));
    bench.expect_nothing();
    bench.tell(Event::Delivered);
    bench.expect(Action::Fetch);
    assert_eq!(bench.engine.job().unwrap().job.as_deref(), Some("newer"));
}

#[test]
fn a_withdrawn_wish_does_not_end_a_trial() {
    let mut bench = Bench::soaked();
    bench.withdraw();
    bench.answer_health(Health::Healthy);
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    bench.expect(Action::Probe);
    bench.tell(Event::Probed(true));
    bench.confirmed_report();
}

#[test]
fn a_confirmation_that_cannot_be_written_is_tried_again_within_the_trial() {
    let mut bench = Bench::soaked();
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    bench.answer_health(Health::Healthy);
    bench.expect(Action::Probe);
    bench.tell(Event::Probed(true));
    bench.confirmed_report();
    bench.tell(Event::Confirmed(Err(FailureCode::FlashWrite)));
    bench.expect_nothing();
    assert_eq!(bench.engine.status().phase, Phase::Trial);
    bench.wait();
    bench.answer_health(Health::Healthy);
    bench.confirmed_report();
    bench.tell(Event::Confirmed(Ok(())));
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "confirmed");
}

#[test]
fn an_inconclusive_trial_starts_again_once_broker_and_host_answer_the_old_image() {
    let mut bench = Bench::inconclusive();
    bench.expect_events(&["retrying trial_no_network"]);
    bench.tell(Event::Link(true));
    bench.expect_nothing();
    bench.tell(Event::Mqtt(true));
    bench.wish(&wish("trial"));
    bench.expect_nothing();
    assert_eq!(bench.wait(), 3 * SECOND);
    bench.expect(Action::Probe);
    bench.tell(Event::Probed(false));
    bench.wait();
    bench.expect(Action::Probe);
    bench.tell(Event::Probed(true));
    bench.expect(Action::Reactivate);
    bench.tell(Event::Reactivated(Ok(())));
    bench.next();
    bench.tell(Event::Flushed);
    bench.expect(Action::Reboot);
    bench.expect_events(&["retrying trial_no_network", "activated"]);
}

#[test]
fn an_inconclusive_trial_gives_way_to_a_newer_wish_a_withdrawal_and_a_cancellation() {
    let mut bench = Bench::inconclusive();
    bench.tell(Event::Link(true));
    bench.wish(&wish("newer"));
    bench.expect(Action::Close(None));
    bench.tell(Event::Closed);
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "superseded superseded");
    bench.tell(Event::Delivered);
    bench.expect(Action::Fetch);

    let mut bench = Bench::inconclusive();
    bench.withdraw();
    bench.expect(Action::Close(None));
    bench.tell(Event::Closed);
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "cancelled cancelled");

    let mut bench = Bench::inconclusive();
    bench.wish(&wish("trial"));
    bench.tell(Event::Cancel);
    bench.expect(Action::Close(Some(FailureCode::Cancelled)));
    bench.tell(Event::Closed);
    bench.tell(Event::Delivered);
    bench.tell(Event::Link(true));
    bench.wish(&wish("trial"));
    bench.expect_nothing();

    let mut bench = Bench::inconclusive();
    bench.tell(Event::UnixTime(2_000));
    bench.wish(&Desired {
        deadline: Some(1_000),
        ..wish("trial")
    });
    bench.expect(Action::Close(None));
    bench.tell(Event::Closed);
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "failed deadline_passed");
}

#[test]
fn an_image_that_was_lost_while_it_waited_is_fetched_again() {
    let mut bench = Bench::inconclusive();
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    bench.wish(&wish("trial"));
    bench.next();
    bench.wait();
    bench.expect(Action::Probe);
    bench.tell(Event::Probed(true));
    bench.expect(Action::Reactivate);
    bench.tell(Event::Reactivated(Err(FailureCode::TrialImageLost)));
    bench.expect(Action::Close(None));
    bench.tell(Event::Closed);
    bench.expect(Action::Fetch);
}

#[test]
fn a_rolled_back_job_is_not_begun_again_by_the_stored_wish_of_this_boot() {
    let mut bench = Bench::boot(BootFacts {
        role: BootRole::Plain,
        ended: Some(job("trial")),
        unacknowledged: true,
        ..BootFacts::default()
    });
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    bench.wish(&wish("trial"));
    bench.tell(Event::Delivered);
    bench.expect_nothing();
}

#[test]
fn a_host_that_stays_away_is_asked_ever_more_rarely_until_the_broker_comes_back() {
    let mut bench = Bench::inconclusive();
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    bench.wish(&wish("trial"));
    bench.next();
    bench.wait();
    for failures in 1..=8 {
        bench.expect(Action::Probe);
        bench.tell(Event::Probed(false));
        let full = Duration::from_secs(1 << failures).min(Duration::from_secs(300));
        let waited = bench.wait();
        assert!(
            waited >= full / 2 && waited <= full,
            "{failures}: {waited:?}"
        );
    }
    bench.expect(Action::Probe);
    bench.tell(Event::Probed(false));
    bench.expect_nothing();
    bench.pass(Duration::from_secs(3_000));
    bench.expect_nothing();
    bench.tell(Event::Mqtt(false));
    bench.tell(Event::Mqtt(true));
    assert_eq!(bench.wait(), 3 * SECOND);
    bench.expect(Action::Probe);
}
