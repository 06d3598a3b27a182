//! The server is killed with SIGKILL, over and over. What was answered has happened, and happens once.
//!
//! The server that is killed is this test program itself, started again with a directory in its environment.

mod common;
mod victim;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{FakeDevice, Mosquitto, free_port, package, wait_for};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use victim::{EMBEDDED, Victim, connected};

/// Not a test of its own: the server for the others.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_is_killed() {
    victim::serve_if_asked().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_while_the_broker_was_away_is_sent_after_a_kill_and_once() {
    let data = tempfile::tempdir().unwrap();
    let nobody = free_port();
    let victim = Victim::start(data.path(), nobody);
    let uploaded = victim.http.upload(&package("1.1.0")).await;
    let request =
        json!({"package": uploaded["digest"], "target": {"device": "d1"}, "unseen": true});
    let (status, published) = victim.http.post("/api/v1/jobs", &request).await;
    assert_eq!(status, 201, "{published}");
    victim.kill();

    let Some(broker) = Mosquitto::start("") else {
        return;
    };
    let mut device = FakeDevice::connect(broker.address, "d1").await;
    let victim = Victim::start(data.path(), broker.address);
    victim.http.wait_until_sent().await;
    let wishes = device.all("desired").await;
    let jobs: Vec<Value> = wishes
        .iter()
        .map(|wish| serde_json::from_slice(&wish.payload).unwrap())
        .collect();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["job"], published["job"]["id"]);
    victim.kill();

    // Once more, with everything acknowledged: nothing is left to send.
    let victim = Victim::start(data.path(), broker.address);
    connected(&victim.http).await;
    victim.http.wait_until_sent().await;
    assert!(device.all("desired").await.is_empty());
    victim.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_stored_twice_over_many_kills() {
    const ROUNDS: u32 = 6;
    const PER_ROUND: u32 = 7;
    let Some(broker) = Mosquitto::start("") else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let mut device = FakeDevice::connect(broker.address, "d1").await;
    let victim = Victim::start(data.path(), broker.address);
    connected(&victim.http).await;
    let digest = victim.http.upload(&package("1.1.0")).await["digest"].clone();
    device.presence(true).await;
    wait_for("the device", || async {
        victim.http.get("/api/v1/devices/d1").await.0 == 200
    })
    .await;

    let mut victim = Some(victim);
    let mut answered = Vec::new();
    let mut n = 0;
    for round in 0..ROUNDS {
        let server = victim
            .take()
            .unwrap_or_else(|| Victim::start(data.path(), broker.address));
        // Each round dies after another number of requests, at once: between commit, publish and acknowledgement.
        for index in 0..=round % PER_ROUND {
            let job = format!("r{round}-{index}");
            let request = json!({"package": digest, "target": {"device": "d1"}, "job": job});
            let (status, reply) = server.http.post("/api/v1/jobs", &request).await;
            assert_eq!(status, 201, "{reply}");
            answered.push(job);
            for _ in 0..5 {
                n += 1;
                device.event(1, n, "somebody-elses", "retrying").await;
            }
        }
        server.kill();
    }

    let server = Victim::start(data.path(), broker.address);
    connected(&server.http).await;
    server.http.wait_until_sent().await;
    let received: Vec<String> = device
        .all("desired")
        .await
        .iter()
        .map(|wish| {
            serde_json::from_slice::<Value>(&wish.payload).unwrap()["job"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let mut once = received.clone();
    once.dedup();
    // A message may come twice in a row (sent, then killed before the acknowledgement was stored), and one that a newer
    // decision has replaced need not come at all; none comes out of order.
    let mut rest = answered.iter();
    for job in &once {
        assert!(
            rest.any(|answered| answered == job),
            "{job} was not decided, or comes late in {received:?}"
        );
    }
    assert_eq!(
        once.last(),
        answered.last(),
        "the last word is the last decision"
    );
    let device_now = server.http.device("d1").await;
    assert_eq!(device_now.wish.unwrap().job.as_ref(), answered.last());

    wait_for("all events", || async {
        let (_, page) = server
            .http
            .get("/api/v1/devices/d1/events?limit=1000")
            .await;
        page["items"].as_array().unwrap().len() == n as usize
    })
    .await;
    server.kill();
}

/// Server and broker die together here, so there is no session that keeps what was on its way between them.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_embedded_broker_acknowledged_outlives_it() {
    const ROUNDS: u32 = 5;
    let data = tempfile::tempdir().unwrap();
    for round in 1..=ROUNDS {
        let server = Victim::with(data.path(), EMBEDDED);
        let device = FakeDevice::connect(server.mqtt, "d1").await;
        for n in 1..=round {
            device.event(round, n, "j", "failed").await;
        }
        server.kill();
    }
    let server = Victim::with(data.path(), EMBEDDED);
    let (_, page) = server
        .http
        .get("/api/v1/devices/d1/events?limit=1000")
        .await;
    let count = page["items"].as_array().map_or(0, Vec::len);
    assert_eq!(count, (ROUNDS * (ROUNDS + 1) / 2) as usize);
    server.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_declared_at_the_embedded_broker_outlives_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Victim::with(data.path(), EMBEDDED);
    let digest = server.http.upload(&package("1.1.0")).await["digest"].clone();
    let request = json!({"package": digest, "target": {"device": "d1"}, "unseen": true});
    assert_eq!(server.http.post("/api/v1/jobs", &request).await.0, 201);
    server.http.wait_until_sent().await;
    let operator = FakeDevice::connect(server.mqtt, "operator").await;
    let theirs = b"http://files.test/app.otaria";
    operator
        .publish_to("otaria/v1/d1/desired", theirs, true)
        .await;
    server.kill();

    let server = Victim::with(data.path(), EMBEDDED);
    let mut device = FakeDevice::connect(server.mqtt, "d1").await;
    assert_eq!(device.next("desired").await.payload, &theirs[..]);
    server.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_declares_what_was_decided_last_whenever_it_died() {
    let data = tempfile::tempdir().unwrap();
    let mut digest = Value::Null;
    for round in 0..6 {
        let server = Victim::with(data.path(), EMBEDDED);
        if round == 0 {
            digest = server.http.upload(&package("1.1.0")).await["digest"].clone();
        }
        let job = format!("job-{round}");
        let request =
            json!({"package": digest, "target": {"device": "d1"}, "job": job, "unseen": true});
        let (status, reply) = server.http.post("/api/v1/jobs", &request).await;
        assert_eq!(status, 201, "{reply}");
        let withdrawn = round % 2 == 1;
        if withdrawn {
            if round == 3 {
                server.http.wait_until_sent().await;
            }
            assert_eq!(
                server
                    .http
                    .post("/api/v1/devices/d1/cancel", &Value::Null)
                    .await
                    .0,
                200
            );
            if round == 5 {
                server.http.wait_until_sent().await;
            }
        }
        server.kill();

        let server = Victim::with(data.path(), EMBEDDED);
        server.http.wait_until_sent().await;
        // A session of its own each time: only what is retained counts.
        let mut observer = FakeDevice::connect(server.mqtt, &format!("observer-{round}")).await;
        observer.subscribe("otaria/v1/d1/desired").await;
        let retained: Vec<Value> = observer
            .all("desired")
            .await
            .iter()
            .map(|wish| serde_json::from_slice::<Value>(&wish.payload).unwrap()["job"].clone())
            .collect();
        let expected = if withdrawn { vec![] } else { vec![json!(job)] };
        assert_eq!(retained, expected, "round {round}");
        server.kill();
    }
}

/// Takes messages to a webhook.
struct Receiver {
    url: String,
    /// What it was sent, as webhook-id and device.
    sent: Arc<Mutex<Vec<(String, String)>>>,
    /// Whether it answers.
    answers: Arc<AtomicBool>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            url: format!("http://{}/", listener.local_addr().unwrap()),
            sent: Arc::default(),
            answers: Arc::default(),
        };
        let (sent, answers) = (Arc::clone(&receiver.sent), Arc::clone(&receiver.answers));
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(take(client, Arc::clone(&sent), Arc::clone(&answers)));
            }
        });
        receiver
    }

    /// Of each device, the ids under which it was told of.
    fn ids(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (id, device) in &*self.sent.lock().unwrap() {
            ids.entry(device.clone()).or_default().insert(id.clone());
        }
        ids
    }
}

