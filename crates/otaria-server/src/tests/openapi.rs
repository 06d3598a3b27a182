//! The OpenAPI document against the router.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Bench;

const METHODS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

fn document() -> Value {
    serde_json::from_str(crate::openapi::document()).unwrap()
}

/// An address of a path, with names that nothing has.
fn address(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{digest}" => "00".repeat(32),
        "{action}" => "pause".to_owned(),
        part if part.starts_with('{') => "nobody".to_owned(),
        part => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_router_takes_what_the_document_says_and_no_other_method() {
    let bench = Bench::new().await;
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 40, "{}", paths.len());
    for (path, operations) in paths {
        for method in METHODS {
            // It would not end.
            if path == "/api/v1/stream" && method == Method::GET {
                continue;
            }
            let reply = bench.send(method.clone(), &address(path), &[], "").await;
            let documented = operations
                .get(method.as_str().to_ascii_lowercase())
                .is_some();
            if documented {
                assert_ne!(
                    reply.status,
                    StatusCode::METHOD_NOT_ALLOWED,
                    "{method} {path}"
                );
                let nothing = b"there is nothing under this address";
                let found = !reply
                    .body
                    .windows(nothing.len())
                    .any(|text| text == nothing);
                assert!(found, "{method} {path}: {reply:?}");
            } else {
                assert_eq!(
                    reply.status,
                    StatusCode::METHOD_NOT_ALLOWED,
                    "{method} {path} is not in the document"
                );
            }
        }
    }
}

#[test]
fn routes_for_programs_are_made_with_their_documentation_and_in_no_other_way() {
    for (file, source) in [
        ("api/mod.rs", include_str!("../api/mod.rs")),
        ("http/mod.rs", include_str!("../http/mod.rs")),
    ] {
        for undocumented in [".route(", ".route_service(", ".nest_service("] {
            assert!(!source.contains(undocumented), "{file}: {undocumented}");
        }
    }
}

#[test]
fn every_operation_says_what_it_is_what_it_needs_and_what_its_names_are() {
    let document = document();
    let mut ids = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let at = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{at}");
            let parameters = operation["parameters"].as_array();
            for parameter in parameters.into_iter().flatten() {
                let said = parameter["description"].as_str().unwrap_or_default();
                assert!(!said.is_empty(), "{at}: {parameter}");
            }
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("default"), "{at}");
            for (status, response) in responses {
                assert!(response["description"] != "", "{at}: {status}");
            }
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
        }
    }
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "operation ids are unique");
    let needs = |path: &str, method: &str| document["paths"][path][method]["security"].clone();
    assert_eq!(
        needs("/api/v1/jobs", "post"),
        json!([{"token": ["publish"]}])
    );
    assert_eq!(needs("/api/v1/whoami", "get"), json!([{"token": []}]));
    assert_eq!(needs("/api/v1/login", "post"), Value::Null);
}

#[tokio::test]
async fn the_document_is_served() {
    let bench = Bench::new().await;
    let reply = bench.get("/api/v1/openapi.json").await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.json::<Value>(), document());
}
