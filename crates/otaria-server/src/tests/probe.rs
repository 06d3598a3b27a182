//! What an orchestrator asks.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Bench;

#[tokio::test]
async fn a_server_is_ready_when_its_broker_is_there_and_its_database_takes_a_write() {
    let bench = Bench::locked().await;
    assert_eq!(bench.get("/healthz").await.status, StatusCode::OK);

    let reply = bench.get("/readyz").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    let told = json!({"ready": false, "database": true, "broker": false, "packages": true});
    assert_eq!(reply.json::<Value>(), told);

    bench.shared.broker_connected.send_replace(true);
    assert_eq!(bench.get("/readyz").await.status, StatusCode::OK);
    let mut tx = bench.shared.store.write().await.unwrap();
    assert_eq!(
        tx.note("probe").await.unwrap(),
        None,
        "a probe leaves nothing"
    );

    // Somebody else writes and does not end.
    let asked = tokio::time::timeout(Duration::from_secs(8), bench.get("/readyz"));
    let reply = asked.await.expect("an answer in time");
    let told = json!({"ready": false, "database": false, "broker": true, "packages": true});
    assert_eq!(reply.json::<Value>(), told);
    drop(tx);
    assert_eq!(bench.get("/readyz").await.status, StatusCode::OK);
}