async fn take(
    mut client: TcpStream,
    sent: Arc<Mutex<Vec<(String, String)>>>,
    answers: Arc<AtomicBool>,
) {
    let mut request = Vec::new();
    // The body ends it: an object that ends with one.
    while !request.ends_with(b"}}") {
        if client.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = String::from_utf8(request).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let id = head
        .lines()
        .find_map(|line| line.strip_prefix("webhook-id: "));
    let body: Value = serde_json::from_str(body).unwrap();
    let device = body["data"]["device"].as_str().unwrap().to_owned();
    sent.lock().unwrap().push((id.unwrap().to_owned(), device));
    if !answers.load(Ordering::Relaxed) {
        // Until whoever sent it is gone.
        let _ = client.read(&mut [0]).await;
        return;
    }
    let _ = client.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_is_to_be_told_arrives_under_one_id_whenever_the_server_is_killed() {
    const ROUNDS: usize = 4;
    let receiver = Receiver::start().await;
    let data = tempfile::tempdir().unwrap();
    let mut victim = Victim::with(data.path(), EMBEDDED);
    let new = json!({"url": receiver.url, "events": ["device.appeared"]});
    let (status, made) = victim.http.post("/api/v1/webhooks", &new).await;
    assert_eq!(status, 201, "{made}");
    let appear = async |victim: &Victim, n: usize| {
        let device = FakeDevice::connect(victim.mqtt, &format!("d{n}")).await;
        device.presence(true).await;
        device.state(&"ab".repeat(32), "1.0.0", None).await;
    };

    // In the middle of deliveries: two are under way, the others wait for them.
    for n in 0..5 {
        appear(&victim, n).await;
    }
    wait_for("a delivery", || async { !receiver.ids().is_empty() }).await;
    victim.kill();
    let cut_off = receiver.ids();
    receiver.answers.store(true, Ordering::Relaxed);

    // Between what happens and its delivery: the report was acknowledged a moment ago.
    for n in 5..5 + ROUNDS {
        victim = Victim::with(data.path(), EMBEDDED);
        appear(&victim, n).await;
        victim.kill();
    }
    let victim = Victim::with(data.path(), EMBEDDED);
    let list = format!(
        "/api/v1/webhooks/{}/deliveries",
        made["id"].as_str().unwrap()
    );
    let all_taken = async || {
        let (_, list) = victim.http.get(&list).await;
        let all = list["items"].as_array().unwrap();
        all.len() == 5 + ROUNDS && all.iter().all(|one| one["state"] == "delivered")
    };
    // What was under way is left alone for a minute, since another server may be at it.
    let deadline = Instant::now() + Duration::from_secs(150);
    while !all_taken().await {
        assert!(Instant::now() < deadline, "{:?}", receiver.ids());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let ids = receiver.ids();
    assert_eq!(ids.len(), 5 + ROUNDS, "{ids:?}");
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    let sent = receiver.sent.lock().unwrap();
    for device in cut_off.keys() {
        let times = sent.iter().filter(|(_, to)| to == device).count();
        assert!(times >= 2, "{device} was never told again: {sent:?}");
    }
}
