//! Errors have one form, whoever makes them: a handler, the router, or what reads a request for a handler.

use axum::http::StatusCode;
use serde_json::json;

use super::Bench;

#[tokio::test]
async fn whatever_is_refused_is_a_problem_document() {
    let bench = Bench::new().await;
    let long = json!({"note": "x".repeat(70 * 1024)}).to_string();
    let json = "application/json";
    for (method, path, kind, body, status, problem) in [
        ("GET", "nothing", json, "", 404, "not_found"),
        ("GET", "devices/nobody", json, "", 404, "no_device"),
        ("DELETE", "health", json, "", 405, "method"),
        ("GET", "devices/%FF", json, "", 400, "bad_request"),
        ("GET", "devices?limit=x", json, "", 400, "bad_request"),
        ("GET", "devices?limit=0", json, "", 400, "bad_request"),
        ("GET", "audit?cursor=x", json, "", 400, "bad_request"),
        ("POST", "jobs", json, "{", 400, "bad_request"),
        ("POST", "jobs", json, "{}", 422, "bad_request"),
        ("POST", "jobs", "text/plain", "{}", 415, "content_type"),
        ("POST", "login", "text/plain", "{}", 415, "content_type"),
        ("POST", "packages", json, "{}", 415, "content_type"),
        ("PUT", "devices/a/note", json, &long, 413, "too_large"),
        (
            "PUT",
            "keys",
            "application/octet-stream",
            &long,
            413,
            "too_large",
        ),
        ("POST", "login", json, &long, 413, "too_large"),
    ] {
        let path = format!("/api/v1/{path}");
        let headers = [("content-type", kind)];
        let method_name = method;
        let reply = bench
            .send(method.parse().unwrap(), &path, &headers, body.to_owned())
            .await;
        let expected = StatusCode::from_u16(status).unwrap();
        assert_eq!(reply.status, expected, "{method_name} {path} {reply:?}");
        assert_eq!(reply.problem(), problem, "{method_name} {path}");
    }
}

#[tokio::test]
async fn a_method_that_an_address_does_not_take_is_told_which_it_does() {
    let bench = Bench::new().await;
    let reply = bench
        .send("DELETE".parse().unwrap(), "/api/v1/health", &[], "")
        .await;
    assert_eq!(reply.problem(), "method");
    assert!(reply.header("allow").contains("GET"), "{reply:?}");
}
