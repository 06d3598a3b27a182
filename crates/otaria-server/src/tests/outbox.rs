use std::collections::{HashMap, HashSet};

use otaria_wire::topics::DeviceId;

use super::*;

#[tokio::test]
async fn a_decision_and_its_messages_are_one() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let package = bench.upload(package("1.1.0")).await;
    {
        // A process that dies before the commit: the transaction is dropped.
        let mut tx = bench.shared.store.write().await.unwrap();
        tx.set_wish("d1", Some("http://h/x"), NOW).await.unwrap();
        let message = bench
            .shared
            .message(
                "d1",
                otaria_wire::topics::Topic::Desired,
                b"http://h/x".to_vec(),
            )
            .unwrap();
        tx.send(&message, NOW).await.unwrap();
    }
    assert!(bench.outbox().await.is_empty());
    assert_eq!(bench.device("d1").await.wish, None);

    bench.publish(&package, json!("all")).await;
    let before = bench.outbox().await;
    assert_eq!(before.len(), 1);
    let bench = bench.restarted().await;
    assert_eq!(
        bench.outbox().await,
        before,
        "a process that dies after the commit has it still to send"
    );
    assert!(bench.device("d1").await.wish.is_some());
}

#[tokio::test]
async fn of_two_wishes_for_a_device_only_the_newer_waits() {
    let bench = Bench::new().await;
    for id in ["d1", "d2"] {
        bench.device_runs(id, &other_image(), "1.0.0").await;
    }
    let package = bench.upload(package("1.1.0")).await;
    bench.publish(&package, json!("all")).await;
    let newer = bench.publish(&package, json!({"device": "d1"})).await;
    let waiting = async |device: &str| {
        let topic = format!("otaria/v1/{device}/desired");
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        for row in bench.outbox().await {
            if row.message.topic == topic {
                payloads.push(row.message.payload);
            }
        }
        payloads
    };
    let wishes = waiting("d1").await;
    assert_eq!(wishes.len(), 1, "the older one would undo the newer one");
    let wish: Value = serde_json::from_slice(&wishes[0]).unwrap();
    assert_eq!(wish["job"], json!(newer.job.id));

    bench.post("/api/v1/devices/d1/cancel", &json!({})).await;
    assert_eq!(waiting("d1").await, [b""], "nothing undoes a cancel either");
    assert_eq!(waiting("d2").await.len(), 1, "another device's stays");
}

#[tokio::test]
async fn numbers_of_sent_messages_are_not_given_again() {
    let bench = Bench::new().await;
    let send = async |payload: &[u8]| {
        let mut tx = bench.shared.store.write().await.unwrap();
        let message = bench
            .shared
            .message("d1", otaria_wire::topics::Topic::Desired, payload.to_vec())
            .unwrap();
        tx.send(&message, NOW).await.unwrap();
        tx.commit().await.unwrap();
        bench.outbox().await.last().unwrap().id
    };
    let first = send(b"http://h/1").await;
    let mut tx = bench.shared.store.write().await.unwrap();
    tx.sent(&[first]).await.unwrap();
    tx.commit().await.unwrap();
    let second = send(b"http://h/2").await;
    assert!(
        second > first,
        "the bus asks for what comes after the last number that it has seen"
    );
}

