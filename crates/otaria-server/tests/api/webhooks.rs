//! Webhooks with a receiver that is not ours: Python, and the library of Standard Webhooks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use otaria_server::{Config, Server, Tls};
use serde_json::{Value, json};

use crate::common::{Broker, FakeDevice, Http, config, package, servers, wait_for};
use crate::scripts;

struct Receiver {
    process: Child,
    lines: Option<BufReader<ChildStdout>>,
    port: u16,
}

impl Receiver {
    fn start() -> Self {
        let mut process = Command::new(servers::python_program())
            .arg(scripts().join("webhook_receiver.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut port = String::new();
        lines.read_line(&mut port).unwrap();
        Self {
            process,
            lines: Some(lines),
            port: port.trim().parse().unwrap(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn secret(&mut self, secret: &str) {
        let mut input = self.process.stdin.take().unwrap();
        writeln!(input, "{secret}").unwrap();
        // Python waits for no more than a line.
        self.process.stdin = Some(input);
    }

    /// The next request that it got.
    async fn next(&mut self) -> Value {
        let mut lines = self.lines.take().unwrap();
        let (line, lines) = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            (line, lines)
        })
        .await
        .unwrap();
        self.lines = Some(lines);
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("'{line}'"))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn add(http: Http, url: &str, events: &[&str]) -> Value {
    let new = json!({"url": url, "events": events});
    let (status, made) = http.post("/api/v1/webhooks", &new).await;
    assert_eq!(status, 201, "{made}");
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_told_what_happens_and_can_prove_who_says_so() {
    if !servers::python_has("standardwebhooks") {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path(), &Broker::Embedded);
    config.webhooks_to_private = true;
    let server = Server::start(config).await.unwrap();
    server.connected().await;
    let http = Http::at(server.addresses.http);
    let mut receiver = Receiver::start();
    let made = add(http, &receiver.url("/flaky"), &[]).await;
    let (id, secret) = (
        made["id"].as_str().unwrap(),
        made["secret"].as_str().unwrap(),
    );
    receiver.secret(secret);
    let (_, shown) = http.get(&format!("/api/v1/webhooks/{id}")).await;
    assert_eq!(shown.get("secret"), None, "it is shown once");

    let device = FakeDevice::connect(server.addresses.mqtt.unwrap(), "pump-1").await;
    device.presence(true).await;
    device.state(&"ab".repeat(32), "1.0.0", None).await;
    let first = receiver.next().await;
    assert_eq!(first["type"], "device.appeared");
    assert_eq!(first["data"], json!({"device": "pump-1"}));
    assert_eq!(
        (&first["genuine"], &first["status"]),
        (&json!(true), &json!(500))
    );
    let again = receiver.next().await;
    assert_eq!(
        (&again["id"], &again["status"]),
        (&first["id"], &json!(204))
    );
    assert_eq!(again["genuine"], true, "each try is signed anew");

    let package = http.upload(&package("2.0.0")).await;
    let job = json!({"package": package["digest"], "target": {"device": "pump-1"}, "job": "j1"});
    assert_eq!(http.post("/api/v1/jobs", &job).await.0, 201);
    device.event(1, 1, "j1", "accepted").await;
    device.event(1, 2, "j1", "failed").await;
    let failed = receiver.next().await;
    assert_eq!(failed["type"], "update.failed");
    assert_eq!(
        (
            &failed["data"]["device"],
            &failed["data"]["job"],
            &failed["data"]["status"]
        ),
        (&json!("pump-1"), &json!("j1"), &json!("failed"))
    );
    assert_eq!(receiver.next().await["id"], failed["id"]);
    let image = package["image_sha256"].as_str().unwrap();
    device.event(1, 3, "j1", "resumed").await;
    device.state(image, "2.0.0", None).await;
    assert_eq!(receiver.next().await["type"], "update.confirmed");
    assert_eq!(receiver.next().await["status"], 204);

    let list = format!("/api/v1/webhooks/{id}/deliveries");
    wait_for("the messages to be taken", || async {
        let (_, list) = http.get(&list).await;
        let all = list["items"].as_array().unwrap();
        all.len() == 3
            && all
                .iter()
                .all(|one| one["state"] == "delivered" && one["tries"] == 2)
    })
    .await;
    assert_eq!(http.delete(&format!("/api/v1/webhooks/{id}")).await, 204);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_and_a_receiver_that_wants_no_more_is_left_alone() {
    if !servers::python_has("standardwebhooks") {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path(), &Broker::Embedded);
    config.webhooks_to_private = true;
    let server = Server::start(config).await.unwrap();
    let http = Http::at(server.addresses.http);
    let mut receiver = Receiver::start();
    receiver.secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    for (path, said) in [
        ("/elsewhere", "redirects are not followed"),
        ("/gone", "wants no more"),
    ] {
        let made = add(http, &receiver.url(path), &["update.failed"]).await;
        let id = made["id"].as_str().unwrap();
        let test = format!("/api/v1/webhooks/{id}/test");
        let (status, sent) = http.post(&test, &json!({})).await;
        assert_eq!(
            (status, &sent["state"]),
            (200, &json!("given_up")),
            "{sent}"
        );
        assert!(sent["reason"].as_str().unwrap().contains(said), "{sent}");
        let got = receiver.next().await;
        assert_eq!(
            (&got["path"], &got["type"]),
            (&json!(path), &json!("webhook.test"))
        );
        assert_eq!(
            got["genuine"], false,
            "the receiver has the secret of somebody else"
        );
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_this_machine_is_refused_when_it_is_resolved() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(config(data.path(), &Broker::Embedded))
        .await
        .unwrap();
    let http = Http::at(server.addresses.http);
    for (url, said) in [
        ("https://127.0.0.1:1/", "not an address of the Internet"),
        ("http://hooks.example/", "--webhooks-to-private"),
    ] {
        let (status, problem) = http.post("/api/v1/webhooks", &json!({"url": url})).await;
        assert_eq!(status, 400, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(said),
            "{problem}"
        );
    }
    // Only the resolver knows what this is, and something does listen there.
    let url = format!("https://localhost:{}/", http.address().port());
    let made = add(http, &url, &[]).await;
    let test = format!("/api/v1/webhooks/{}/test", made["id"].as_str().unwrap());
    let (_, sent) = http.post(&test, &json!({})).await;
    let reason = sent["reason"].as_str().unwrap();
    assert!(
        reason.contains("is not an address of the Internet"),
        "{sent}"
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_with_an_authority_of_its_own_is_reached_once_that_is_given() {
    // Any server with TLS is one: it answers a message with what it thinks of it.
    let dir = tempfile::tempdir().unwrap();
    let mut receiving = config(&dir.path().join("receiver"), &Broker::Embedded);
    receiving.tls = Some(Tls::default());
    let receiver = Server::start(receiving).await.unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, receiver.server_ca.as_deref().unwrap()).unwrap();
    let url = format!("https://127.0.0.1:{}/hook", receiver.addresses.http.port());
    for (webhook_ca, expected) in [(None, false), (Some(ca), true)] {
        let name = format!("sender-{expected}");
        let config = Config {
            webhooks_to_private: true,
            webhook_ca,
            ..config(&dir.path().join(name), &Broker::Embedded)
        };
        let sender = Server::start(config).await.unwrap();
        let http = Http::at(sender.addresses.http);
        let made = add(http, &url, &[]).await;
        let test = format!("/api/v1/webhooks/{}/test", made["id"].as_str().unwrap());
        let (status, came) = http.post(&test, &json!({})).await;
        assert_eq!(status, 200, "{came}");
        let reason = came["reason"].as_str().unwrap();
        // It knows no such page, but to say so it was reached.
        assert_eq!(reason.starts_with("404"), expected, "{reason}");
        sender.shutdown().await;
    }
    receiver.shutdown().await;
}
