//! Whole updates in real time, with Mosquitto as the broker, `mosquitto_pub` as the operator, and nginx and Python's `http.server`
//! for the packages. The device is simulated; its code is not.

#[path = "../../otaria-package/tests/common/mod.rs"]
mod common;
mod servers;

use std::sync::Arc;
use std::time::Duration;

use otaria_package::keys::SigningKey;
use otaria_package::pack::{CodecChoice, Options, TimeStamp, pack};
use otaria_sim::device::{Hardware, Settings};
use otaria_sim::flash::{OpKind, Timing};
use otaria_sim::fleet::{Blueprint, Fleet};
use otaria_sim::images::Stamp;
use otaria_sim::real::RadioConfig;
use otaria_wire::Sha256Digest;
use otaria_wire::messages::{Event, EventKind, Progress};
use otaria_wire::partitions::{Layout, PartitionTable, default_4mb_partitions, encode};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, EventLoop, MqttOptions};

const PRODUCT: &str = "pump";
const SIZE: usize = 192 * 1024;
const DESIRED: &str = "otaria/v1/d1/desired";
const LIMIT: Duration = Duration::from_secs(120);

struct Update {
    package: Vec<u8>,
    image: Sha256Digest,
    key: SigningKey,
}

/// A stored package, so that a block in the file is a block in flash.
fn update() -> Update {
    let key = SigningKey::generate().unwrap();
    let image = Stamp::new("1.1.0").project(PRODUCT).size(SIZE).image();
    let stamp = TimeStamp {
        sequence: 2,
        created: 2,
    };
    let options = Options {
        codec: CodecChoice::Stored,
        ..Options::new(stamp)
    };
    let package = pack(&image, &key, &options).unwrap().bytes;
    Update {
        package,
        image: Sha256Digest::of(&image),
        key,
    }
}

fn device(key: &SigningKey, broker_port: u16) -> Fleet {
    let keys = [key.public_key().to_sec1()];
    let mut settings = Settings::new("d1", PRODUCT, &keys, "127.0.0.1", broker_port).unwrap();
    settings.timing.progress = Duration::from_secs(1).into();
    settings.timing.policy.grace = Duration::from_millis(300).into();
    let image: Arc<[u8]> = Stamp::new("1.0.0")
        .project(PRODUCT)
        .size(SIZE)
        .image()
        .into();
    let radio = RadioConfig {
        bits_per_second: 500_000,
        latency: Duration::from_millis(5),
    };
    let hardware = Hardware::default();
    let blueprint = Blueprint {
        settings,
        image,
        flash: None,
        hardware,
        timing: Timing::W25Q,
        log_flash: true,
        radio,
        seed: 7,
    };
    Fleet::start(vec![blueprint]).unwrap()
}

/// What an operator hears.
struct Operator {
    _client: AsyncClient,
    events: EventLoop,
}

impl Operator {
    async fn listen(port: u16) -> Self {
        let (client, mut events) =
            AsyncClient::new(MqttOptions::new("operator", "127.0.0.1", port), 16);
        for topic in ["event", "progress"] {
            client
                .subscribe(format!("otaria/v1/d1/{topic}"), QoS::AtLeastOnce)
                .await
                .unwrap();
        }
        let mut granted = 0;
        while granted < 2 {
            granted += usize::from(matches!(
                events.poll().await.unwrap(),
                rumqttc::v5::Event::Incoming(Packet::SubAck(_))
            ));
        }
        Operator {
            _client: client,
            events,
        }
    }

    async fn message(&mut self) -> (String, Vec<u8>) {
        loop {
            let event = tokio::time::timeout(LIMIT, self.events.poll())
                .await
                .expect("the device says nothing more");
            if let rumqttc::v5::Event::Incoming(Packet::Publish(publish)) = event.unwrap() {
                return (
                    String::from_utf8(publish.topic.to_vec()).unwrap(),
                    publish.payload.to_vec(),
                );
            }
        }
    }

    /// Waits until at least this many bytes are in flash.
    async fn progress(&mut self, at_least: u32) {
        loop {
            let (topic, payload) = self.message().await;
            if topic.ends_with("/progress")
                && serde_json::from_slice::<Progress>(&payload).unwrap().done >= at_least
            {
                return;
            }
        }
    }

    /// All events up to the final one.
    async fn until_the_end(&mut self) -> Vec<EventKind> {
        let mut kinds = Vec::new();
        loop {
            let (topic, payload) = self.message().await;
            if topic.ends_with("/event") {
                let event: Event = serde_json::from_slice(&payload).unwrap();
                kinds.push(event.event);
                if event.event.is_final() {
                    return kinds;
                }
            }
        }
    }
}

