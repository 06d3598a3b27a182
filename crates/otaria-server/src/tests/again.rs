//! Requests that come again, and changes to what somebody else has changed.

use serde_json::{Value, json};

use super::*;
use crate::http::idempotency::digest;
use crate::model::{Page, Rollout};
use crate::store::Known;

const JSON: (&str, &str) = ("content-type", "application/json");

impl Bench {
    async fn with_key(&self, key: &str, path: &str, body: &Value) -> Reply {
        let headers = [JSON, ("idempotency-key", key)];
        self.send(Method::POST, path, &headers, body.to_string())
            .await
    }

    async fn if_match(&self, method: Method, path: &str, etag: &str, body: &Value) -> Reply {
        let headers = [JSON, ("if-match", etag)];
        self.send(method, path, &headers, body.to_string()).await
    }
}

async fn with_device() -> Bench {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    bench
}

#[tokio::test]
async fn a_request_that_comes_again_gets_the_same_answer_and_does_nothing_more() {
    let bench = with_device().await;
    let package = bench.upload(package("1.1.0")).await;
    let job = json!({"package": package.digest, "target": "all"});
    let first = bench.with_key("k1", "/api/v1/jobs", &job).await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = bench.with_key("k1", "/api/v1/jobs", &job).await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header("content-type"), first.header("content-type"));
    let bench = bench.restarted().await;
    let again = bench.with_key("k1", "/api/v1/jobs", &job).await;
    assert_eq!(again.body, first.body, "after a restart, too");
    let other = bench.with_key("k2", "/api/v1/jobs", &job).await;
    assert_eq!(other.status, StatusCode::CREATED);
    let jobs: Page<Value> = bench.get("/api/v1/jobs").await.json();
    assert_eq!(jobs.items.len(), 2, "one for each key");
}

