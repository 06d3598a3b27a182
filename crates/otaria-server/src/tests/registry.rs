//! Tags, notes, groups by query, history and samples.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use otaria_wire::Sha256Digest;
use serde_json::{Value, json};

use super::{Bench, NOW, Reply, event, other_image, package, state};
use crate::ingest;
use crate::model::{Device, Group, Page, Sample, Status, Update};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

impl Bench {
    async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(Method::PUT, path, JSON, body.to_string()).await
    }

    async fn tag(&self, device: &str, changes: &Value) -> Reply {
        let path = format!("/api/v1/devices/{device}/tags");
        self.send(Method::PATCH, &path, JSON, changes.to_string())
            .await
    }

    async fn ids(&self, query: &str) -> Vec<String> {
        let query = query
            .replace(' ', "%20")
            .replace('<', "%3C")
            .replace('=', "%3D");
        let reply = self.get(&format!("/api/v1/devices?query={query}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        let page: Page<Device> = reply.json();
        page.items.into_iter().map(|device| device.id).collect()
    }
}

async fn three_pumps() -> Bench {
    let bench = Bench::new().await;
    for (id, version) in [("a", "1.0.0"), ("b", "1.10.0"), ("c", "1.9.0")] {
        bench.device_runs(id, &other_image(), version).await;
    }
    bench.tag("a", &json!({"set": {"site": "berlin"}})).await;
    bench
        .tag("b", &json!({"set": {"site": "berlin", "lab": ""}}))
        .await;
    bench
}

#[tokio::test]
async fn devices_are_found_by_what_they_are_and_how_they_are_tagged() {
    let bench = three_pumps().await;
    assert_eq!(bench.ids("tag:site=berlin").await, ["a", "b"]);
    assert_eq!(
        bench.ids("version < 1.10 and chip:esp32c3").await,
        ["a", "c"]
    );
    assert_eq!(bench.ids("tag:lab").await, ["b"]);
    bench.tag("b", &json!({"remove": ["lab"]})).await;
    assert!(bench.ids("tag:lab").await.is_empty());
    assert_eq!(
        bench.device("b").await.tags["site"],
        "berlin",
        "what is not named stays"
    );
}

#[tokio::test]
async fn a_filtered_list_has_pages_without_gaps() {
    let bench = Bench::new().await;
    for n in 0..25 {
        let id = format!("d{n:02}");
        bench.device_runs(&id, &other_image(), "1.0.0").await;
        if n % 3 == 0 {
            bench.tag(&id, &json!({"set": {"third": ""}})).await;
        }
    }
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/devices?query=tag:third&limit=2{after}");
        let page: Page<Device> = bench.get(&path).await.json();
        assert!(page.items.len() <= 2);
        found.extend(page.items.into_iter().map(|device| device.id));
        let Some(next) = page.next else { break };
        after = format!("&cursor={next}");
    }
    let expected: Vec<String> = (0..25).step_by(3).map(|n| format!("d{n:02}")).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_bad_query_says_where() {
    let bench = Bench::new().await;
    let reply = bench
        .get("/api/v1/devices?query=online%20and%20versio%3C2")
        .await;
    assert_eq!(reply.problem(), "query");
    let problem: Value = reply.json();
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.ends_with("  online and versio<2\n             ^"),
        "{detail}"
    );
}

#[tokio::test]
async fn tags_that_a_query_could_not_name_are_refused() {
    let bench = three_pumps().await;
    for set in [
        json!({"": "x"}),
        json!({"a b": "x"}),
        json!({"x": "a,b"}),
        json!({"x": "a\nb"}),
        json!({"x": "y".repeat(81)}),
        json!({"x".repeat(41): ""}),
    ] {
        let reply = bench.tag("a", &json!({"set": set})).await;
        assert_eq!(reply.problem(), "bad_request", "{set}");
    }
    let many: serde_json::Map<String, Value> =
        (0..33).map(|n| (format!("t{n}"), json!(""))).collect();
    assert_eq!(
        bench.tag("a", &json!({"set": many})).await.problem(),
        "bad_request"
    );
    assert_eq!(bench.device("a").await.tags.len(), 1, "nothing of it stays");
    assert_eq!(bench.tag("nobody", &json!({})).await.problem(), "no_device");
}

#[tokio::test]
async fn a_note_stays_until_the_next() {
    let bench = three_pumps().await;
    bench
        .put(
            "/api/v1/devices/a/note",
            &json!({"note": "behind the boiler"}),
        )
        .await;
    assert_eq!(bench.device("a").await.note, "behind the boiler");
    bench
        .put("/api/v1/devices/a/note", &json!({"note": ""}))
        .await;
    assert_eq!(bench.device("a").await.note, "");
}

