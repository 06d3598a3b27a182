use super::*;
use crate::model::Status;

/// A device that has been given a job.
async fn with_job() -> (Bench, Package, String) {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let package = bench.upload(package("1.1.0")).await;
    let job = bench
        .publish(&package, json!({"device": "d1"}))
        .await
        .job
        .id;
    (bench, package, job)
}

async fn status(bench: &Bench) -> Status {
    bench.device("d1").await.assignment.unwrap().status
}

async fn history(bench: &Bench) -> usize {
    bench
        .shared
        .store
        .events("d1", None, 1000)
        .await
        .unwrap()
        .items
        .len()
}

#[tokio::test]
async fn an_update_goes_through_its_states_to_success() {
    let (bench, package, job) = with_job().await;
    let trial = Some(json!({"boots": 1, "crashes": 0}));
    bench
        .report("d1", "event", &event(1, 1, &job, "accepted"))
        .await;
    assert_eq!(status(&bench).await, Status::Running);
    let progress = json!({"job": job, "phase": "downloading", "done": 10, "total": 100, "rate": 5});
    bench.report("d1", "progress", &progress).await;
    let device = bench.device("d1").await;
    assert_eq!(device.assignment.unwrap().progress.unwrap().done, 10);
    for (n, kind) in [(2, "downloaded"), (3, "verified"), (4, "activated")] {
        bench.report("d1", "event", &event(1, n, &job, kind)).await;
        assert_eq!(status(&bench).await, Status::Running, "{kind}");
    }
    bench
        .report(
            "d1",
            "state",
            &state("d1", &package.image_sha256, "1.1.0", trial, "trial"),
        )
        .await;
    assert_eq!(status(&bench).await, Status::Trial);
    bench
        .report("d1", "event", &event(2, 1, &job, "trial_started"))
        .await;
    assert_eq!(status(&bench).await, Status::Trial);
    let mut confirmed = event(2, 2, &job, "confirmed");
    confirmed["timing"] = json!({
        "connect_ms": 1, "tls_ms": 2, "receive_ms": 3, "erase_ms": 4, "write_ms": 5, "verify_ms": 6, "total_ms": 7,
        "bytes": 8, "heap_min": 9, "rssi": null, "confirm_ms": 10, "reconnects": 11
    });
    bench.report("d1", "event", &confirmed).await;
    assert_eq!(status(&bench).await, Status::Succeeded);
    let assignment = bench.device("d1").await.assignment.unwrap();
    assert_eq!(json!(assignment.timing), confirmed["timing"]);
    bench
        .report(
            "d1",
            "state",
            &state("d1", &package.image_sha256, "1.1.0", None, "idle"),
        )
        .await;
    assert_eq!(status(&bench).await, Status::Succeeded);
}

#[tokio::test]
async fn a_confirmation_while_another_image_runs_is_no_success() {
    let (bench, package, job) = with_job().await;
    bench
        .report("d1", "event", &event(1, 1, &job, "confirmed"))
        .await;
    assert_eq!(
        status(&bench).await,
        Status::Trial,
        "the state message still shows the old image"
    );
    bench
        .report(
            "d1",
            "state",
            &state("d1", &package.image_sha256, "1.1.0", None, "idle"),
        )
        .await;
    assert_eq!(status(&bench).await, Status::Succeeded);
}

#[tokio::test]
async fn events_apply_only_if_newer_within_their_installation() {
    let (bench, _, job) = with_job().await;
    let apply = async |boot, n, kind: &str| {
        bench
            .report("d1", "event", &event(boot, n, &job, kind))
            .await;
        status(&bench).await
    };
    assert_eq!(apply(1, 1, "accepted").await, Status::Running);
    assert_eq!(apply(2, 1, "trial_started").await, Status::Trial);
    assert_eq!(
        apply(1, 9, "failed").await,
        Status::Trial,
        "an earlier boot"
    );
    assert_eq!(apply(2, 2, "rolled_back").await, Status::RolledBack);
    assert_eq!(
        apply(2, 1, "trial_started").await,
        Status::RolledBack,
        "again"
    );
    assert_eq!(
        apply(2, 2, "failed").await,
        Status::RolledBack,
        "the same number"
    );
    assert_eq!(
        history(&bench).await,
        4,
        "late ones are kept, repeats are not"
    );
}

