//! Devices in Home Assistant. Its part is played by an MQTT client at a broker of its own, and what that gets is checked against
//! the schemas of a released Home Assistant.

mod common;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Broker, FakeDevice, Http, Mosquitto, config, package, wait_for};
use otaria_server::{BrokerTls, HomeAssistant, RunningServer, Server};
use serde_json::{Value, json};

/// Home Assistant, as far as it is an MQTT client.
struct Home {
    client: FakeDevice,
    /// Everything that it was told, for the schemas.
    configs: Vec<String>,
    states: Vec<String>,
}

impl Home {
    async fn at(broker: &Mosquitto) -> Self {
        let client = FakeDevice::connect(broker.address, "home-assistant").await;
        client.subscribe("homeassistant/#").await;
        client.subscribe("otaria/home-assistant/#").await;
        Self {
            client,
            configs: Vec::new(),
            states: Vec::new(),
        }
    }

    async fn config(&mut self) -> (String, Value) {
        let message = self.client.next("config").await;
        let payload = String::from_utf8(message.payload.to_vec()).unwrap();
        let parsed = serde_json::from_str(&payload).unwrap_or(Value::Null);
        if !payload.is_empty() {
            self.configs.push(payload);
        }
        (String::from_utf8(message.topic.to_vec()).unwrap(), parsed)
    }

    /// Reads states until one is as expected.
    async fn state(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.client.next("state").await;
            let payload = String::from_utf8(message.payload.to_vec()).unwrap();
            let state: Value = serde_json::from_str(&payload).unwrap();
            self.states.push(payload);
            if is_it(&state) {
                return state;
            }
        }
    }

    async fn available(&mut self, topic: &str, expected: &str) {
        loop {
            let message = self.client.next("availability").await;
            if message.topic == topic.as_bytes() && &*message.payload == expected.as_bytes() {
                return;
            }
        }
    }

    async fn press_install(&self, device: &str) {
        let topic = format!("otaria/home-assistant/{device}/install");
        self.client.publish_to(&topic, b"install", false).await;
    }
}

