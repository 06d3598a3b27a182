//! Brokers, devices and HTTP for tests of the whole server.
#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../otaria-sim/tests/servers/mod.rs"]
pub(crate) mod servers;

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use otaria_package::keys::SigningKey;
use otaria_package::pack::{Options, TimeStamp, pack};
use otaria_server::model::{Device, Health, Status};
use otaria_server::{Access, Config, Mqtt, RunningServer, Server};
use otaria_sim::images::Stamp;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, Publish};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Far longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());

/// A package of the demo firmware.
pub(crate) fn package(version: &str) -> Vec<u8> {
    let image = Stamp::new(version).size(48 * 1024).image();
    pack(
        &image,
        &KEY,
        &Options::new(TimeStamp {
            sequence: 1000,
            created: 1,
        }),
    )
    .unwrap()
    .bytes
}

/// Polls until something holds.
pub(crate) async fn wait_for<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until that many devices are connected and have said what they run.
pub(crate) async fn wait_for_fleet(http: Http, devices: usize) {
    wait_for("all devices", || async {
        let (_, page) = http
            .get("/api/v1/devices?query=online%20and%20version%3C2&limit=1000")
            .await;
        page["items"]
            .as_array()
            .is_some_and(|items| items.len() == devices)
    })
    .await;
}

/// Which broker a test runs with.
pub(crate) enum Broker {
    Embedded,
    Mosquitto(Mosquitto),
}

impl Broker {
    /// Mosquitto, unless it is missing and may be.
    pub(crate) fn mosquitto() -> Option<Self> {
        Mosquitto::start("").map(Self::Mosquitto)
    }
}

/// A Mosquitto with its own directory, on a port of its own.
pub(crate) struct Mosquitto {
    server: Box<servers::Server>,
    pub(crate) address: SocketAddr,
}

impl Mosquitto {
    /// With these lines more in its configuration.
    pub(crate) fn start(config: &str) -> Option<Self> {
        let server = servers::mosquitto(&format!(
            "allow_anonymous true\nmax_queued_messages 0\n{config}"
        ))?;
        let address = SocketAddr::from(([127, 0, 0, 1], server.port));
        Some(Self {
            server: Box::new(server),
            address,
        })
    }

    /// Reads its configuration again.
    pub(crate) fn reload(&self) {
        self.server.reload();
    }
}

/// A port that nobody has at this moment.
pub(crate) fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// A server in this process.
pub(crate) struct Running(RunningServer);

impl Running {
    pub(crate) async fn start(data: &Path, broker: &Broker) -> Self {
        Self::with(config(data, broker)).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let server = Server::start(config).await.unwrap();
        tokio::time::timeout(PATIENCE, server.connected())
            .await
            .expect("connected to the broker");
        Self(server)
    }

    pub(crate) fn http(&self) -> Http {
        Http(self.0.addresses.http)
    }

    pub(crate) fn mqtt(&self, broker: &Broker) -> SocketAddr {
        match broker {
            Broker::Embedded => self.0.addresses.mqtt.unwrap(),
            Broker::Mosquitto(mosquitto) => mosquitto.address,
        }
    }

    pub(crate) async fn shutdown(self) {
        self.0.shutdown().await;
    }
}

pub(crate) fn config(data: &Path, broker: &Broker) -> Config {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut config = Config::new(data);
    config.http = any;
    config.access = Access::Open;
    config.mqtt = match broker {
        Broker::Embedded => Mqtt::Embedded { listen: any },
        Broker::Mosquitto(mosquitto) => Mqtt::External(mosquitto.address.into()),
    };
    config
}

/// A plain HTTP client that shares nothing with the server.
#[derive(Clone, Copy)]
pub(crate) struct Http(SocketAddr);

impl Http {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self(address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = request(self.0, "GET", path, "", b"").await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let headers = "content-type: application/json\r\n";
        let (status, body) =
            request(self.0, "POST", path, headers, body.to_string().as_bytes()).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Status, media type without parameters, and body of an answer.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, String, Value) {
        let (headers, body) = match body {
            Some(body) => ("content-type: application/json\r\n", body.to_string()),
            None => ("", String::new()),
        };
        let answer = exchange(self.0, method, path, headers, body.as_bytes()).await;
        let kind = answer.header("content-type");
        let kind = kind.split(';').next().unwrap_or_default().to_owned();
        let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        (answer.status, kind, body)
    }

