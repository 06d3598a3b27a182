//! From a wish to the restart.

use otaria_wire::Sha256Digest;
use otaria_wire::messages::{Desired, FailureCode, Phase};

use super::bench::{Bench, IDENTITY, TOTAL, fails, wish};
use crate::machine::{Action, BootFacts, Event, FAILURE_TEXT_LEN, Failure};
use crate::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_wish_becomes_an_activated_image_and_a_restart() {
    let mut bench = Bench::online();
    bench.expect_nothing();
    bench.wish(&wish("a"));
    bench.expect(Action::Fetch);
    assert_eq!(bench.engine.status().phase, Phase::Checking);
    bench.admit(0);
    assert_eq!(bench.engine.status().phase, Phase::Downloading);
    bench.tell(Event::Progress(TOTAL / 2));
    assert_eq!(
        (bench.engine.status().done, bench.engine.status().total),
        (TOTAL / 2, TOTAL)
    );
    bench.expect_nothing();
    bench.tell(Event::Fetched(Ok(())));
    bench.expect(Action::Verify);
    assert_eq!(bench.engine.status().phase, Phase::Verifying);
    bench.tell(Event::Verified(Ok(())));
    bench.expect(Action::Activate);
    assert_eq!(bench.engine.status().phase, Phase::Activating);
    bench.tell(Event::Activated(Ok(())));
    bench.expect_nothing();
    assert_eq!(bench.engine.status().phase, Phase::Rebooting);
    bench.tell(Event::Flushed);
    bench.expect(Action::Reboot);
    bench.expect_nothing();
    bench.expect_events(&["accepted", "downloaded", "verified", "activated"]);
    assert!(
        bench
            .reports
            .iter()
            .all(|report| report.job.as_deref() == Some("a"))
    );
}

#[test]
fn a_job_without_a_name_is_named_by_its_package() {
    let mut bench = Bench::online();
    let bare = Desired {
        url: "http://h/x".try_into().unwrap(),
        ..Desired::default()
    };
    bench.wish(&bare);
    bench.expect(Action::Fetch);
    assert_eq!(bench.engine.status().job, None);
    bench.admit(0);
    bench.next();
    assert_eq!(
        bench.last().job.as_deref(),
        Some(IDENTITY.to_hex().as_str())
    );
}

#[test]
fn a_restart_waits_for_the_last_reports_but_not_for_ever() {
    let mut bench = Bench::verifying();
    bench.tell(Event::Verified(Ok(())));
    bench.expect(Action::Activate);
    bench.tell(Event::Activated(Ok(())));
    bench.expect_nothing();
    assert_eq!(bench.wait(), Duration::from_secs(5));
    bench.expect(Action::Reboot);
}

#[test]
fn without_a_broker_a_restart_waits_for_nobody() {
    let mut bench = Bench::verifying();
    bench.tell(Event::Mqtt(false));
    bench.tell(Event::Verified(Ok(())));
    bench.expect(Action::Activate);
    bench.tell(Event::Activated(Ok(())));
    bench.expect(Action::Reboot);
}

#[test]
fn an_image_that_runs_already_is_not_fetched() {
    let image = Sha256Digest([9; 32]);
    let mut bench = Bench::boot(BootFacts {
        running_image: Some(image),
        ..BootFacts::default()
    });
    bench.tell(Event::Link(true));
    bench.wish(&Desired {
        image_sha256: Some(image),
        ..wish("a")
    });
    bench.expect_events(&["already_running"]);
    bench.expect_nothing();
}

#[test]
fn a_package_whose_image_runs_already_ends_the_job_without_wearing_the_journal() {
    let mut bench = Bench::online();
    bench.wish(&wish("a"));
    bench.expect(Action::Fetch);
    bench.tell(Event::AlreadyRunning);
    bench.expect_events(&["already_running"]);
    assert!(!bench.last().is_kept());
    // The broker brings the stored wish again with every connection.
    bench.wish(&wish("a"));
    bench.expect_nothing();
}