fn layout() -> Layout {
    let table = encode(&default_4mb_partitions()).unwrap();
    Layout::from_table(&PartitionTable::parse(&table).unwrap()).unwrap()
}

/// Espressif's tool finds what lies in the slot valid, and would have noticed a flipped byte.
fn esptool_approves(image: &[u8]) {
    if !common::python_has("esptool") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let verdict = common::esptool::image_info(image, dir.path());
    assert_eq!(
        (verdict.checksum.as_str(), verdict.hash.as_str()),
        ("valid", "valid")
    );
    let mut flipped = image.to_vec();
    flipped[image.len() / 2] ^= 1;
    let verdict = common::esptool::image_info(&flipped, dir.path());
    assert_ne!(verdict.checksum, "valid");
    assert_ne!(verdict.hash, "valid");
}

/// A device is updated by a bare URL, loses its power a third of the way, and goes on: each byte of the slot is written once and
/// each of its sectors is erased once.
async fn update_with_an_interruption(broker: &servers::Server, url: &str, update: &Update) {
    let mut operator = Operator::listen(broker.port).await;
    let fleet = device(&update.key, broker.port);
    assert!(servers::mosquitto_pub(broker.port, DESIRED, url, true));
    operator.progress(SIZE as u32 / 3).await;
    fleet.cut_power(0, Duration::from_millis(200));
    let events = operator.until_the_end().await;
    assert!(events.contains(&EventKind::Resumed), "{events:?}");
    assert_eq!(events.last(), Some(&EventKind::Confirmed), "{events:?}");
    let inspections = fleet.inspect().await.unwrap();
    let found = &inspections[0];
    assert_eq!(found.boots, Some(("1.1.0".to_owned(), update.image)));
    assert!(!found.on_trial);
    let slot = layout().slots[1];
    esptool_approves(&fleet.read_flash(0).await.unwrap()[slot.offset as usize..][..SIZE]);
    let inside = |addr: u32| (slot.offset..slot.offset + slot.len).contains(&addr);
    let written: u32 = found
        .ops
        .iter()
        .filter(|op| op.kind == OpKind::Write && inside(op.addr))
        .map(|op| op.len)
        .sum();
    // What was under way at the cut is a single block of 16 KiB.
    let again = written - SIZE as u32;
    assert!(again <= 16 * 1024, "{again} bytes were written twice");
    let sectors = slot.offset / 4096..(slot.offset + SIZE as u32) / 4096;
    let most = sectors.map(|sector| found.wear[sector as usize]).max();
    assert!(
        most <= Some(2),
        "a sector was erased {most:?} times, and only one erase can have been cut"
    );
}

#[tokio::test]
async fn a_bare_url_on_mosquitto_and_a_package_on_nginx_update_a_device_through_a_power_cut() {
    let update = update();
    let Some(broker) = servers::mosquitto("allow_anonymous true") else {
        return;
    };
    let Some(web) = servers::nginx(&[("pump.otaria", &update.package)], "") else {
        return;
    };
    update_with_an_interruption(&broker, &web.url("pump.otaria"), &update).await;
    let requests = std::fs::read_to_string(web.dir.path().join("requests")).unwrap();
    let ranges = requests
        .lines()
        .filter(|line| line.contains(" 206 bytes="))
        .count();
    assert_eq!(ranges, 1, "{requests}");
}

#[tokio::test]
async fn a_server_that_ignores_ranges_costs_traffic_but_no_flash() {
    let update = update();
    let Some(broker) = servers::mosquitto("allow_anonymous true") else {
        return;
    };
    let Some(web) = servers::python(&[("pump.otaria", &update.package)]) else {
        return;
    };
    update_with_an_interruption(&broker, &web.url("pump.otaria"), &update).await;
}

#[tokio::test]
async fn a_page_instead_of_a_package_is_refused_and_the_old_image_stays() {
    let update = update();
    let Some(broker) = servers::mosquitto("allow_anonymous true") else {
        return;
    };
    let Some(web) = servers::nginx(&[("index.html", b"<html>welcome</html>")], "") else {
        return;
    };
    let mut operator = Operator::listen(broker.port).await;
    let fleet = device(&update.key, broker.port);
    assert!(servers::mosquitto_pub(
        broker.port,
        DESIRED,
        &web.url("index.html"),
        true
    ));
    assert_eq!(
        operator.until_the_end().await.last(),
        Some(&EventKind::Refused)
    );
    assert_eq!(
        fleet.inspect().await.unwrap()[0]
            .boots
            .as_ref()
            .map(|(version, _)| version.as_str()),
        Some("1.0.0")
    );
}