#[tokio::test]
async fn a_refusal_is_kept_as_well_and_a_key_names_one_request() {
    let bench = with_device().await;
    let command = json!({"cmd": "reboot"});
    let nobody = "/api/v1/devices/nobody/commands";
    let refused = bench.with_key("k1", nobody, &command).await;
    assert_eq!(refused.problem(), "no_device");
    let again = bench.with_key("k1", nobody, &command).await;
    assert_eq!(
        (again.problem(), again.body),
        ("no_device".to_owned(), refused.body)
    );
    for (path, body) in [
        (nobody, json!({"cmd": "identify"})),
        ("/api/v1/devices/d1/commands", command.clone()),
    ] {
        let other = bench.with_key("k1", path, &body).await;
        assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(other.problem(), "idempotency_key_reused");
    }
    let long = "k".repeat(256);
    for bad in ["", long.as_str()] {
        let reply = bench.with_key(bad, nobody, &command).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    // Answers with secrets are not kept, so such a route says that it takes no key.
    let hook = json!({"url": "https://hooks.example/"});
    let reply = bench.with_key("k3", "/api/v1/webhooks", &hook).await;
    assert_eq!(reply.problem(), "bad_request");
}

#[tokio::test]
async fn a_request_that_is_under_way_is_not_begun_again() {
    let bench = with_device().await;
    let path = "/api/v1/devices/d1/commands";
    let command = json!({"cmd": "reboot"});
    let digest = digest(&path.parse().unwrap(), command.to_string().as_bytes());
    let mut tx = bench.shared.store.write().await.unwrap();
    let begun = tx.begin_request("", "k1", &digest, crate::clock::now());
    assert_eq!(begun.await.unwrap(), Known::New);
    tx.commit().await.unwrap();
    let reply = bench.with_key("k1", path, &command).await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    assert_eq!(reply.problem(), "idempotency_key_open");
    assert!(bench.outbox().await.is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_request_is_carried_out_although_its_client_hangs_up() {
    let bench = with_device().await;
    let path = "/api/v1/devices/d1/commands";
    let command = json!({"cmd": "reboot"});
    for patience in 0..20 {
        let key = format!("k{patience}");
        let first = bench.with_key(&key, path, &command);
        let patience = std::time::Duration::from_millis(patience);
        let _ = tokio::time::timeout(patience, first).await;
        // Whatever has become of it when the client was gone, this is answered in the end, and by one command.
        let answer = loop {
            let again = bench.with_key(&key, path, &command).await;
            if again.status != StatusCode::CONFLICT {
                break again;
            }
        };
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    }
    assert_eq!(bench.outbox().await.len(), 20);
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let bench = with_device().await;
    for path in [
        "/api/v1/devices/d1",
        "/api/v1/devices",
        "/api/v1/devices/d1/note",
    ] {
        let first = bench.get(path).await;
        let etag = first.header("etag").to_owned();
        assert!(etag.starts_with('"') && etag.len() == 34, "{etag}");
        let headers = [("if-none-match", etag.as_str())];
        let same = bench.send(Method::GET, path, &headers, Body::empty()).await;
        assert_eq!(same.status, StatusCode::NOT_MODIFIED, "{path}");
        assert!(same.body.is_empty() && same.header("etag") == etag);
    }
    let etag = bench
        .get("/api/v1/devices/d1")
        .await
        .header("etag")
        .to_owned();
    bench
        .report("d1", "presence", &json!({"online": false}))
        .await;
    let headers = [("if-none-match", etag.as_str())];
    let changed = bench
        .send(Method::GET, "/api/v1/devices/d1", &headers, Body::empty())
        .await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.header("etag"), etag);
}

#[tokio::test]
async fn a_change_is_made_only_to_what_was_read() {
    let bench = with_device().await;
    bench.device_runs("d2", &other_image(), "1.0.0").await;
    let query = json!({"query": "tag:site=roof"});
    bench
        .send(Method::PUT, "/api/v1/groups/g", &[JSON], query.to_string())
        .await;
    for (method, path, first, second) in [
        (
            Method::PUT,
            "/api/v1/devices/d1/groups",
            json!({"groups": ["a"]}),
            json!({"groups": ["b"]}),
        ),
        (
            Method::PATCH,
            "/api/v1/devices/d1/tags",
            json!({"set": {"a": "1"}}),
            json!({"set": {"a": "2"}}),
        ),
        (
            Method::PUT,
            "/api/v1/devices/d1/note",
            json!({"note": "a"}),
            json!({"note": "b"}),
        ),
        (
            Method::PUT,
            "/api/v1/groups/g",
            json!({"query": "online"}),
            json!({"query": "tag:a"}),
        ),
    ] {
        let seen = bench.get(path).await.header("etag").to_owned();
        // Reports of the device do not count, unless they change what is read.
        bench
            .report("d1", "presence", &json!({"online": true}))
            .await;
        let one = bench.if_match(method.clone(), path, &seen, &first).await;
        assert_eq!(one.status, StatusCode::OK, "{path} {one:?}");
        let other = bench.if_match(method.clone(), path, &seen, &second).await;
        assert_eq!(other.status, StatusCode::PRECONDITION_FAILED, "{path}");
        assert_eq!(other.problem(), "changed");
        let now = bench.get(path).await.header("etag").to_owned();
        let anew = bench.if_match(method, path, &now, &second).await;
        assert_eq!(anew.status, StatusCode::OK, "{path}");
    }
    let none = bench
        .if_match(Method::PUT, "/api/v1/groups/new", "*", &query)
        .await;
    assert_eq!(
        none.problem(),
        "changed",
        "there is nothing that could match"
    );
}

#[tokio::test]
async fn a_rollout_is_told_only_what_was_decided_about_its_present_state() {
    let bench = with_device().await;
    let package = bench.upload(package("1.1.0")).await;
    let spec = json!({"name": "r1", "package": package.digest, "target": "all"});
    bench.post("/api/v1/rollouts", &spec).await;
    let seen = bench
        .get("/api/v1/rollouts/r1")
        .await
        .header("etag")
        .to_owned();
    let pause = "/api/v1/rollouts/r1/pause";
    let paused = bench.if_match(Method::POST, pause, &seen, &json!({})).await;
    assert_eq!(paused.status, StatusCode::OK, "{paused:?}");
    let resume = "/api/v1/rollouts/r1/resume";
    let late = bench
        .if_match(Method::POST, resume, &seen, &json!({}))
        .await;
    assert_eq!(late.problem(), "changed");
    let rollout: Rollout = bench.get("/api/v1/rollouts/r1").await.json();
    assert_eq!(rollout.state.name(), "paused");
}