#[test]
fn a_refusal_ends_the_job_and_is_kept_until_it_is_acknowledged() {
    let mut bench = Bench::online();
    bench.wish(&wish("a"));
    bench.expect(Action::Fetch);
    bench.tell(fails(FailureCode::WrongProduct));
    bench.expect_events(&["refused wrong_product"]);
    assert!(bench.last().is_kept());
    assert_eq!(bench.last().quarantine, None);
    // The next job waits for the acknowledgement.
    bench.wish(&wish("b"));
    bench.expect_nothing();
    bench.tell(Event::Delivered);
    bench.expect_next_job();
}

#[test]
fn a_package_that_can_never_work_is_kept_away_from_its_job() {
    let mut bench = Bench::verifying();
    bench.tell(Event::Verified(Err(FailureCode::ImageMalformed.into())));
    bench.next();
    assert_eq!(bench.last().code, Some(FailureCode::ImageMalformed));
    assert_eq!(bench.last().quarantine, Some(IDENTITY));
}

#[test]
fn what_is_said_about_a_failure_is_reported_as_far_as_it_fits() {
    let mut bench = Bench::online();
    bench.wish(&wish("a"));
    bench.expect(Action::Fetch);
    let long = "\u{e4}".repeat(FAILURE_TEXT_LEN);
    for (text, reported) in [("no route", "no route"), (&long, &long[..FAILURE_TEXT_LEN])] {
        bench.tell(Event::Fetched(Err(Failure {
            text,
            ..FailureCode::Connect.into()
        })));
        bench.next();
        assert_eq!(bench.last().text, reported);
        bench.wait();
        bench.expect(Action::Fetch);
    }
    // What was said of one failure is not said of the next.
    bench.tell(fails(FailureCode::WrongProduct));
    bench.next();
    assert_eq!(bench.last().text, "");
}

#[test]
fn a_server_that_asks_for_time_is_left_alone_for_so_long() {
    let mut bench = Bench::online();
    bench.wish(&wish("a"));
    bench.expect(Action::Fetch);
    let busy = Failure {
        retry_after: Some(Duration::from_secs(30)),
        ..FailureCode::HttpStatus.into()
    };
    bench.tell(Event::Fetched(Err(busy)));
    bench.expect_nothing();
    let waited = bench.wait();
    assert!((Duration::from_secs(30)..=Duration::from_secs(33)).contains(&waited));
    assert_eq!(bench.last().retry_in, Some(waited));
    bench.expect(Action::Fetch);
}

#[test]
fn a_failure_that_may_pass_is_tried_again_ever_more_slowly_and_then_hourly() {
    let mut bench = Bench::online();
    bench.wish(&wish("a"));
    for failures in 1..=8 {
        bench.expect(Action::Fetch);
        bench.tell(fails(FailureCode::Connect));
        bench.expect_nothing();
        assert_eq!(bench.last().code, Some(FailureCode::Connect));
        let waited = bench.wait();
        let full = Duration::from_secs(1 << failures).min(Duration::from_secs(300));
        assert!(
            waited >= full / 2 && waited <= full,
            "{failures}: {waited:?}"
        );
        assert_eq!(bench.last().retry_in, Some(waited));
    }
    for hour in 0..50 {
        bench.expect(Action::Fetch);
        bench.tell(fails(FailureCode::Connect));
        bench.expect_nothing();
        let code = if hour == 0 {
            FailureCode::RetriesExhausted
        } else {
            FailureCode::Connect
        };
        assert_eq!(bench.last().code, Some(code));
        let waited = bench.wait();
        assert!(
            waited >= Duration::from_secs(3_240) && waited <= Duration::from_secs(3_960),
            "{waited:?}"
        );
    }
}

#[test]
fn progress_makes_the_next_wait_short_again() {
    let mut bench = Bench::online();
    bench.wish(&wish("a"));
    let mut held = 0;
    for _ in 0..40 {
        bench.expect(Action::Fetch);
        bench.admit(held);
        held += 1_000;
        bench.tell(Event::Progress(held));
        bench.tell(fails(FailureCode::EarlyClose));
        bench.expect_nothing();
        assert!(bench.wait() <= 2 * SECOND);
    }
}

#[test]
fn a_file_that_keeps_changing_is_given_up() {
    let mut bench = Bench::online();
    bench.wish(&wish("a"));
    for _ in 0..4 {
        bench.expect(Action::Fetch);
        bench.admit(0);
        bench.tell(Event::Progress(50_000));
        bench.tell(fails(FailureCode::ContentChanged));
        bench.next();
        if bench.engine.poll_at(bench.now).is_some() {
            bench.wait();
        }
    }
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "failed content_changed");
}

