//! Servers that store reports at once: nothing is lost, and nothing is there twice. And how many they store in a second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::*;
use crate::ingest::Report;

const DEVICES: u32 = 40;

fn report(device: &str, leaf: &str, payload: &Value) -> Report {
    let topic = format!("otaria/v1/{device}/{leaf}");
    let payload = serde_json::to_vec(payload).unwrap();
    let report = ingest::parse("otaria", &topic, &payload, false);
    report.unwrap().unwrap()
}

/// Stores a batch as a session at a broker does.
async fn store(store: &Store, reports: &mut [Report]) {
    reports.sort_by(|a, b| a.device.cmp(&b.device));
    let mut tx = store.write_reports().await.unwrap();
    for report in reports {
        tx.apply(report, NOW).await.unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_store_at_once_lose_nothing_and_double_nothing() {
    let Some(cluster) = postgres::cluster() else {
        return;
    };
    let database = Database::Postgres(cluster.database("together").parse().unwrap());
    let dir = TempDir::new().unwrap();
    let mut stores = Vec::new();
    for _ in 0..2 {
        let store = Store::open(&database, dir.path()).await.unwrap();
        stores.push(Arc::new(store));
    }
    stores[0]
        .tamper("INSERT INTO webhooks (id, url, events, secret, created_at) VALUES ('w', 'u', '[\"device.appeared\"]', 's', 1)")
        .await
        .unwrap();
    // Every session gets all events of all devices, each in an order of its own: what one stores, the others have too.
    let sessions = (0..6_u32).map(|session| {
        let store_at = Arc::clone(&stores[session as usize % 2]);
        tokio::spawn(async move {
            let mut all: Vec<Report> = Vec::new();
            for n in 1..=10 {
                for turn in 0..DEVICES {
                    let device = (turn * 7 + session * 11) % DEVICES;
                    let payload = event(1, n, "j", "retrying");
                    all.push(report(&format!("d{device}"), "event", &payload));
                }
            }
            for batch in all.chunks_mut(64) {
                store(&store_at, batch).await;
            }
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        session.await.unwrap();
    }
    for device in 0..DEVICES {
        let events = stores[0].events(&format!("d{device}"), None, 100).await;
        let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
        for event in events.unwrap().items {
            *seen.entry(event.event.n).or_default() += 1;
        }
        let once: BTreeMap<u32, u32> = (1..=10).map(|n| (n, 1)).collect();
        assert_eq!(seen, once, "d{device}");
    }
    let told = stores[0].deliveries("w", None, 1000).await.unwrap().items;
    assert_eq!(told.len(), DEVICES as usize, "each has appeared once");
}

#[tokio::test]
async fn reports_are_stored_beside_each_other_but_never_beside_a_decision() {
    let Some(cluster) = postgres::cluster() else {
        return;
    };
    let database = Database::Postgres(cluster.database("beside").parse().unwrap());
    let dir = TempDir::new().unwrap();
    let store = Store::open(&database, dir.path()).await.unwrap();
    let soon = Duration::from_millis(300);
    let (first, second) = (
        report("a", "event", &event(1, 1, "j", "retrying")),
        report("b", "event", &event(1, 1, "j", "retrying")),
    );
    let mut reports = store.write_reports().await.unwrap();
    reports.apply(&first, NOW).await.unwrap();
    let mut beside = store.write_reports().await.unwrap();
    beside.apply(&second, NOW).await.unwrap();
    {
        let mut same = std::pin::pin!(beside.apply(&first, NOW));
        let waits = tokio::time::timeout(soon, &mut same).await;
        assert!(waits.is_err(), "two write of one device");
        let mut decision = std::pin::pin!(store.write());
        let waits = tokio::time::timeout(soon, &mut decision).await;
        assert!(waits.is_err(), "it is decided upon what others change");
        reports.commit().await.unwrap();
        assert!(same.await.unwrap().is_empty(), "the event is there already");
    }
    beside.commit().await.unwrap();
    store.write().await.unwrap();
}

/// Prints how many events are stored in a second, with so many servers and sessions, by a database that waits for its disk:
/// `cargo test --release -p otaria-server --lib -- --ignored --nocapture how_many_reports`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn how_many_reports_are_stored_in_a_second() {
    const BATCH: u32 = 64;
    const TIME: Duration = Duration::from_secs(5);
    let cluster = postgres::Cluster::durable();
    let dir = TempDir::new().unwrap();
    for (name, servers, sessions) in [
        ("SQLite", 1, 1),
        ("PostgreSQL, one session", 1, 1),
        ("PostgreSQL, one server", 1, 3),
        ("PostgreSQL, two servers", 2, 3),
    ] {
        let database = match (&cluster, name.starts_with("SQLite")) {
            (_, true) => Database::File,
            (Some(cluster), false) => {
                let url = cluster.database(&format!("rate{servers}_{sessions}"));
                Database::Postgres(url.parse().unwrap())
            }
            (None, false) => continue,
        };
        let mut stores = Vec::new();
        for _ in 0..servers {
            let store = Store::open(&database, dir.path()).await.unwrap();
            stores.push(Arc::new(store));
        }
        let begun = Instant::now();
        let working = (0..sessions).map(|session| {
            let store_at = Arc::clone(&stores[session % servers]);
            tokio::spawn(async move {
                let mut n = 0;
                while begun.elapsed() < TIME {
                    n += 1;
                    let payload = event(1, n, "j", "retrying");
                    let mut batch: Vec<Report> = (0..BATCH)
                        .map(|device| report(&format!("s{session}-{device}"), "event", &payload))
                        .collect();
                    store(&store_at, &mut batch).await;
                }
                n * BATCH
            })
        });
        let mut stored = 0;
        for session in working.collect::<Vec<_>>() {
            stored += session.await.unwrap();
        }
        let rate = f64::from(stored) / begun.elapsed().as_secs_f64();
        println!("{name}: {rate:.0} events/s");
    }
}
