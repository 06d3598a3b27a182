//! Metrics, read by the parser of Prometheus's own client library.

use serde_json::{Value, json};

use crate::common::{Broker, FakeDevice, Http, Running, exchange, package, servers, wait_for};
use crate::python;

struct Metrics(Value);

impl Metrics {
    async fn of(http: Http) -> Self {
        let answer = exchange(http.address(), "GET", "/metrics", "", b"").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("content-type"),
            "text/plain; version=0.0.4; charset=utf-8"
        );
        let output = python("metrics.py", &answer.body);
        assert!(output.status.success(), "{output:?}");
        Self(serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The value of the one sample with these labels.
    fn value(&self, family: &str, sample: &str, labels: &Value) -> f64 {
        let samples = self.0[family]["samples"].as_array();
        let samples = samples.unwrap_or_else(|| panic!("no {family} in {}", self.0));
        let mut found = samples
            .iter()
            .filter(|found| found[0] == sample && found[1] == *labels);
        let (Some(one), None) = (found.next(), found.next()) else {
            panic!("no one {sample} {labels} in {samples:?}");
        };
        one[2].as_f64().unwrap()
    }

    fn gauge(&self, name: &str, labels: &Value) -> f64 {
        assert_eq!(self.0[name]["type"], "gauge", "{name}");
        self.value(name, name, labels)
    }

    fn counter(&self, name: &str, labels: &Value) -> f64 {
        assert_eq!(self.0[name]["type"], "counter", "{name}");
        self.value(name, &format!("{name}_total"), labels)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_what_a_fleet_does() {
    if !servers::python_has("prometheus_client") {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::Embedded;
    let server = Running::start(data.path(), &broker).await;
    let http = server.http();
    let none = json!({});
    let before = Metrics::of(http).await;
    assert_eq!(
        before.gauge("otaria_devices", &json!({"presence": "online"})),
        0.0
    );
    assert_eq!(
        before.gauge("otaria_broker_sessions", &none),
        1.0,
        "the server's own"
    );

    let device = FakeDevice::connect(server.mqtt(&broker), "pump-1").await;
    device.presence(true).await;
    device.state(&"ab".repeat(32), "1.0.0", None).await;
    wait_for("the device", || async {
        let (status, device) = http.get("/api/v1/devices/pump-1").await;
        status == 200 && device["state"] != Value::Null
    })
    .await;
    let bytes = package("2.0.0");
    let package = http.upload(&bytes).await;
    let job = json!({"package": package["digest"], "target": {"device": "pump-1"}, "job": "j1"});
    assert_eq!(http.post("/api/v1/jobs", &job).await.0, 201);
    http.wait_until_sent().await;
    let url = package["url"].as_str().unwrap();
    assert_eq!(Http::fetch(url, Some("bytes=0-99")).await.1.len(), 100);
    assert_eq!(Http::fetch(url, None).await.1.len(), bytes.len());
    let spec = json!({"name": "r1", "package": package["digest"], "target": "all"});
    assert_eq!(http.post("/api/v1/rollouts", &spec).await.0, 201);
    assert_eq!(http.get("/no/such/page").await.0, 404);

    let after = Metrics::of(http).await;
    assert_eq!(
        after.gauge("otaria_devices", &json!({"presence": "online"})),
        1.0
    );
    assert_eq!(
        after.gauge("otaria_devices", &json!({"presence": "offline"})),
        0.0
    );
    assert_eq!(after.gauge("otaria_broker_sessions", &none), 2.0);
    assert_eq!(
        after.gauge("otaria_updates", &json!({"status": "failed"})),
        0.0
    );
    let open: f64 = ["pending", "superseded"]
        .iter()
        .map(|status| after.gauge("otaria_updates", &json!({"status": status})))
        .sum();
    assert!(
        open >= 1.0,
        "the job, and the rollout's own if it came to that"
    );
    assert_eq!(
        after.gauge("otaria_rollouts", &json!({"state": "running"})),
        1.0
    );
    assert!(after.gauge("otaria_outbox_messages", &none) <= 1.0);
    assert!(after.gauge("otaria_outbox_age_seconds", &none) < 60.0);
    assert!(after.counter("otaria_messages_received", &none) >= 2.0);
    assert!(after.counter("otaria_messages_sent", &none) >= 1.0);
    assert!(after.counter("otaria_broker_publishes_received", &none) >= 3.0);
    let downloaded = after.counter("otaria_download_bytes", &none);
    assert_eq!(downloaded, 100.0 + bytes.len() as f64);

    let jobs = json!({"method": "POST", "route": "/api/v1/jobs", "status": "201"});
    assert_eq!(after.counter("otaria_http_requests", &jobs), 1.0);
    // Names in addresses, and addresses that there are not, make no series of their own.
    let device = json!({"method": "GET", "route": "/api/v1/devices/{id}", "status": "200"});
    assert!(after.counter("otaria_http_requests", &device) >= 1.0);
    let nothing = json!({"method": "GET", "route": "none", "status": "404"});
    assert_eq!(after.counter("otaria_http_requests", &nothing), 1.0);
    let (family, route) = (
        "otaria_http_request_seconds",
        json!({"method": "POST", "route": "/api/v1/jobs"}),
    );
    assert_eq!(after.0[family]["type"], "histogram");
    assert_eq!(after.value(family, &format!("{family}_count"), &route), 1.0);
    if cfg!(target_os = "linux") {
        let resident = after.gauge("process_resident_memory_bytes", &none);
        assert!((1e6..1e11).contains(&resident), "{resident}");
    }
    server.shutdown().await;
}