#[tokio::test]
async fn what_is_declared_is_declared_again_to_a_broker_that_has_forgotten() {
    let bench = Bench::new().await;
    for id in ["d1", "d2"] {
        bench.device_runs(id, &other_image(), "1.0.0").await;
    }
    let package = bench.upload(package("1.1.0")).await;
    bench.publish(&package, json!("all")).await;
    let sent = bench.outbox().await;
    bench.all_sent().await;
    let nothing = (HashMap::new(), HashSet::new());
    bench
        .shared
        .redeclare(&nothing.0, &nothing.1)
        .await
        .unwrap();
    let again = bench.outbox().await;
    let messages = |rows: &[OutboxRow]| {
        rows.iter()
            .map(|row| row.message.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(messages(&again), messages(&sent));
}

#[tokio::test]
async fn only_what_the_broker_lacks_or_has_of_an_older_job_is_declared_again() {
    let bench = Bench::new().await;
    for id in ["bare", "current", "foreign", "older", "taken-back"] {
        bench.device_runs(id, &other_image(), "1.0.0").await;
    }
    let package = bench.upload(package("1.1.0")).await;
    let older = bench.publish(&package, json!("all")).await.job.id;
    bench.publish(&package, json!("all")).await;
    let now = bench.outbox().await[0].message.payload.clone();
    let older = json!({"job": older, "url": package.url}).to_string();
    bench
        .post("/api/v1/devices/taken-back/cancel", &json!({}))
        .await;
    bench.all_sent().await;

    let mut found = HashMap::new();
    for (device, payload) in [
        ("current", now),
        ("foreign", b"http://elsewhere/app.otaria".to_vec()),
        ("older", older.clone().into_bytes()),
        ("taken-back", older.into_bytes()),
    ] {
        let topic = format!("otaria/v1/{device}/desired");
        bench.message(&topic, &payload, true).await;
        found.insert(DeviceId::new(device).unwrap(), payload);
    }
    bench
        .shared
        .redeclare(&found, &HashSet::new())
        .await
        .unwrap();
    let again: Vec<(String, bool)> = bench
        .outbox()
        .await
        .into_iter()
        .map(|row| (row.message.topic, row.message.payload.is_empty()))
        .collect();
    let topic = |device: &str| format!("otaria/v1/{device}/desired");
    assert_eq!(
        again,
        [
            (topic("bare"), false),
            (topic("older"), false),
            (topic("taken-back"), true)
        ]
    );
}

#[tokio::test]
async fn what_is_declared_and_not_done_follows_the_server_to_another_address() {
    let bench = Bench::new().await;
    for id in ["done", "replaced", "waits"] {
        bench.device_runs(id, &other_image(), "1.0.0").await;
    }
    let package = bench.upload(package("1.1.0")).await;
    let job = bench.publish(&package, json!("all")).await.job.id;
    bench
        .device_runs("done", &package.image_sha256, "1.1.0")
        .await;
    bench.all_sent().await;
    assert_eq!(bench.shared.note_address().await.unwrap(), 0);
    assert!(!bench.shared.must_redeclare().await.unwrap());

    let bench = bench.restarted_at("https://new.test/ota").await;
    assert_eq!(bench.shared.note_address().await.unwrap(), 2);
    assert!(bench.shared.must_redeclare().await.unwrap());
    let theirs = b"http://elsewhere/app.otaria";
    bench
        .message("otaria/v1/replaced/desired", theirs, true)
        .await;
    let mut found = HashMap::new();
    for (device, wish) in bench.shared.store.wishes().await.unwrap() {
        found.insert(DeviceId::new(&device).unwrap(), wish.into_bytes());
    }
    bench
        .shared
        .redeclare(&found, &HashSet::new())
        .await
        .unwrap();
    let told = bench.outbox().await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].message.topic, "otaria/v1/waits/desired");
    let wish: Value = serde_json::from_slice(&told[0].message.payload).unwrap();
    let url = format!("https://new.test/ota/packages/{}.otaria", package.digest);
    assert_eq!((&wish["job"], &wish["url"]), (&json!(job), &json!(url)));
    assert_eq!(wish["image_sha256"], json!(package.image_sha256));
    assert_eq!(bench.device("waits").await.wish.unwrap().url, url);
    assert_eq!(bench.shared.note_address().await.unwrap(), 0);
}

#[tokio::test]
async fn the_instance_keeps_its_name() {
    let bench = Bench::new().await;
    let name = bench.shared.store.instance().await.unwrap();
    let bench = bench.restarted().await;
    assert_eq!(bench.shared.store.instance().await.unwrap(), name);
}
