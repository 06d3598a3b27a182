//! Rollouts over the store and the API: what the engine decides is what is declared.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Bench, event, other_image, package, state};
use crate::model::{
    Device, Package, Page, Plan, Rollout, RolloutDevice, RolloutState, Stage, Status,
};

const START_MS: i64 = 1_800_000_000_000;

impl Bench {
    /// Looks at the rollouts, so many seconds after the start.
    async fn look(&self, seconds: i64) {
        self.shared
            .advance_rollouts(true, START_MS + seconds * 1000)
            .await
            .unwrap();
    }

    async fn rollout(&self, id: &str) -> Rollout {
        self.get(&format!("/api/v1/rollouts/{id}")).await.json()
    }

    async fn of_rollout(&self, id: &str) -> Vec<RolloutDevice> {
        let page: Page<RolloutDevice> = self
            .get(&format!("/api/v1/rollouts/{id}/devices?limit=1000"))
            .await
            .json();
        page.items
    }

    /// The device updates, and says so.
    async fn updates(&self, device: &str, package: &Package) {
        let job = self.device(device).await.wish.unwrap().job.unwrap();
        self.report(device, "event", &event(1, 1, &job, "accepted"))
            .await;
        let runs = state(
            device,
            &package.image_sha256,
            &package.version,
            None,
            "idle",
        );
        self.report(device, "state", &runs).await;
    }

    async fn rolls_back(&self, device: &str) {
        let job = self.device(device).await.wish.unwrap().job.unwrap();
        let mut rolled_back = event(3, 1, &job, "rolled_back");
        rolled_back["code"] = json!(otaria_wire::messages::FailureCode::TrialCrashed.number());
        self.report(device, "event", &rolled_back).await;
    }

    /// What is in the outbox for devices, by device and payload.
    async fn declared(&self) -> Vec<(String, String)> {
        let rows = self.outbox().await;
        let desired = rows
            .into_iter()
            .filter(|row| row.message.topic.ends_with("/desired"));
        desired
            .map(|row| {
                let device = row.message.topic.split('/').nth(2).unwrap().to_owned();
                (device, String::from_utf8(row.message.payload).unwrap())
            })
            .collect()
    }
}

async fn fleet(count: usize) -> (Bench, Package) {
    let bench = Bench::new().await;
    for n in 0..count {
        bench
            .device_runs(&format!("d{n}"), &other_image(), "1.0.0")
            .await;
    }
    let package = bench.upload(package("1.1.0")).await;
    (bench, package)
}

fn spec(package: &Package, waves: Value) -> Value {
    json!({
        "name": "r1", "package": package.digest, "target": "product:otaria-demo", "waves": waves,
        "limits": {"retries": 0},
    })
}

async fn made(bench: &Bench, spec: &Value) -> Rollout {
    let reply = bench.post("/api/v1/rollouts", spec).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    reply.json()
}