    pub(crate) async fn delete(&self, path: &str) -> u16 {
        request(self.0, "DELETE", path, "", b"").await.0
    }

    pub(crate) async fn upload(&self, package: &[u8]) -> Value {
        let headers = "content-type: application/octet-stream\r\n";
        let (status, body) = request(self.0, "POST", "/api/v1/packages", headers, package).await;
        assert!(status < 300, "{status} {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) async fn device(&self, id: &str) -> Device {
        let (status, device) = self.get(&format!("/api/v1/devices/{id}")).await;
        assert_eq!(status, 200, "{device}");
        serde_json::from_value(device).unwrap()
    }

    pub(crate) async fn wait_for_status(&self, device: &str, status: Status) {
        wait_for(status.name(), || async {
            self.device(device)
                .await
                .assignment
                .is_some_and(|assignment| assignment.status == status)
        })
        .await;
    }

    /// Waits until the broker has taken everything.
    pub(crate) async fn wait_until_sent(&self) {
        wait_for("the outbox to be empty", || async {
            let (_, health) = self.get("/api/v1/health").await;
            serde_json::from_value::<Health>(health).unwrap().outbox == 0
        })
        .await;
    }

    /// Gets a whole address, as a device does.
    pub(crate) async fn fetch(url: &str, range: Option<&str>) -> (u16, Vec<u8>) {
        let rest = url.strip_prefix("http://").unwrap();
        let (host, path) = rest.split_once('/').unwrap();
        let range = range
            .map(|range| format!("range: {range}\r\n"))
            .unwrap_or_default();
        request(
            host.parse().unwrap(),
            "GET",
            &format!("/{path}"),
            &range,
            b"",
        )
        .await
    }

    pub(crate) async fn open_stream(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /api/v1/stream HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            .await
            .unwrap();
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        stream
    }
}

/// An HTTP answer.
pub(crate) struct Answered {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answered {
    /// The value of a header field; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut values = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        values.next().map_or("", |(_, value)| value.trim())
    }
}

async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> (u16, Vec<u8>) {
    let answer = exchange(address, method, path, headers, body).await;
    (answer.status, answer.body)
}

pub(crate) async fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answered {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nhost: {address}\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a whole head");
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).unwrap();
    Answered {
        status: head[9..12].parse().unwrap(),
        head,
        body,
    }
}