#[test]
fn an_image_that_does_not_read_back_is_fetched_once_more_and_then_given_up() {
    let mut bench = Bench::verifying();
    bench.tell(Event::Verified(Err(FailureCode::ImageHash.into())));
    bench.expect_nothing();
    bench.wait();
    bench.expect(Action::Fetch);
    bench.admit(0);
    bench.tell(Event::Progress(TOTAL));
    bench.tell(Event::Fetched(Ok(())));
    bench.expect(Action::Verify);
    bench.tell(Event::Verified(Err(FailureCode::ImageHash.into())));
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "failed image_hash");
}

#[test]
fn a_download_that_goes_on_says_so() {
    let mut bench = Bench::online();
    bench.wish(&wish("a"));
    bench.expect(Action::Fetch);
    bench.admit(40_000);
    bench.expect_events(&["resumed"]);
    bench.tell(fails(FailureCode::EarlyClose));
    bench.next();
    bench.wait();
    bench.expect(Action::Fetch);
    bench.admit(60_000);
    bench.expect_events(&["resumed", "retrying early_close", "resumed"]);
}

#[test]
fn without_a_link_nothing_is_fetched_and_its_return_starts_it() {
    let mut bench = Bench::online();
    bench.tell(Event::Link(false));
    bench.wish(&wish("a"));
    bench.expect_nothing();
    assert_eq!(bench.engine.poll_at(bench.now), None);
    bench.tell(Event::Link(true));
    bench.expect(Action::Fetch);
}

#[test]
fn a_lost_link_does_not_use_up_the_time_to_the_next_try() {
    let mut bench = Bench::downloading();
    bench.tell(Event::Link(false));
    bench.tell(fails(FailureCode::NoNetwork));
    bench.expect_nothing();
    bench.expect_nothing();
    bench.tell(Event::Link(true));
    bench.expect_nothing();
    let waited = bench.wait();
    assert!(waited >= SECOND && waited <= 2 * SECOND, "{waited:?}");
    bench.expect(Action::Fetch);
}

#[test]
fn a_link_that_returns_brings_no_device_back_at_once() {
    for code in [FailureCode::NoNetwork, FailureCode::Connect] {
        let mut bench = Bench::downloading();
        for _ in 0..7 {
            bench.tell(fails(FailureCode::Connect));
            bench.wait();
            bench.expect(Action::Fetch);
        }
        bench.tell(Event::Link(false));
        bench.tell(fails(code));
        bench.expect_nothing();
        bench.pass(Duration::from_secs(3_000));
        bench.expect_nothing();
        bench.tell(Event::Link(true));
        bench.expect_nothing();
        let waited = bench.wait();
        assert!(
            waited >= SECOND && waited <= 2 * SECOND,
            "{code}: {waited:?}"
        );
        bench.expect(Action::Fetch);
    }
}

#[test]
fn a_failure_for_want_of_a_link_that_is_up_waits_as_any_other() {
    let mut bench = Bench::online();
    bench.wish(&wish("a"));
    for failures in 1..=8 {
        bench.expect(Action::Fetch);
        bench.tell(fails(FailureCode::NoNetwork));
        bench.expect_nothing();
        let full = Duration::from_secs(1 << failures).min(Duration::from_secs(300));
        let waited = bench.wait();
        assert!(
            waited >= full / 2 && waited <= full,
            "{failures}: {waited:?}"
        );
    }
}

#[test]
fn a_wish_for_later_waits_for_its_time_and_says_so_once() {
    let mut bench = Bench::online();
    bench.tell(Event::UnixTime(1_000));
    let later = Desired {
        not_before: Some(1_600),
        ..wish("a")
    };
    bench.wish(&later);
    bench.expect_nothing();
    bench.expect_nothing();
    bench.expect_events(&["retrying not_yet"]);
    assert_eq!(bench.last().retry_in, Some(Duration::from_secs(600)));
    assert_eq!(bench.wait(), Duration::from_secs(600));
    bench.expect(Action::Fetch);
}