#[tokio::test]
async fn numbers_start_again_with_a_new_installation_and_the_old_one_is_history() {
    let (bench, _, job) = with_job().await;
    bench
        .report("d1", "event", &event(50, 7, &job, "failed"))
        .await;
    assert_eq!(status(&bench).await, Status::Failed);
    let mut fresh = event(1, 1, &job, "accepted");
    fresh["install"] = json!("00000000000000bb");
    bench.report("d1", "event", &fresh).await;
    assert_eq!(status(&bench).await, Status::Running);
    bench
        .report("d1", "event", &event(51, 1, &job, "rolled_back"))
        .await;
    assert_eq!(
        status(&bench).await,
        Status::Running,
        "the old installation speaks no more"
    );
    assert_eq!(history(&bench).await, 3);
}

#[tokio::test]
async fn the_same_reports_in_any_number_and_of_any_age_give_the_same_end() {
    let (bench, package, job) = with_job().await;
    let events = [
        (1, 1, "accepted"),
        (1, 2, "downloaded"),
        (2, 1, "trial_started"),
        (2, 2, "confirmed"),
    ];
    bench
        .report(
            "d1",
            "state",
            &state("d1", &package.image_sha256, "1.1.0", None, "idle"),
        )
        .await;
    for round in 0..3 {
        // In order, then backwards, then in order again.
        for index in 0..events.len() {
            let (boot, n, kind) = events[if round == 1 {
                events.len() - 1 - index
            } else {
                index
            }];
            bench
                .report("d1", "event", &event(boot, n, &job, kind))
                .await;
            bench
                .message("otaria/v1/d1/presence", br#"{"online":true}"#, true)
                .await;
        }
        assert_eq!(status(&bench).await, Status::Succeeded, "round {round}");
        assert_eq!(history(&bench).await, events.len());
    }
}

#[tokio::test]
async fn a_failure_says_why_and_when_it_is_tried_again() {
    let (bench, _, job) = with_job().await;
    let mut retrying = event(1, 1, &job, "retrying");
    retrying["code"] = json!(404);
    retrying["text"] = json!("no answer for 20 s");
    retrying["retry_in_s"] = json!(60);
    bench.report("d1", "event", &retrying).await;
    let assignment = bench.device("d1").await.assignment.unwrap();
    assert_eq!(assignment.status, Status::Retrying);
    assert_eq!(assignment.reason.as_deref(), Some("timeout_head"));
    assert_eq!(assignment.text.as_deref(), Some("no answer for 20 s"));
    assert_eq!(assignment.retry_at, Some(NOW + 60));
    let mut unknown = event(1, 2, &job, "failed");
    unknown["code"] = json!(9999);
    bench.report("d1", "event", &unknown).await;
    let assignment = bench.device("d1").await.assignment.unwrap();
    assert_eq!(
        (assignment.code, assignment.reason, assignment.retry_at),
        (Some(9999), None, None)
    );
}

#[tokio::test]
async fn retained_reports_are_not_signs_of_life() {
    let bench = Bench::new().await;
    bench
        .report("d1", "presence", &json!({"online": true}))
        .await;
    assert!(bench.device("d1").await.online);
    let first = bench.device("d1").await.last_seen;
    let report = ingest::parse(
        "otaria",
        "otaria/v1/d1/presence",
        br#"{"online":false}"#,
        true,
    )
    .unwrap()
    .unwrap();
    let mut tx = bench.shared.store.write().await.unwrap();
    let changes = tx.apply(&report, NOW + 100).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        changes,
        [Live::Presence {
            device: "d1".into(),
            online: false
        }]
    );
    let device = bench.device("d1").await;
    assert_eq!((device.online, device.last_seen), (false, first));
}