#[tokio::test]
async fn a_group_by_query_follows_its_devices() {
    let bench = three_pumps().await;
    let reply = bench
        .put("/api/v1/groups/old", &json!({"query": "version<1.10"}))
        .await;
    let group: Group = reply.json();
    assert_eq!(
        (group.devices, group.query.as_deref()),
        (2, Some("version < 1.10"))
    );
    bench
        .put(
            "/api/v1/devices/b/groups",
            &json!({"groups": ["old", "own"]}),
        )
        .await;
    let page: Page<Device> = bench.get("/api/v1/devices?group=old").await.json();
    assert_eq!(
        page.items.len(),
        3,
        "those that match, and who was put into it"
    );
    bench.device_runs("a", &other_image(), "2.0.0").await;
    assert!(bench.device("a").await.all_groups().is_empty());
    assert_eq!(bench.ids("group:old").await, ["b", "c"]);

    let uploaded = bench.upload(package("1.1.0")).await;
    let published = bench.publish(&uploaded, json!({"group": "old"})).await;
    assert_eq!(published.job.total(), 2);
    let published = bench.publish(&uploaded, json!({"query": "id:a"})).await;
    assert_eq!(published.job.total(), 1);
    let request = json!({"package": uploaded.digest, "target": {"query": "id"}});
    assert_eq!(
        bench.post("/api/v1/jobs", &request).await.problem(),
        "query"
    );

    let circle = json!({"query": "group:old"});
    assert_eq!(
        bench.put("/api/v1/groups/x", &circle).await.problem(),
        "bad_request"
    );
    let gone = bench
        .send(Method::DELETE, "/api/v1/groups/old", &[], Body::empty())
        .await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    let groups = bench
        .get("/api/v1/groups")
        .await
        .json::<Page<Group>>()
        .items;
    assert_eq!(groups.len(), 1, "{groups:?}");
}

#[tokio::test]
async fn the_history_of_an_update_has_its_steps_and_why_it_failed() {
    let bench = three_pumps().await;
    let uploaded = bench.upload(package("1.1.0")).await;
    let published = bench.publish(&uploaded, json!({"device": "a"})).await;
    let job = published.job.id.as_str();
    bench
        .report("a", "event", &event(1, 1, job, "accepted"))
        .await;
    bench
        .report("a", "event", &event(2, 1, job, "trial_started"))
        .await;
    let mut rolled_back = event(3, 1, job, "rolled_back");
    rolled_back["code"] = json!(otaria_wire::messages::FailureCode::TrialCrashed.number());
    bench.report("a", "event", &rolled_back).await;
    bench.report("a", "event", &rolled_back).await;
    let page: Page<Update> = bench.get("/api/v1/devices/a/updates").await.json();
    let update = &page.items[0];
    assert_eq!(
        (update.status, update.reason.as_deref()),
        (Status::RolledBack, Some("trial_crashed"))
    );
    let steps: Vec<_> = update
        .steps
        .iter()
        .map(|step| (step.status, step.event.as_deref()))
        .collect();
    assert_eq!(
        steps,
        [
            (Status::Pending, None),
            (Status::Running, Some("accepted")),
            (Status::Trial, Some("trial_started")),
            (Status::RolledBack, Some("rolled_back")),
        ]
    );
}

#[tokio::test]
async fn samples_are_few_and_bounded() {
    let bench = Bench::new().await;
    let report = async |at: i64, boot: u32, heap: u32| {
        let mut state = state("a", &Sha256Digest([1; 32]), "1", None, "idle");
        state["boot"] = json!(boot);
        state["heap_min"] = json!(heap);
        let payload = state.to_string();
        let report = ingest::parse("otaria", "otaria/v1/a/state", payload.as_bytes(), false);
        let mut tx = bench.shared.store.write().await.unwrap();
        tx.apply(&report.unwrap().unwrap(), at).await.unwrap();
        tx.commit().await.unwrap();
    };
    report(NOW, 1, 10).await;
    report(NOW + 60, 1, 11).await;
    report(NOW + 61, 2, 12).await;
    report(NOW + 400, 2, 13).await;
    let samples = bench
        .get("/api/v1/devices/a/samples?limit=1000")
        .await
        .json::<Page<Sample>>()
        .items;
    let heaps: Vec<u32> = samples.iter().map(|sample| sample.heap_min).collect();
    assert_eq!(
        heaps,
        [10, 12, 13],
        "a new boot counts at once, else one in five minutes"
    );

    for n in 0..400 {
        report(NOW + 1_000 + n * 300, 2, 20).await;
    }
    bench.shared.store.prune().await.unwrap();
    let samples = bench
        .get("/api/v1/devices/a/samples?limit=1000")
        .await
        .json::<Page<Sample>>()
        .items;
    assert_eq!((samples.len(), samples[0].heap_min), (288, 20));
}