#[test]
fn a_wish_for_later_waits_for_the_clock_if_nobody_knows_the_time() {
    let mut bench = Bench::online();
    bench.wish(&Desired {
        not_before: Some(1_600),
        ..wish("a")
    });
    bench.expect_events(&["retrying time_unknown"]);
    for _ in 0..5 {
        bench.wait();
        bench.expect_nothing();
    }
    bench.tell(Event::UnixTime(2_000));
    bench.expect(Action::Fetch);
    bench.expect_events(&["retrying time_unknown"]);
}

#[test]
fn a_wish_is_not_begun_after_its_deadline() {
    let mut bench = Bench::online();
    bench.tell(Event::UnixTime(2_000));
    bench.wish(&Desired {
        deadline: Some(1_999),
        ..wish("a")
    });
    bench.expect_events(&["failed deadline_passed"]);
    bench.expect_nothing();
}

#[test]
fn a_deadline_that_passes_between_two_tries_ends_the_job_on_time() {
    let mut bench = Bench::online();
    bench.tell(Event::UnixTime(1_000));
    bench.wish(&Desired {
        deadline: Some(1_010),
        ..wish("a")
    });
    let mut tries = 0;
    while let Some(action) = bench.next() {
        assert_eq!(action, Action::Fetch);
        tries += 1;
        bench.tell(fails(FailureCode::Dns));
        bench.next();
        if bench.engine.poll_at(bench.now).is_none() {
            break;
        }
        bench.wait();
    }
    assert!(tries >= 2);
    assert_eq!(bench.events().last().unwrap(), "failed deadline_passed");
    assert!(bench.now.as_secs() <= 11, "{}", bench.now);
}

#[test]
fn a_deadline_means_nothing_to_a_device_without_a_clock() {
    let mut bench = Bench::online();
    bench.wish(&Desired {
        deadline: Some(1),
        ..wish("a")
    });
    bench.expect(Action::Fetch);
}

#[test]
fn a_fetch_that_shows_no_sign_of_life_is_stopped_and_tried_again() {
    let mut bench = Bench::downloading();
    bench.pass(50 * SECOND);
    bench.tell(Event::Progress(1_000));
    bench.expect_nothing();
    assert_eq!(bench.wait(), 60 * SECOND);
    bench.expect(Action::Stop);
    bench.expect_nothing();
    bench.tell(Event::Stopped);
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "retrying stalled");
    bench.wait();
    bench.expect(Action::Fetch);
}

#[test]
fn a_fetch_that_completes_while_it_is_stopped_for_slowness_counts() {
    let mut bench = Bench::downloading();
    bench.wait();
    bench.expect(Action::Stop);
    bench.tell(Event::Fetched(Ok(())));
    bench.expect(Action::Verify);
}

#[test]
fn a_cancellation_ends_the_job_wherever_it_is() {
    // While it waits for its time.
    let mut bench = Bench::online();
    bench.tell(Event::UnixTime(1_000));
    bench.wish(&Desired {
        not_before: Some(9_000),
        ..wish("a")
    });
    bench.tell(Event::Cancel);
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "cancelled cancelled");
    // In a fetch.
    let mut bench = Bench::downloading();
    bench.tell(Event::Cancel);
    bench.expect(Action::Stop);
    bench.tell(Event::Stopped);
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "cancelled cancelled");
    assert_eq!(
        bench.last().quarantine,
        Some(IDENTITY),
        "the stored wish must not start it again after a restart"
    );
    // Between two tries.
    let mut bench = Bench::downloading();
    bench.tell(fails(FailureCode::Connect));
    bench.tell(Event::Cancel);
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "cancelled cancelled");
    // In the verification.
    let mut bench = Bench::verifying();
    bench.tell(Event::Cancel);
    bench.expect(Action::Stop);
    bench.tell(Event::Verified(Ok(())));
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "cancelled cancelled");
    // The wish is done with.
    bench.tell(Event::Delivered);
    bench.wish(&wish("a"));
    bench.expect_nothing();
}

#[test]
fn a_cancellation_during_the_activation_takes_the_selected_slot_back() {
    let mut bench = Bench::verifying();
    bench.tell(Event::Verified(Ok(())));
    bench.expect(Action::Activate);
    bench.tell(Event::Cancel);
    bench.expect_nothing();
    bench.tell(Event::Activated(Ok(())));
    bench.expect(Action::RollBack(FailureCode::Cancelled));
    bench.tell(Event::RolledBack);
    bench.tell(Event::Flushed);
    bench.expect(Action::Reboot);
}