#[tokio::test]
async fn what_others_declare_is_known_and_our_own_comes_back_without_effect() {
    let (bench, package, job) = with_job().await;
    let ours = json!({"job": job, "url": package.url}).to_string();
    bench
        .message("otaria/v1/d1/desired", ours.as_bytes(), true)
        .await;
    assert_eq!(
        bench.device("d1").await.wish.unwrap().version.as_deref(),
        Some("1.1.0"),
        "unchanged"
    );

    let theirs = b"http://elsewhere/app.otaria\n";
    bench.message("otaria/v1/d1/desired", theirs, false).await;
    assert!(
        bench.device("d1").await.wish.unwrap().job.is_some(),
        "ours is on its way and comes later"
    );
    bench.all_sent().await;
    bench.message("otaria/v1/d1/desired", theirs, false).await;
    let wish = bench.device("d1").await.wish.unwrap();
    assert_eq!(
        (wish.url.as_str(), wish.job),
        ("http://elsewhere/app.otaria", None)
    );
    let mut tx = bench.shared.store.write().await.unwrap();
    let ours = tx.own_wishes().await.unwrap();
    drop(tx);
    assert_eq!(ours, [], "it is not ours to declare again");

    bench.message("otaria/v1/d1/desired", b"", false).await;
    assert_eq!(bench.device("d1").await.wish, None);
}

#[tokio::test]
async fn a_job_that_nobody_has_begun_ends_when_somebody_else_declares_something() {
    for (theirs, end) in [
        (&b"http://elsewhere/app.otaria"[..], Status::Superseded),
        (b"", Status::Cancelled),
    ] {
        let (bench, _, job) = with_job().await;
        bench.all_sent().await;
        let told = bench.message("otaria/v1/d1/desired", theirs, false).await;
        assert_eq!(status(&bench).await, end);
        assert!(
            matches!(&told[..], [Live::Assignment(moved)] if moved.job == job && moved.status == end),
            "{told:?}"
        );
    }
    // One that has begun is the device's to end.
    let (bench, _, job) = with_job().await;
    bench.all_sent().await;
    bench
        .report("d1", "event", &event(1, 1, &job, "accepted"))
        .await;
    bench.message("otaria/v1/d1/desired", b"", false).await;
    assert_eq!(status(&bench).await, Status::Running);
    bench
        .report("d1", "event", &event(1, 2, &job, "cancelled"))
        .await;
    assert_eq!(status(&bench).await, Status::Cancelled);
}

#[tokio::test]
async fn a_device_that_others_only_name_is_no_member_of_the_fleet() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    bench
        .message("otaria/v1/typo/desired", b"http://h/app.otaria", true)
        .await;
    bench
        .message("otaria/v1/typo/desired", b"http://h/app2.otaria", false)
        .await;
    assert_eq!(bench.device("typo").await.last_seen, None);
    bench.message("otaria/v1/nobody/desired", b"", false).await;
    assert_eq!(
        bench.get("/api/v1/devices/nobody").await.problem(),
        "no_device"
    );
    let package = bench.upload(package("1.1.0")).await;
    let job = bench.publish(&package, json!("all")).await.job;
    let devices: u64 = job.counts.iter().map(|count| count.devices).sum();
    assert_eq!(devices, 1, "it would be waited for for ever");

    // What a broker kept of a device that is away is no sign of life, but a sign that there is a device.
    let state = state("away", &other_image(), "1.0.0", None, "idle").to_string();
    bench
        .message("otaria/v1/away/state", state.as_bytes(), true)
        .await;
    assert_eq!(bench.device("away").await.last_seen, None);
    let job = bench.publish(&package, json!("all")).await.job;
    let devices: u64 = job.counts.iter().map(|count| count.devices).sum();
    assert_eq!(devices, 2);
}