async fn serve(data: &std::path::Path, home: &Mosquitto) -> RunningServer {
    let mut config = config(data, &Broker::Embedded);
    config.home_assistant = Some(HomeAssistant {
        broker: home.address.into(),
        tls: BrokerTls::default(),
    });
    let server = Server::start(config).await.unwrap();
    server.connected().await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_an_update_entity_of_home_assistant() {
    let Some(broker) = Mosquitto::start("") else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path(), &broker).await;
    let http = Http::at(server.addresses.http);
    let mut home = Home::at(&broker).await;

    let mut device = FakeDevice::connect(server.addresses.mqtt.unwrap(), "pump-7").await;
    device.presence(true).await;
    device.state(&"00".repeat(32), "1.0.0", None).await;

    let (topic, mut config) = home.config().await;
    while config["dev"]["sw"] != "1.0.0" {
        config = home.config().await.1;
    }
    assert_eq!(topic, "homeassistant/device/otaria_pump-7/config");
    let entity = &config["cmps"]["firmware"];
    assert_eq!(
        (&entity["p"], &entity["stat_t"], &entity["cmd_t"]),
        (
            &json!("update"),
            &json!("otaria/home-assistant/pump-7/state"),
            &json!("otaria/home-assistant/pump-7/install")
        )
    );
    home.available("otaria/home-assistant/pump-7/availability", "online")
        .await;
    let state = home
        .state(|state| state["installed_version"] == "1.0.0")
        .await;
    assert_eq!(state["latest_version"], "1.0.0", "there is nothing newer");

    // A package is uploaded, and nobody has to say so.
    let uploaded = http.upload(&package("1.1.0")).await;
    let state = home.state(|state| state["latest_version"] == "1.1.0").await;
    assert_eq!(state["in_progress"], false);

    home.press_install("pump-7").await;
    let wish: Value = serde_json::from_slice(&device.next("desired").await.payload).unwrap();
    assert_eq!(wish["version"], "1.1.0");
    let job = wish["job"].as_str().unwrap().to_owned();
    home.state(|state| state["in_progress"] == true).await;

    // A second press while the device is at it makes no second job.
    home.press_install("pump-7").await;
    device.event(1, 1, &job, "accepted").await;
    device.progress(&job, 42, 100).await;
    home.state(|state| state["update_percentage"] == 42).await;
    assert!(device.none("desired").await);

    let image = uploaded["image_sha256"].as_str().unwrap();
    device.event(2, 1, &job, "confirmed").await;
    device.state(image, "1.1.0", None).await;
    let state = home
        .state(|state| state["installed_version"] == "1.1.0" && state["in_progress"] == false)
        .await;
    assert_eq!(
        (&state["latest_version"], &state["update_percentage"]),
        (&json!("1.1.0"), &Value::Null)
    );

    // Home Assistant starts anew, and hears of everything again.
    home.client.all("config").await;
    let client = &home.client;
    client
        .publish_to("homeassistant/status", b"online", false)
        .await;
    assert_eq!(home.config().await.1["dev"]["sw"], "1.1.0");

    device.vanish().await;
    home.available("otaria/home-assistant/pump-7/availability", "offline")
        .await;
    assert_eq!(http.delete("/api/v1/devices/pump-7").await, 204);
    loop {
        if home.config().await.1 == Value::Null {
            break;
        }
    }
    server.shutdown().await;
    home.available("otaria/home-assistant/availability", "offline")
        .await;
    as_home_assistant_takes_it(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_an_update_failed_is_said_and_a_press_that_was_kept_counts_for_nothing() {
    let Some(broker) = Mosquitto::start("") else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let mut home = Home::at(&broker).await;
    home.client
        .publish_to("otaria/home-assistant/pump-7/install", b"install", true)
        .await;
    let server = serve(data.path(), &broker).await;
    let http = Http::at(server.addresses.http);
    http.upload(&package("1.1.0")).await;
    let mut device = FakeDevice::connect(server.addresses.mqtt.unwrap(), "pump-7").await;
    device.presence(true).await;
    device.state(&"00".repeat(32), "1.0.0", None).await;
    home.state(|state| state["latest_version"] == "1.1.0").await;
    assert!(device.none("desired").await);

    home.press_install("pump-7").await;
    let wish: Value = serde_json::from_slice(&device.next("desired").await.payload).unwrap();
    let job = wish["job"].as_str().unwrap();
    device.event(1, 1, job, "rolled_back").await;
    let state = home
        .state(|state| {
            state["release_summary"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        })
        .await;
    assert_eq!(state["in_progress"], false);
    assert!(
        state["release_summary"]
            .as_str()
            .unwrap()
            .starts_with("1.1.0: rolled back"),
        "{state}"
    );

    // Somebody else's business, and what no device is called.
    for topic in [
        "otaria/home-assistant/nobody/install",
        "otaria/home-assistant/install",
    ] {
        home.client.publish_to(topic, b"install", false).await;
    }
    wait_for("the server to go on", || async {
        http.device("pump-7").await.online
    })
    .await;
    server.shutdown().await;
    as_home_assistant_takes_it(&home);
}

/// The schemas, which `cargo xtask test` gets from the package index.
fn as_home_assistant_takes_it(home: &Home) {
    let Some(wheel) = common::servers::fetched("OTARIA_HOME_ASSISTANT") else {
        return;
    };
    let script =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/home_assistant.py");
    let mut check = Command::new(common::servers::python_program())
        .arg(script)
        .arg(wheel)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let messages = json!({"config": home.configs, "state": home.states});
    let mut input = check.stdin.take().unwrap();
    input.write_all(messages.to_string().as_bytes()).unwrap();
    drop(input);
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!home.states.is_empty());
}
