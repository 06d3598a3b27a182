//! Every list is paged in the same way.

use serde_json::{Value, json};

use super::*;
use crate::model::{Group, Page, Sample};

/// All entries, read page by page; between pages, something happens.
async fn walk<T: DeserializeOwned>(
    bench: &Bench,
    path: &str,
    limit: usize,
    mut between: impl AsyncFnMut(usize),
) -> Vec<T> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        let address = format!("{path}?limit={limit}{cursor}");
        let got: Page<T> = bench.get(&address).await.json();
        assert!(got.items.len() <= limit);
        items.extend(got.items);
        let Some(next) = got.next else {
            break;
        };
        cursor = format!("&cursor={next}");
        between(page).await;
    }
    items
}

async fn add_group(bench: &Bench, name: &str) {
    let path = format!("/api/v1/groups/{name}");
    let query = json!({"query": "online"}).to_string();
    let json = [("content-type", "application/json")];
    let reply = bench.send(Method::PUT, &path, &json, query).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
}

#[tokio::test]
async fn what_comes_and_goes_between_pages_repeats_and_hides_nothing_else() {
    let bench = Bench::new().await;
    for name in ["b", "d", "f", "h"] {
        add_group(&bench, name).await;
    }
    let groups: Vec<Group> = walk(&bench, "/api/v1/groups", 2, async |page| {
        if page == 0 {
            // Before the cursor, the entry that it names, and behind it.
            add_group(&bench, "a").await;
            let path = "/api/v1/groups/d";
            bench.send(Method::DELETE, path, &[], Body::empty()).await;
            add_group(&bench, "g").await;
        }
    })
    .await;
    let names: Vec<_> = groups.into_iter().map(|group| group.name).collect();
    assert_eq!(names, ["b", "d", "f", "g", "h"]);
}

#[tokio::test]
async fn the_newest_first_stays_so_over_pages() {
    let bench = Bench::new().await;
    bench.device_runs("d1", &other_image(), "1.0.0").await;
    let package = bench.upload(package("1.1.0")).await;
    for _ in 0..3 {
        bench.publish(&package, json!("all")).await;
    }
    let all: Page<Value> = bench.get("/api/v1/jobs").await.json();
    let walked: Vec<Value> = walk(&bench, "/api/v1/jobs", 1, async |_| {
        // Newer than all that is still to come.
        bench.publish(&package, json!("all")).await;
    })
    .await;
    // One of the same second may come behind the cursor, by its name; whatever was there comes once, in its order.
    let there: Vec<Value> = walked
        .iter()
        .filter(|job| all.items.iter().any(|one| one["id"] == job["id"]))
        .cloned()
        .collect();
    let ids = |jobs: &[Value]| Value::from_iter(jobs.iter().map(|job| job["id"].clone()));
    assert_eq!(ids(&there), ids(&all.items));
    let samples: Vec<Sample> = walk(&bench, "/api/v1/devices/d1/samples", 1, async |_| ()).await;
    assert!(!samples.is_empty());
}

#[tokio::test]
async fn every_list_in_the_document_is_a_page_with_a_limit_and_a_cursor() {
    let document: Value = serde_json::from_str(crate::openapi::document()).unwrap();
    let mut lists = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let Some(get) = operations.get("get") else {
            continue;
        };
        let schema = &get["responses"]["200"]["content"]["application/json"]["schema"];
        assert_ne!(schema["type"], "array", "{path}");
        let shown = schema["$ref"].as_str().unwrap_or_default();
        let is_list = shown.contains("/Page_") || shown.ends_with("/AuditPage");
        let named = |name: &str| {
            let parameters = get["parameters"].as_array();
            let mut parameters = parameters.into_iter().flatten();
            parameters.any(|one| one["name"] == name && one["in"] == "query")
        };
        assert_eq!(is_list, named("limit") && named("cursor"), "{path}");
        lists += usize::from(is_list);
    }
    assert!(lists >= 17, "{lists}");
}

#[tokio::test]
async fn limits_and_cursors_that_make_no_sense_are_refused() {
    let bench = Bench::new().await;
    for list in [
        "devices", "groups", "users", "keys", "jobs", "webhooks", "audit",
    ] {
        for limit in ["0", "1001", "x", "-1"] {
            let reply = bench.get(&format!("/api/v1/{list}?limit={limit}")).await;
            assert_eq!(reply.problem(), "bad_request", "{list} {limit}");
        }
    }
}