#[tokio::test]
async fn a_device_that_is_forgotten_is_gone_with_all_that_was_kept_of_it() {
    let (bench, _, job) = with_job().await;
    bench
        .report("d1", "event", &event(1, 1, &job, "accepted"))
        .await;
    let forget = async |id: &str| {
        let path = format!("/api/v1/devices/{id}");
        bench.send(Method::DELETE, &path, &[], Body::empty()).await
    };
    assert_eq!(forget("nobody").await.problem(), "no_device");
    assert_eq!(forget("d1").await.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.get("/api/v1/devices/d1").await.problem(), "no_device");
    assert_eq!(history(&bench).await, 0);
    // Else the broker would bring it back at the next connection.
    let cleared: Vec<(String, bool, usize)> = bench
        .outbox()
        .await
        .into_iter()
        .map(|row| {
            (
                row.message.topic,
                row.message.retain,
                row.message.payload.len(),
            )
        })
        .collect();
    let topic = |leaf: &str| format!("otaria/v1/d1/{leaf}");
    assert_eq!(
        cleared,
        [
            (topic("desired"), true, 0),
            (topic("presence"), true, 0),
            (topic("state"), true, 0)
        ]
    );
}

#[tokio::test]
async fn events_of_jobs_that_are_not_ours_are_history_only() {
    let bench = Bench::new().await;
    bench
        .report("d1", "event", &event(1, 1, "somebody-elses", "failed"))
        .await;
    let device = bench.device("d1").await;
    assert_eq!(device.assignment, None);
    assert_eq!(history(&bench).await, 1);
}

#[tokio::test]
async fn a_log_line_that_comes_again_is_kept_once_and_told_again() {
    let bench = Bench::new().await;
    let line = json!({"n": 1, "boot": 1, "t_ms": 5, "level": "error", "text": "boom"});
    let first = bench.report("d1", "log", &line).await;
    assert!(matches!(first[..], [Live::Log(_)]));
    assert_eq!(
        bench.report("d1", "log", &line).await,
        first,
        "the same line with the same number"
    );
    assert_eq!(
        bench
            .shared
            .store
            .log_lines("d1", None, 10)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

#[tokio::test]
async fn old_history_is_pruned_and_the_newest_stays() {
    let bench = Bench::new().await;
    let mut tx = bench.shared.store.write().await.unwrap();
    for n in 0..1010 {
        let payload = event(1, n, "j", "retrying").to_string();
        let report = ingest::parse("otaria", "otaria/v1/d1/event", payload.as_bytes(), false)
            .unwrap()
            .unwrap();
        tx.apply(&report, NOW).await.unwrap();
    }
    tx.commit().await.unwrap();
    bench.shared.store.prune().await.unwrap();
    let kept = bench
        .shared
        .store
        .events("d1", None, 2000)
        .await
        .unwrap()
        .items;
    assert_eq!(
        (kept.len(), kept[0].event.n, kept[999].event.n),
        (1000, 1009, 10)
    );
}

#[tokio::test]
async fn a_retained_state_of_an_earlier_boot_is_no_news() {
    let bench = Bench::new().await;
    let (old, new) = (Sha256Digest([1; 32]), Sha256Digest([2; 32]));
    let of = |image: &Sha256Digest, boot: u32, uptime: u32| {
        let mut state = state("d", image, "1", None, "idle");
        state["boot"] = json!(boot);
        state["uptime_s"] = json!(uptime);
        state.to_string()
    };
    let runs = async |payload: String, retained: bool| {
        bench
            .message("otaria/v1/d/state", payload.as_bytes(), retained)
            .await;
        bench.device("d").await.state.unwrap().image_sha256
    };
    assert_eq!(runs(of(&new, 5, 10), false).await, new);
    assert_eq!(runs(of(&old, 4, 900), true).await, new, "an earlier boot");
    assert_eq!(
        runs(of(&old, 5, 9), true).await,
        new,
        "earlier in the same boot"
    );
    assert_eq!(runs(of(&new, 5, 10), true).await, new);
    assert_eq!(runs(of(&old, 6, 1), true).await, old, "a later boot");
    assert_eq!(
        runs(of(&new, 1, 1), false).await,
        new,
        "the device itself says so: its settings are new"
    );
}