#[test]
fn an_activation_that_fails_is_tried_again_from_the_start_of_the_download() {
    let mut bench = Bench::verifying();
    bench.tell(Event::Verified(Ok(())));
    bench.expect(Action::Activate);
    bench.tell(Event::Activated(Err(FailureCode::OtadataWrite.into())));
    bench.expect_nothing();
    bench.wait();
    bench.expect(Action::Fetch);
}

#[test]
fn a_newer_job_stops_the_old_one_and_starts_when_that_is_acknowledged() {
    let mut bench = Bench::downloading();
    bench.wish(&wish("b"));
    bench.expect(Action::Stop);
    bench.tell(Event::Stopped);
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "superseded superseded");
    assert_eq!(bench.last().job.as_deref(), Some("a"));
    bench.tell(Event::Delivered);
    bench.expect_next_job();
    assert_eq!(bench.engine.job().unwrap().job.as_deref(), Some("b"));
}

#[test]
fn the_same_job_from_another_place_starts_afresh_without_a_result() {
    let mut bench = Bench::downloading();
    bench.next();
    let before = bench.reports.len();
    bench.wish(&Desired {
        url: "http://mirror/a".try_into().unwrap(),
        ..wish("a")
    });
    bench.expect(Action::Stop);
    bench.tell(Event::Stopped);
    bench.expect_next_job();
    assert_eq!(bench.reports.len(), before);
    assert_eq!(bench.engine.job().unwrap().url, "http://mirror/a");
}

#[test]
fn a_withdrawn_wish_cancels_the_download_and_may_come_back() {
    let mut bench = Bench::downloading();
    bench.withdraw();
    bench.expect(Action::Stop);
    bench.tell(Event::Stopped);
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "cancelled cancelled");
    assert_eq!(bench.last().quarantine, None);
    bench.tell(Event::Delivered);
    bench.fresh_wish(&wish("a"));
    bench.expect_next_job();
}

#[test]
fn a_wish_that_is_published_again_is_looked_at_again_and_a_stored_one_is_not() {
    let mut bench = Bench::online();
    bench.wish(&wish("a"));
    bench.expect(Action::Fetch);
    bench.tell(Event::AlreadyRunning);
    bench.wish(&wish("a"));
    bench.expect_nothing();
    // The file behind the address may be another one by now.
    bench.fresh_wish(&wish("a"));
    bench.expect_next_job();
}

#[test]
fn a_wish_that_is_published_again_does_not_wait_for_the_next_try() {
    let mut bench = Bench::downloading();
    bench.tell(fails(FailureCode::HttpStatus));
    bench.expect_nothing();
    bench.fresh_wish(&wish("a"));
    bench.expect(Action::Fetch);
}

#[test]
fn a_job_that_ended_before_the_restart_is_not_begun_by_the_stored_wish() {
    let mut bench = Bench::boot(BootFacts {
        ended: Some(super::bench::job("a")),
        ..BootFacts::default()
    });
    bench.tell(Event::Link(true));
    bench.wish(&wish("a"));
    bench.expect_nothing();
    bench.wish(&wish("b"));
    bench.expect(Action::Fetch);
}

#[test]
fn a_download_from_before_the_restart_goes_on_when_the_broker_had_its_say() {
    let resume = || BootFacts {
        resume: Some(wish("a")),
        ..BootFacts::default()
    };
    // It confirms the wish.
    let mut bench = Bench::boot(resume());
    bench.tell(Event::Link(true));
    bench.expect_nothing();
    bench.tell(Event::Mqtt(true));
    bench.expect_nothing();
    bench.wish(&wish("a"));
    bench.expect(Action::Fetch);
    // It says nothing.
    let mut bench = Bench::boot(resume());
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    assert_eq!(bench.wait(), Duration::from_secs(3));
    bench.expect(Action::Fetch);
    // It cannot be reached.
    let mut bench = Bench::boot(resume());
    bench.tell(Event::Link(true));
    assert_eq!(bench.wait(), Duration::from_secs(60));
    bench.expect(Action::Fetch);
    // It says that nothing is wanted.
    let mut bench = Bench::boot(resume());
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    bench.withdraw();
    bench.expect_nothing();
    assert_eq!(bench.engine.poll_at(bench.now), None);
    // It wants something else.
    let mut bench = Bench::boot(resume());
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    bench.wish(&wish("b"));
    bench.expect(Action::Fetch);
    assert_eq!(bench.engine.job().unwrap().job.as_deref(), Some("b"));
}

