//! The OpenAPI document, checked by a validator that is not ours, and what a server answers, checked against the document.

use serde_json::{Value, json};

use crate::common::{Broker, FakeDevice, Http, Running, package, servers, wait_for};
use crate::python;

/// Answers, with the paths of the document that they belong to.
struct Recorder {
    http: Http,
    answers: Vec<Value>,
}

impl Recorder {
    async fn ask(
        &mut self,
        method: &str,
        template: &str,
        path: &str,
        body: Option<Value>,
    ) -> Value {
        let path = format!("/api/v1{path}");
        let (status, kind, answer) = self.http.ask(method, &path, body.as_ref()).await;
        self.answers.push(json!({
            "method": method.to_ascii_lowercase(), "path": format!("/api/v1{template}"), "status": status, "type": kind,
            "body": answer
        }));
        answer
    }

    /// A path without names is its own template.
    async fn get(&mut self, path: &str) -> Value {
        self.ask("GET", path, path, None).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_the_document_says_and_the_document_is_valid() {
    if !servers::python_has("openapi_spec_validator") {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::Embedded;
    let server = Running::start(data.path(), &broker).await;
    let http = server.http();
    let device = FakeDevice::connect(server.mqtt(&broker), "pump-1").await;
    device.presence(true).await;
    device.state(&"ab".repeat(32), "1.0.0", None).await;
    device.log(1, 1, "hello").await;
    wait_for("the device", || async {
        http.get("/api/v1/devices/pump-1").await.0 == 200
    })
    .await;
    let package = http.upload(&package("2.0.0")).await;
    let digest = package["digest"].as_str().unwrap();

    let mut on = Recorder {
        http,
        answers: vec![],
    };
    let one = "/devices/{id}";
    let groups = json!({"groups": ["lab"]});
    on.ask(
        "PUT",
        "/devices/{id}/groups",
        "/devices/pump-1/groups",
        Some(groups),
    )
    .await;
    let tags = json!({"set": {"site": "roof"}});
    on.ask(
        "PATCH",
        "/devices/{id}/tags",
        "/devices/pump-1/tags",
        Some(tags),
    )
    .await;
    let note = json!({"note": "by the door"});
    on.ask(
        "PUT",
        "/devices/{id}/note",
        "/devices/pump-1/note",
        Some(note),
    )
    .await;
    let query = json!({"query": "tag:site=roof"});
    on.ask("PUT", "/groups/{name}", "/groups/roof", Some(query))
        .await;

    let spec = json!({
        "name": "r1", "package": digest, "target": "group:lab", "waves": [{"name": "first", "count": 1}],
        "window": {"from": "00:00", "to": "23:59"}
    });
    let plan = json!({"spec": spec});
    on.ask("POST", "/rollouts/plan", "/rollouts/plan", Some(plan))
        .await;
    on.ask("POST", "/rollouts", "/rollouts", Some(spec)).await;
    on.ask(
        "POST",
        "/rollouts/{id}/{action}",
        "/rollouts/r1/cancel",
        None,
    )
    .await;
    let job = json!({"package": digest, "target": {"device": "pump-1"}, "job": "j1"});
    on.ask("POST", "/jobs", "/jobs", Some(job)).await;
    device.event(1, 1, "j1", "accepted").await;
    device.progress("j1", 1, 100).await;
    wait_for("the progress", || async {
        on.http.device("pump-1").await.progress.is_some()
    })
    .await;

    for list in [
        "/devices",
        "/packages",
        "/jobs",
        "/rollouts",
        "/groups",
        "/keys",
        "/audit",
        "/users",
        "/tokens",
        "/health",
        "/whoami",
    ] {
        on.get(list).await;
    }
    on.ask("GET", one, "/devices/pump-1", None).await;
    for below in ["updates", "samples", "events", "logs", "certificates"] {
        let template = format!("{one}/{below}");
        on.ask("GET", &template, &format!("/devices/pump-1/{below}"), None)
            .await;
    }
    on.ask(
        "GET",
        "/packages/{digest}",
        &format!("/packages/{digest}"),
        None,
    )
    .await;
    on.ask("GET", "/jobs/{id}", "/jobs/j1", None).await;
    on.ask("GET", "/jobs/{id}/devices", "/jobs/j1/devices", None)
        .await;
    on.ask("GET", "/rollouts/{id}", "/rollouts/r1", None).await;
    on.ask(
        "GET",
        "/rollouts/{id}/devices",
        "/rollouts/r1/devices",
        None,
    )
    .await;
    let logs = json!({"cmd": "logs", "lines": 10});
    on.ask(
        "POST",
        "/devices/{id}/commands",
        "/devices/pump-1/commands",
        Some(logs),
    )
    .await;
    on.ask(
        "POST",
        "/devices/{id}/cancel",
        "/devices/pump-1/cancel",
        None,
    )
    .await;
    on.ask("DELETE", "/groups/{name}", "/groups/roof", None)
        .await;
    let hook = json!({"url": "https://hooks.example/otaria"});
    let hook = on.ask("POST", "/webhooks", "/webhooks", Some(hook)).await;
    let hook = format!("/webhooks/{}", hook["id"].as_str().unwrap());
    on.get("/webhooks").await;
    on.ask("GET", "/webhooks/{id}", &hook, None).await;
    let deliveries = format!("{hook}/deliveries");
    on.ask("GET", "/webhooks/{id}/deliveries", &deliveries, None)
        .await;
    on.ask("DELETE", "/webhooks/{id}", &hook, None).await;
    // An error, by our word and by the router's.
    on.ask("GET", one, "/devices/nobody", None).await;
    on.ask("POST", "/jobs", "/jobs", Some(json!(1))).await;

    let (_, document) = http.get("/api/v1/openapi.json").await;
    server.shutdown().await;
    let input = json!({"document": document, "answers": on.answers});
    let output = python("openapi.py", input.to_string().as_bytes());
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
