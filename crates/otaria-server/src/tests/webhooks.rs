//! Webhooks' messages in the store.

use serde_json::{Value, json};

use super::*;
use crate::model::{DeliveryState, MadeWebhook, Page, Webhook};
use crate::store::{Due, Tried};

async fn add(bench: &Bench, events: &[&str]) -> Webhook {
    let new = json!({"url": "https://hooks.example/otaria", "events": events});
    let reply = bench.post("/api/v1/webhooks", &new).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    let made: MadeWebhook = reply.json();
    assert!(made.secret.reveal().starts_with("whsec_"));
    made.webhook
}

async fn claim(bench: &Bench, webhook: &Webhook, now: i64) -> Vec<Due> {
    let mut tx = bench.shared.store.write().await.unwrap();
    let due = tx.claim_deliveries(&webhook.id, 10, now + 60, now).await;
    tx.commit().await.unwrap();
    due.unwrap()
}

fn types(due: &[Due]) -> Vec<String> {
    let body = |due: &Due| serde_json::from_str::<Value>(&due.body).unwrap();
    let kind = |due| body(due)["type"].as_str().unwrap().to_owned();
    due.iter().map(kind).collect()
}

#[tokio::test]
async fn a_webhook_is_told_what_it_asked_for_and_once() {
    let bench = Bench::new().await;
    let package = bench.upload(package("1.1.0")).await;
    bench.device_runs("d0", &other_image(), "1.0.0").await;
    let all = add(&bench, &[]).await;
    let failures = add(&bench, &["update.failed"]).await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let job = bench.publish(&package, json!("all")).await.job.id;
    bench
        .report("d1", "event", &event(1, 1, &job, "accepted"))
        .await;
    bench
        .report("d1", "event", &event(1, 2, &job, "rolled_back"))
        .await;
    // Repeated by the broker.
    bench
        .report("d1", "event", &event(1, 2, &job, "rolled_back"))
        .await;
    bench
        .device_runs("d0", &package.image_sha256, "1.1.0")
        .await;
    let told = claim(&bench, &all, NOW).await;
    assert_eq!(
        types(&told),
        ["device.appeared", "update.failed", "update.confirmed"]
    );
    assert_eq!(
        types(&claim(&bench, &failures, NOW).await),
        ["update.failed"]
    );

    let spec = json!({"name": "r1", "package": package.digest, "target": "all"});
    let reply = bench.post("/api/v1/rollouts", &spec).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    bench.post("/api/v1/rollouts/r1/pause", &json!({})).await;
    let later = crate::clock::now();
    let told = claim(&bench, &all, later).await;
    let states: Vec<Value> = told
        .iter()
        .map(|due| serde_json::from_str::<Value>(&due.body).unwrap())
        .filter(|body| body["type"] == "rollout.state")
        .map(|body| body["data"]["state"].clone())
        .collect();
    assert_eq!(states, ["running", "paused"]);
}

#[tokio::test]
async fn a_message_that_was_under_way_when_the_server_was_killed_is_sent_again_under_its_id() {
    let bench = Bench::new().await;
    let webhook = add(&bench, &["device.appeared"]).await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let due = claim(&bench, &webhook, NOW).await;
    assert!(
        claim(&bench, &webhook, NOW).await.is_empty(),
        "it is under way"
    );
    let bench = bench.restarted().await;
    assert!(claim(&bench, &webhook, NOW + 59).await.is_empty());
    let again = claim(&bench, &webhook, NOW + 60).await;
    assert_eq!((again.len(), &again[0].message), (1, &due[0].message));

    let mut tx = bench.shared.store.write().await.unwrap();
    let gave_up = Tried {
        state: DeliveryState::GivenUp,
        next_at: None,
        reason: Some("503 Service Unavailable".to_owned()),
    };
    tx.tried(again[0].id, &gave_up).await.unwrap();
    tx.commit().await.unwrap();
    assert!(claim(&bench, &webhook, NOW + 1_000_000).await.is_empty());
    let listed: Page<Webhook> = bench.get("/api/v1/webhooks").await.json();
    assert_eq!((listed.items[0].waiting, listed.items[0].given_up), (0, 1));
    assert_eq!(
        listed.items[0].reason.as_deref(),
        Some("503 Service Unavailable")
    );

    let path = format!("/api/v1/webhooks/{}", webhook.id);
    let removed = bench.send(Method::DELETE, &path, &[], Body::empty()).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn beyond_what_may_wait_for_a_webhook_the_oldest_are_given_up_and_nobody_elses() {
    let bench = Bench::new().await;
    let away = add(&bench, &["device.appeared"]).await;
    let other = add(&bench, &["device.appeared"]).await;
    for n in 1..=5 {
        let id = format!("d{n}");
        bench.device_runs(&id, &other_image(), "1.0.0").await;
    }
    let mut tx = bench.shared.store.write().await.unwrap();
    assert_eq!(tx.give_up_beyond(&away.id, 5).await.unwrap(), 0);
    assert_eq!(tx.give_up_beyond(&away.id, 3).await.unwrap(), 2);
    assert_eq!(tx.give_up_beyond(&away.id, 3).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let devices = |due: &[Due]| -> Vec<String> {
        let device = |due: &Due| serde_json::from_str::<Value>(&due.body).unwrap();
        let device = |due| device(due)["data"]["device"].as_str().unwrap().to_owned();
        due.iter().map(device).collect()
    };
    let left = claim(&bench, &away, NOW).await;
    assert_eq!(devices(&left), ["d3", "d4", "d5"]);
    assert_eq!(claim(&bench, &other, NOW).await.len(), 5);
    let store = &bench.shared.store;
    let shown = store.webhook(&away.id).await.unwrap().unwrap();
    assert_eq!((shown.waiting, shown.given_up), (3, 2));
    let all = store.deliveries(&away.id, None, 10).await.unwrap().items;
    let reason = all.last().unwrap().reason.as_deref();
    assert_eq!(reason, Some("more than 3 newer messages wait"));
}