#[test]
fn a_result_from_before_the_restart_is_acknowledged_before_anything_new() {
    let mut bench = Bench::boot(BootFacts {
        unacknowledged: true,
        ..BootFacts::default()
    });
    bench.tell(Event::Link(true));
    bench.tell(Event::Mqtt(true));
    bench.wish(&wish("a"));
    bench.expect_nothing();
    bench.tell(Event::Delivered);
    bench.expect(Action::Fetch);
}

#[test]
fn wishes_without_pause_are_begun_at_a_pace_that_flash_can_bear() {
    let mut bench = Bench::online();
    let mut fetches = 0;
    for n in 0..1_000_u32 {
        bench.fresh_wish(&wish(["a", "b", "c"][n as usize % 3]));
        while let Some(action) = bench.next() {
            assert_eq!(action, Action::Fetch);
            fetches += 1;
            bench.tell(fails(FailureCode::WrongProduct));
            bench.next();
            bench.tell(Event::Delivered);
        }
        bench.pass(Duration::from_millis(10));
    }
    assert!((4..=6).contains(&fetches), "{fetches} jobs in ten seconds");
}

#[test]
fn a_bad_message_is_refused_and_disturbs_nothing() {
    let mut bench = Bench::downloading();
    bench.tell(Event::Refused(FailureCode::MessageMalformed));
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "refused message_malformed");
    assert!(!bench.last().is_kept());
    bench.tell(Event::Fetched(Ok(())));
    bench.expect(Action::Verify);
}

#[test]
fn an_address_that_is_refused_with_its_message_ends_no_job_and_is_not_kept() {
    let mut bench = Bench::downloading();
    bench.tell(Event::Refused(FailureCode::UrlInvalid));
    bench.expect_nothing();
    assert_eq!(bench.events().last().unwrap(), "refused url_invalid");
    assert!(!bench.last().is_kept() && !bench.last().ends_job());
    // The same of the package's own address, on the way: that is the end of the job.
    bench.tell(fails(FailureCode::UrlInvalid));
    bench.next();
    assert!(bench.last().is_kept() && bench.last().ends_job());
}

#[test]
fn a_wish_that_gets_a_name_while_it_is_fetched_has_a_result_under_that_name() {
    let named = wish("r1");
    let bare = Desired {
        job: None,
        ..named.clone()
    };
    // Before the package has named it: nobody has heard of the job yet.
    let mut bench = Bench::online();
    bench.wish(&bare);
    bench.expect(Action::Fetch);
    bench.wish(&named);
    bench.expect(Action::Stop);
    bench.tell(Event::Stopped);
    bench.expect_next_job();
    assert_eq!(bench.engine.job(), Some(&named));
    bench.expect_events(&[]);
    // After that the job with the package's name comes to its own end.
    let mut bench = Bench::online();
    bench.wish(&bare);
    bench.expect(Action::Fetch);
    bench.admit(0);
    bench.wish(&named);
    bench.expect(Action::Stop);
    bench.tell(Event::Stopped);
    bench.expect_events(&["accepted", "superseded superseded"]);
    assert_eq!(
        bench.last().job.as_deref(),
        Some(IDENTITY.to_hex().as_str())
    );
    bench.tell(Event::Delivered);
    bench.expect_next_job();
    bench.admit(50_000);
    bench.tell(fails(FailureCode::BlockHash));
    bench.next();
    assert_eq!(bench.last().job.as_deref(), Some("r1"));
}

#[test]
fn the_name_that_a_package_gives_its_job_is_the_same_job() {
    let bare = Desired {
        job: None,
        ..wish("a")
    };
    let named = Desired {
        job: Some(IDENTITY.to_hex()),
        ..wish("a")
    };
    for (first, then) in [(&bare, &named), (&named, &bare)] {
        let mut bench = Bench::online();
        bench.wish(first);
        bench.expect(Action::Fetch);
        bench.admit(0);
        bench.wish(then);
        bench.expect_nothing();
    }
}