#[tokio::test]
async fn a_rollout_declares_wave_by_wave_and_is_done_when_all_have_confirmed() {
    let (bench, package) = fleet(5).await;
    let rollout = made(&bench, &spec(&package, json!([{"count": 2}, {}]))).await;
    assert_eq!(
        (rollout.total.devices, rollout.waves[0].counts.devices),
        (5, 2)
    );
    assert!(
        bench.declared().await.is_empty(),
        "nothing is declared before the first look"
    );

    bench.look(1).await;
    let first = bench.declared().await;
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(
        first
            .iter()
            .all(|(_, wish)| wish.contains(r#""job":"r1.1""#))
    );
    bench.look(2).await;
    assert_eq!(
        bench.declared().await,
        first,
        "a look at the same decides nothing new"
    );

    for (device, _) in &first {
        bench.updates(device, &package).await;
    }
    bench.look(3).await;
    assert_eq!(bench.declared().await.len(), 5);
    for device in bench.of_rollout("r1").await {
        if device.stage == Stage::Offered {
            bench.updates(&device.device, &package).await;
        }
    }
    bench.look(4).await;
    let rollout = bench.rollout("r1").await;
    assert_eq!(
        (rollout.state, rollout.total.confirmed),
        (RolloutState::Done, 5)
    );
    let devices = bench.of_rollout("r1").await;
    assert!(
        devices
            .iter()
            .all(|device| (device.stage, device.offers) == (Stage::Confirmed, 1))
    );
    for n in 0..5 {
        let device: Device = bench.device(&format!("d{n}")).await;
        assert_eq!(device.assignment.unwrap().status, Status::Succeeded);
    }

    // A state message that lags behind still shows the trial.
    let trial = json!({"boots": 1, "crashes": 0});
    let late = state("d3", &package.image_sha256, "1.1.0", Some(trial), "trial");
    bench.report("d3", "state", &late).await;
    bench.look(5).await;
    assert_eq!(bench.rollout("r1").await.total.confirmed, 5);

    // One from before the update, which a broker that was killed delivers only now.
    let mut old = state("d3", &other_image(), "1.0.0", None, "idle");
    bench.report("d3", "state", &old).await;
    bench.look(6).await;
    assert_eq!(bench.rollout("r1").await.total.confirmed, 5);

    // Weeks later one of them falls back.
    old["boot"] = json!(2);
    bench.report("d3", "state", &old).await;
    bench.look(1_000_000).await;
    let rollout = bench.rollout("r1").await;
    assert_eq!((rollout.total.confirmed, rollout.total.failed), (4, 1));
}

#[tokio::test]
async fn a_halt_takes_back_what_was_declared_and_nobody_else_begins() {
    let (bench, package) = fleet(12).await;
    let mut asked = spec(&package, json!([]));
    asked["limits"]["concurrent"] = json!(6);
    asked["halt"] = json!({"failures": 2, "test": false});
    made(&bench, &asked).await;
    bench.look(1).await;
    let declared = bench.declared().await;
    bench.all_sent().await;
    for (device, _) in &declared[..2] {
        bench.rolls_back(device).await;
    }
    bench.look(2).await;
    let rollout = bench.rollout("r1").await;
    assert_eq!(rollout.state, RolloutState::Halted);
    let reason = rollout.reason.unwrap();
    assert!(
        reason.contains("2 of 2 updates failed (trial_crashed 2x)"),
        "{reason}"
    );
    let mut taken_back = bench.declared().await;
    taken_back.sort();
    let mut expected: Vec<_> = declared[2..]
        .iter()
        .map(|(device, _)| (device.clone(), String::new()))
        .collect();
    expected.sort();
    assert_eq!(taken_back, expected);
    assert!(bench.device(&declared[3].0).await.wish.is_none());
    bench.look(10_000).await;
    assert_eq!(bench.declared().await.len(), 4, "it stands");

    let resumed = bench.post("/api/v1/rollouts/r1/resume", &json!({})).await;
    assert_eq!(resumed.status, StatusCode::OK, "{resumed:?}");
    bench.look(10_001).await;
    let again = bench.declared().await;
    assert!(
        again
            .iter()
            .any(|(_, wish)| wish.contains(r#""job":"r1.2""#)),
        "{again:?}"
    );
    bench.post("/api/v1/rollouts/r1/cancel", &json!({})).await;
    assert_eq!(bench.rollout("r1").await.state, RolloutState::Cancelled);
    assert!(
        bench
            .declared()
            .await
            .iter()
            .all(|(_, wish)| wish.is_empty())
    );
    let refused = bench.post("/api/v1/rollouts/r1/resume", &json!({})).await;
    assert_eq!(refused.problem(), "not_now");
}

#[tokio::test]
async fn a_rollout_outlives_the_process_and_offers_nothing_twice() {
    let (bench, package) = fleet(6).await;
    let mut asked = spec(
        &package,
        json!([{"count": 3, "gate": {"confirmed": 100, "soak": "60s"}}, {}]),
    );
    asked["limits"]["concurrent"] = json!(2);
    made(&bench, &asked).await;
    bench.look(1).await;
    let before = (bench.rollout("r1").await, bench.of_rollout("r1").await);
    let bench = bench.restarted().await;
    assert_eq!(
        (bench.rollout("r1").await, bench.of_rollout("r1").await),
        before
    );
    bench.look(2).await;
    assert_eq!(bench.declared().await.len(), 2);
    for seconds in 3..400 {
        for device in bench.of_rollout("r1").await {
            if device.stage == Stage::Offered && seconds % 3 == 0 {
                bench.updates(&device.device, &package).await;
            }
        }
        bench.look(seconds).await;
        if bench.rollout("r1").await.state == RolloutState::Done {
            assert!(seconds > 60, "it did not soak");
            assert!(
                bench
                    .of_rollout("r1")
                    .await
                    .iter()
                    .all(|device| device.offers == 1)
            );
            return;
        }
    }
    panic!("it never ended: {:?}", bench.rollout("r1").await);
}

#[tokio::test]
async fn the_same_rollout_again_changes_nothing_and_another_under_its_name_is_refused() {
    let (bench, package) = fleet(2).await;
    let asked = spec(&package, json!([]));
    let first = made(&bench, &asked).await;
    assert_eq!(made(&bench, &asked).await, first);
    let mut other = asked.clone();
    other["target"] = json!("all");
    assert_eq!(
        bench.post("/api/v1/rollouts", &other).await.problem(),
        "rollout_taken"
    );
    let page: Page<Rollout> = bench.get("/api/v1/rollouts").await.json();
    assert_eq!(page.items.len(), 1);

    let job = json!({"package": package.digest, "target": "all", "job": "r1.7"});
    assert_eq!(
        bench.post("/api/v1/jobs", &job).await.problem(),
        "job_taken"
    );
    bench
        .post(
            "/api/v1/jobs",
            &json!({"package": package.digest, "target": "all", "job": "r2.1"}),
        )
        .await;
    other["name"] = json!("r2");
    assert_eq!(
        bench.post("/api/v1/rollouts", &other).await.problem(),
        "rollout_taken"
    );
}

#[tokio::test]
async fn what_cannot_be_rolled_out_is_refused_and_says_why() {
    let (bench, package) = fleet(1).await;
    for (field, value, problem) in [
        ("name", json!("a b"), "rollout"),
        ("target", json!("versio < 1"), "rollout"),
        ("target", json!("version < 1"), "empty_target"),
        ("package", json!("00".repeat(32)), "not_found"),
    ] {
        let mut asked = spec(&package, json!([]));
        asked[field] = value;
        assert_eq!(
            bench.post("/api/v1/rollouts", &asked).await.problem(),
            problem,
            "{field}"
        );
    }
    let mut asked = spec(&package, json!([]));
    asked["wavs"] = json!([]);
    let reply = bench.post("/api/v1/rollouts", &asked).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{reply:?}");
    for path in ["rollouts/none", "rollouts/none/devices"] {
        assert_eq!(
            bench.get(&format!("/api/v1/{path}")).await.problem(),
            "not_found"
        );
    }
    for path in ["rollouts/none/pause", "rollouts/none/explode"] {
        let reply = bench.post(&format!("/api/v1/{path}"), &json!({})).await;
        assert_eq!(reply.problem(), "not_found", "{path}");
    }
}

#[tokio::test]
async fn a_plan_says_what_the_rollout_does_and_changes_nothing() {
    let (bench, package) = fleet(7).await;
    let asked = spec(&package, json!([{"name": "canary", "count": 2}, {}]));
    let plan: Plan = bench
        .post("/api/v1/rollouts/plan", &json!({"spec": asked}))
        .await
        .json();
    let page: Page<Rollout> = bench.get("/api/v1/rollouts").await.json();
    assert!(page.items.is_empty());
    made(&bench, &asked).await;
    let canaries: Vec<String> = bench
        .of_rollout("r1")
        .await
        .into_iter()
        .filter(|device| device.wave == 0)
        .map(|device| device.device)
        .collect();
    assert_eq!(plan.waves[0].devices, canaries);
    assert_eq!(plan.bytes, 7 * package.size);
}

#[tokio::test]
async fn a_device_that_is_not_connected_is_declared_nothing_until_it_comes() {
    let (bench, package) = fleet(2).await;
    bench
        .report("d1", "presence", &json!({"online": false}))
        .await;
    made(&bench, &spec(&package, json!([]))).await;
    bench.look(1).await;
    assert_eq!(bench.declared().await.len(), 1);
    assert_eq!(bench.rollout("r1").await.total.asleep, 1);
    bench
        .report("d1", "presence", &json!({"online": true}))
        .await;
    bench.look(2).await;
    assert_eq!(bench.declared().await.len(), 2);
}

#[tokio::test]
async fn ten_thousand_devices_are_planned_from_the_store_in_under_a_second() {
    let (bench, package) = fleet(0).await;
    let mut tx = bench.shared.store.write().await.unwrap();
    for n in 0..10_000 {
        let id = format!("d{n}");
        let payload = state(&id, &other_image(), "1.0.0", None, "idle").to_string();
        let topic = format!("otaria/v1/{id}/state");
        let report = crate::ingest::parse("otaria", &topic, payload.as_bytes(), false);
        tx.apply(&report.unwrap().unwrap(), super::NOW)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let asked = spec(
        &package,
        json!([{"count": 20, "spread": "chip_rev"}, {"percent": 10}, {}]),
    );
    let start = std::time::Instant::now();
    let plan: Plan = bench
        .post("/api/v1/rollouts/plan", &json!({"spec": asked}))
        .await
        .json();
    let took = start.elapsed();
    println!("planned in {took:?}");
    assert_eq!(plan.devices, 10_000);
    // Without optimisation, and beside other tests, it may take longer.
    let limit = if cfg!(debug_assertions) { 10 } else { 1 };
    assert!(took < std::time::Duration::from_secs(limit), "{took:?}");
}
