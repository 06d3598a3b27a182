//! A device that is played by an MQTT client.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{Client, Event, MqttOptions};
use serde_json::{Value, json};

use super::PATIENCE;
use super::site::Server;

/// An MQTT 5 client that plays a device.
pub(super) struct Device {
    pub(super) id: String,
    pub(super) client: Client,
    pub(super) received: Receiver<Publish>,
    pub(super) acknowledged: Receiver<()>,
}

impl Device {
    pub(super) fn connect(broker: SocketAddr, id: &str) -> Self {
        let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options.set_keep_alive(Duration::from_secs(30));
        let (client, mut connection) = Client::new(options, 100);
        let (tell, received) = channel();
        let (done, acknowledged) = channel();
        std::thread::spawn(move || {
            for event in connection.iter() {
                let told = match event {
                    Ok(Event::Incoming(Packet::Publish(publish))) => tell.send(publish).is_ok(),
                    Ok(Event::Incoming(Packet::PubAck(_) | Packet::SubAck(_))) => {
                        done.send(()).is_ok()
                    }
                    Ok(_) => true,
                    Err(_) => false,
                };
                if !told {
                    return;
                }
            }
        });
        let device = Self {
            id: id.to_owned(),
            client,
            received,
            acknowledged,
        };
        for leaf in ["desired", "cmd"] {
            device
                .client
                .subscribe(format!("otaria/v1/{id}/{leaf}"), QoS::AtLeastOnce)
                .unwrap();
            device.acknowledged.recv_timeout(PATIENCE).unwrap();
        }
        device
    }

    pub(super) fn publish(&self, leaf: &str, retain: bool, payload: &Value) {
        self.publish_raw(leaf, retain, payload.to_string());
    }

    pub(super) fn publish_raw(&self, leaf: &str, retain: bool, payload: String) {
        let topic = format!("otaria/v1/{}/{leaf}", self.id);
        self.client
            .publish(topic, QoS::AtLeastOnce, retain, payload)
            .unwrap();
        self.acknowledged.recv_timeout(PATIENCE).unwrap();
    }

    /// Connected, and running an image.
    pub(super) fn runs(&self, image: &str, version: &str) {
        self.publish("presence", true, &json!({"online": true}));
        let state = json!({
            "device": self.id, "product": "otaria-demo", "version": version, "image_sha256": image, "sequence": 1,
            "security_version": 0, "chip": "esp32c3", "chip_rev": 4, "slot": 0, "trial": null, "reset": "software",
            "boot": 1, "uptime_s": 1, "heap_free": 100_000, "heap_min": 90_000, "rssi": -60, "ip": "10.0.0.7",
            "bootloader_rollback": null, "job": null, "phase": "idle"
        });
        self.publish("state", true, &state);
    }

    pub(super) fn event(&self, n: u32, job: &str, kind: &str, code: Option<u16>) {
        self.say(json!({"n": n, "job": job, "event": kind, "code": code}));
    }

    /// The last report of an update that went well, with where its time went.
    pub(super) fn confirms(&self, n: u32, job: &str) {
        let timing = json!({
            "connect_ms": 120, "tls_ms": 0, "receive_ms": 3_250, "erase_ms": 400, "write_ms": 900, "verify_ms": 100,
            "total_ms": 17_849, "bytes": 384_000, "heap_min": 80_000, "rssi": -60, "confirm_ms": 12_000, "reconnects": 1
        });
        self.say(json!({"n": n, "job": job, "event": "confirmed", "timing": timing}));
    }

    pub(super) fn say(&self, mut event: Value) {
        event["install"] = json!("00000000000000aa");
        event["boot"] = json!(1);
        self.publish("event", false, &event);
    }

    pub(super) fn next(&self, leaf: &str) -> Publish {
        loop {
            let publish = self.received.recv_timeout(PATIENCE).unwrap();
            if publish.topic.ends_with(leaf.as_bytes()) {
                return publish;
            }
        }
    }

    pub(super) fn wish(&self) -> Value {
        serde_json::from_slice(&self.next("desired").payload).unwrap()
    }
}

/// A device that the server knows.
pub(super) fn known_device(server: &Server, id: &str) -> Device {
    let device = Device::connect(server.mqtt, id);
    device.runs(&"00".repeat(32), "1.0.0");
    let deadline = Instant::now() + PATIENCE;
    while !server
        .run(&["device", id, "--json"])
        .out
        .contains("\"1.0.0\"")
    {
        assert!(
            Instant::now() < deadline,
            "the server does not hear of {id}"
        );
    }
    device
}