/// Takes a client's session away from the broker.
pub(crate) async fn end_session(broker: SocketAddr, client_id: &str) {
    let mut options = MqttOptions::new(client_id, broker.ip().to_string(), broker.port());
    options.set_clean_start(true);
    let (client, mut events) = AsyncClient::new(options, 1);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => client.disconnect().await.unwrap(),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// An MQTT 5 client that plays a device.
pub(crate) struct FakeDevice {
    id: String,
    client: AsyncClient,
    received: mpsc::UnboundedReceiver<Publish>,
    acknowledged: tokio::sync::watch::Receiver<u64>,
    waiting: VecDeque<Publish>,
    task: tokio::task::JoinHandle<()>,
}

impl FakeDevice {
    /// Connects, with a Last Will, and subscribes to what is for it.
    pub(crate) async fn connect(broker: SocketAddr, id: &str) -> Self {
        let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options.set_keep_alive(Duration::from_secs(30));
        options
            .set_clean_start(false)
            .set_session_expiry_interval(Some(3600));
        let topic = format!("otaria/v1/{id}/presence");
        options.set_last_will(LastWill::new(
            topic,
            r#"{"online":false}"#,
            QoS::AtLeastOnce,
            true,
            None,
        ));
        let (client, mut events) = AsyncClient::new(options, 100);
        let (tell, received) = mpsc::unbounded_channel();
        let (count, acknowledged) = tokio::sync::watch::channel(0_u64);
        let task = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::Publish(publish))) => drop(tell.send(publish)),
                    Ok(Event::Incoming(Packet::PubAck(_) | Packet::SubAck(_))) => {
                        count.send_modify(|count| *count += 1);
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        let device = Self {
            id: id.to_owned(),
            client,
            received,
            acknowledged,
            waiting: VecDeque::new(),
            task,
        };
        device.subscribe(&format!("otaria/v1/{id}/desired")).await;
        device.subscribe(&format!("otaria/v1/{id}/cmd")).await;
        device
    }

    pub(crate) async fn subscribe(&self, filter: &str) {
        let before = *self.acknowledged.borrow();
        self.client
            .subscribe(filter, QoS::AtLeastOnce)
            .await
            .unwrap();
        self.answered(before).await;
    }

    /// Publishes and waits for the acknowledgement.
    pub(crate) async fn publish_to(&self, topic: &str, payload: &[u8], retain: bool) {
        let before = *self.acknowledged.borrow();
        self.client
            .publish(topic, QoS::AtLeastOnce, retain, payload.to_vec())
            .await
            .unwrap();
        self.answered(before).await;
    }

    async fn answered(&self, before: u64) {
        let mut acknowledged = self.acknowledged.clone();
        let answer = acknowledged.wait_for(|count| *count > before);
        tokio::time::timeout(PATIENCE, answer)
            .await
            .expect("an acknowledgement")
            .unwrap();
    }

    async fn publish(&self, leaf: &str, payload: &Value, retain: bool) {
        let topic = format!("otaria/v1/{}/{leaf}", self.id);
        self.publish_to(&topic, payload.to_string().as_bytes(), retain)
            .await;
    }

    pub(crate) async fn presence(&self, online: bool) {
        self.publish("presence", &json!({"online": online}), true)
            .await;
    }

    pub(crate) async fn state(&self, image: &str, version: &str, trial: Option<Value>) {
        let phase = if trial.is_some() { "trial" } else { "idle" };
        let state = json!({
            "device": self.id, "product": "otaria-demo", "version": version, "image_sha256": image, "sequence": 1,
            "security_version": 0, "chip": "esp32c3", "chip_rev": 4, "slot": 0, "trial": trial, "reset": "software",
            "boot": 1, "uptime_s": 1, "heap_free": 1, "heap_min": 1, "rssi": -60, "ip": "10.0.0.7",
            "bootloader_rollback": null, "job": null, "phase": phase
        });
        self.publish("state", &state, true).await;
    }

    pub(crate) async fn event(&self, boot: u32, n: u32, job: &str, kind: &str) {
        let event =
            json!({"install": "00000000000000aa", "boot": boot, "n": n, "job": job, "event": kind});
        self.publish("event", &event, false).await;
    }

    pub(crate) async fn progress(&self, job: &str, done: u32, total: u32) {
        let progress =
            json!({"job": job, "phase": "downloading", "done": done, "total": total, "rate": 1});
        self.publish("progress", &progress, false).await;
    }

    pub(crate) async fn log(&self, boot: u32, n: u32, text: &str) {
        let line = json!({"n": n, "boot": boot, "t_ms": 1, "level": "info", "text": text});
        self.publish("log", &line, false).await;
    }

    /// The next message under a topic's last level.
    pub(crate) async fn next(&mut self, leaf: &str) -> Publish {
        let wanted = |publish: &Publish| publish.topic.ends_with(format!("/{leaf}").as_bytes());
        if let Some(index) = self.waiting.iter().position(wanted) {
            return self.waiting.remove(index).unwrap();
        }
        loop {
            let publish = tokio::time::timeout(PATIENCE, self.received.recv())
                .await
                .unwrap_or_else(|_| panic!("waited in vain for {leaf}"))
                .unwrap();
            if wanted(&publish) {
                return publish;
            }
            self.waiting.push_back(publish);
        }
    }

    /// Whether nothing has come under a topic's last level, once everything sent before has come.
    pub(crate) async fn none(&mut self, leaf: &str) -> bool {
        // What the broker had for this session comes before the echo of what is published now.
        let echo = format!("otaria/v1/{}/echo", self.id);
        self.subscribe(&echo).await;
        self.publish_to(&echo, b"echo", false).await;
        self.next("echo").await;
        !self
            .waiting
            .iter()
            .any(|publish| publish.topic.ends_with(format!("/{leaf}").as_bytes()))
    }

    /// Everything that has come under a topic's last level so far.
    pub(crate) async fn all(&mut self, leaf: &str) -> Vec<Publish> {
        self.none(leaf).await;
        let (wanted, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|publish| publish.topic.ends_with(format!("/{leaf}").as_bytes()));
        self.waiting = rest.into();
        wanted
    }

    /// Loses power.
    pub(crate) async fn vanish(self) {
        self.task.abort();
        wait_for("the connection to end", || async {
            self.task.is_finished()
        })
        .await;
    }
}

impl Drop for FakeDevice {
    fn drop(&mut self) {
        self.task.abort();
    }
}
