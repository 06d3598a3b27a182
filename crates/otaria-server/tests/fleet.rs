//! The whole server with a broker, and a device that is played by an MQTT client: with the embedded broker and with
//! Mosquitto the same test.

mod common;

use std::fs;
use std::time::Duration;

use common::{Broker, FakeDevice, Http, Mosquitto, Running, package, wait_for};
use otaria_server::model::Status;
use serde_json::{Value, json};

/// Publish, watch the device update, see success; then cancel, commands, logs.
async fn an_update_from_end_to_end(broker: Broker) {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &broker).await;
    let http = server.http();
    let mut device = FakeDevice::connect(server.mqtt(&broker), "d1").await;
    device.presence(true).await;
    device.state(&"00".repeat(32), "1.0.0", None).await;
    wait_for("the device to be known", || async {
        http.get("/api/v1/devices/d1").await.0 == 200 && http.device("d1").await.online
    })
    .await;

    let file = package("1.1.0");
    let uploaded = http.upload(&file).await;
    let (status, published) = http
        .post(
            "/api/v1/jobs",
            &json!({"package": uploaded["digest"], "target": {"device": "d1"}}),
        )
        .await;
    assert_eq!(status, 201, "{published}");
    let job = published["job"]["id"].as_str().unwrap().to_owned();

    let desired = device.next("desired").await;
    let wish: Value = serde_json::from_slice(&desired.payload).unwrap();
    assert_eq!(
        (wish["job"].as_str(), wish["version"].as_str()),
        (Some(job.as_str()), Some("1.1.0"))
    );
    assert_eq!(wish["image_sha256"], uploaded["image_sha256"]);

    // The device fetches it in two pieces, as after a cut.
    let url = wish["url"].as_str().unwrap();
    let (status, first) = Http::fetch(url, Some("bytes=0-999")).await;
    assert_eq!((status, first.len()), (206, 1000));
    let (status, rest) = Http::fetch(url, Some("bytes=1000-")).await;
    assert_eq!(status, 206);
    assert!([first, rest].concat() == file);

    let image = uploaded["image_sha256"].as_str().unwrap().to_owned();
    device.event(1, 1, &job, "accepted").await;
    device.progress(&job, 50, 100).await;
    device.event(1, 2, &job, "activated").await;
    device
        .state(&image, "1.1.0", Some(json!({"boots": 1, "crashes": 0})))
        .await;
    device.event(2, 1, &job, "trial_started").await;
    http.wait_for_status("d1", Status::Trial).await;
    device.event(2, 2, &job, "confirmed").await;
    device.state(&image, "1.1.0", None).await;
    http.wait_for_status("d1", Status::Succeeded).await;

    let (status, sent) = http
        .post(
            "/api/v1/devices/d1/commands",
            &json!({"cmd": "logs", "lines": 5}),
        )
        .await;
    assert_eq!(status, 202);
    let command = device.next("cmd").await;
    assert!(!command.retain);
    let expiry = command
        .properties
        .and_then(|properties| properties.message_expiry_interval);
    assert!(
        expiry.is_some_and(|seconds| (1..=600).contains(&seconds)),
        "{expiry:?}"
    );
    let command: Value = serde_json::from_slice(&command.payload).unwrap();
    assert_eq!(
        (&command["id"], command["cmd"].as_str()),
        (&sent["id"], Some("logs"))
    );
    device.log(2, 7, "hello").await;
    wait_for("the log line", || async {
        let (_, page) = http.get("/api/v1/devices/d1/logs").await;
        page["items"][0]["text"] == "hello"
    })
    .await;

    http.post("/api/v1/devices/d1/cancel", &Value::Null).await;
    assert!(device.next("desired").await.payload.is_empty());
    let cancel: Value = serde_json::from_slice(&device.next("cmd").await.payload).unwrap();
    assert_eq!(cancel["cmd"], "cancel");
    let mut late = FakeDevice::connect(server.mqtt(&broker), "d1").await;
    late.presence(true).await;
    assert!(late.none("desired").await, "nothing is declared any more");

    late.vanish().await;
    wait_for("the Last Will", || async {
        !http.device("d1").await.online
    })
    .await;
    server.shutdown().await;
}

/// What is declared outlives server and broker, and reaches a device that comes later.
async fn what_is_declared_survives_a_restart(broker: Broker) {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &broker).await;
    let uploaded = server.http().upload(&package("1.1.0")).await;
    let request =
        json!({"package": uploaded["digest"], "target": {"device": "late"}, "unseen": true});
    let (status, published) = server.http().post("/api/v1/jobs", &request).await;
    assert_eq!(status, 201, "{published}");
    server.http().wait_until_sent().await;
    server.shutdown().await;

    let server = Running::start(data.path(), &broker).await;
    let mut device = FakeDevice::connect(server.mqtt(&broker), "late").await;
    let wish: Value = serde_json::from_slice(&device.next("desired").await.payload).unwrap();
    assert_eq!(wish["job"], published["job"]["id"]);
    server.shutdown().await;
}

/// A declaration by somebody else's hand is seen, and not overwritten.
async fn what_others_declare_is_seen(broker: Broker) {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &broker).await;
    let http = server.http();
    let device = FakeDevice::connect(server.mqtt(&broker), "d1").await;
    device.presence(true).await;
    let operator = FakeDevice::connect(server.mqtt(&broker), "operator").await;
    operator
        .publish_to(
            "otaria/v1/d1/desired",
            b"http://files.test/app.otaria",
            true,
        )
        .await;
    wait_for("the wish", || async {
        http.get("/api/v1/devices/d1").await.1["wish"]["url"] == "http://files.test/app.otaria"
    })
    .await;
    operator.publish_to("otaria/v1/d1/desired", b"", true).await;
    wait_for("the end of the wish", || async {
        http.get("/api/v1/devices/d1").await.1["wish"] == Value::Null
    })
    .await;
    server.shutdown().await;
}

macro_rules! with_both_brokers {
    ($($test:ident)+) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::Broker::Embedded).await;
            })+
        }
        mod mosquitto {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                if let Some(broker) = super::Broker::mosquitto() {
                    super::$test(broker).await;
                }
            })+
        }
    };
}

with_both_brokers! {
    an_update_from_end_to_end
    what_is_declared_survives_a_restart
    what_others_declare_is_seen
    reports_while_the_server_is_down_are_not_lost
}

/// The session at the broker keeps what devices report meanwhile. With the embedded broker nothing can be reported
/// meanwhile; the device keeps its events itself then.
async fn reports_while_the_server_is_down_are_not_lost(broker: Broker) {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &broker).await;
    let address = server.mqtt(&broker);
    server.shutdown().await;
    if let Broker::Mosquitto(_) = broker {
        let device = FakeDevice::connect(address, "d1").await;
        for n in 1..=20 {
            device.event(1, n, "somebody-elses", "retrying").await;
        }
    }
    let server = Running::start(data.path(), &broker).await;
    if let Broker::Embedded = broker {
        let device = FakeDevice::connect(server.mqtt(&broker), "d1").await;
        for n in 1..=20 {
            device.event(1, n, "somebody-elses", "retrying").await;
        }
    }
    let http = server.http();
    wait_for("all events", || async {
        let (status, page) = http.get("/api/v1/devices/d1/events?limit=1000").await;
        status == 200 && page["items"].as_array().unwrap().len() == 20
    })
    .await;
    server.shutdown().await;
}

/// An access list that forgets what the server must publish, and is put right later.
#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_the_broker_refused_is_sent_once_it_may_be() {
    const ALL: &str = "topic readwrite #\n";
    let files = tempfile::tempdir().unwrap();
    let (rights, log) = (files.path().join("rights"), files.path().join("log"));
    fs::write(&rights, format!("{ALL}topic deny otaria/v1/d1/desired\n")).unwrap();
    let config = format!(
        "acl_file {}\nlog_dest file {}\nlog_type all",
        rights.display(),
        log.display()
    );
    let Some(mosquitto) = Mosquitto::start(&config) else {
        return;
    };
    let broker = Broker::Mosquitto(mosquitto);
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &broker).await;
    let uploaded = server.http().upload(&package("1.1.0")).await;
    let request =
        json!({"package": uploaded["digest"], "target": {"device": "d1"}, "unseen": true});
    let (_, published) = server.http().post("/api/v1/jobs", &request).await;
    wait_for("the refusal", || async {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("Denied PUBLISH"))
    })
    .await;

    fs::write(&rights, ALL).unwrap();
    if let Broker::Mosquitto(mosquitto) = &broker {
        mosquitto.reload();
    }
    server.http().wait_until_sent().await;
    let mut device = FakeDevice::connect(server.mqtt(&broker), "d1").await;
    let wish: Value = serde_json::from_slice(&device.next("desired").await.payload).unwrap();
    assert_eq!(wish["job"], published["job"]["id"]);
    server.shutdown().await;
}

/// A broker that forgot the server's session, after a day without it perhaps: who came and went, and who declared what
/// meanwhile, only the broker knows.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_session_what_others_declared_stands_and_nobody_is_thought_online() {
    let files = tempfile::tempdir().unwrap();
    let log = files.path().join("log");
    let config = format!("log_dest file {}\nlog_type all", log.display());
    let Some(mosquitto) = Mosquitto::start(&config) else {
        return;
    };
    let broker = Broker::Mosquitto(mosquitto);
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &broker).await;
    let address = server.mqtt(&broker);
    let http = server.http();
    let device = FakeDevice::connect(address, "gone").await;
    device.presence(true).await;
    wait_for("the device", || async {
        http.get("/api/v1/devices/gone").await.1["online"] == true
    })
    .await;
    let uploaded = http.upload(&package("1.1.0")).await;
    for device in ["lost", "replaced"] {
        let request =
            json!({"package": uploaded["digest"], "target": {"device": device}, "unseen": true});
        assert_eq!(http.post("/api/v1/jobs", &request).await.0, 201);
    }
    http.wait_until_sent().await;
    server.shutdown().await;

    device.vanish().await;
    let operator = FakeDevice::connect(address, "operator").await;
    let desired = |device: &str| format!("otaria/v1/{device}/desired");
    operator
        .publish_to("otaria/v1/gone/presence", b"", true)
        .await;
    operator.publish_to(&desired("lost"), b"", true).await;
    let theirs = b"http://files.test/app.otaria";
    operator
        .publish_to(&desired("replaced"), theirs, true)
        .await;
    let log = fs::read_to_string(&log).unwrap();
    let id = log
        .split(|c: char| c != '-' && !c.is_ascii_alphanumeric())
        .find(|word| word.starts_with("otaria-server-"))
        .expect("the server's client id");
    common::end_session(address, id).await;

    let server = Running::start(data.path(), &broker).await;
    let mut observer = FakeDevice::connect(address, "observer").await;
    observer.subscribe(&desired("lost")).await;
    let again: Value = serde_json::from_slice(&observer.next("desired").await.payload).unwrap();
    assert_eq!(again["image_sha256"], uploaded["image_sha256"]);
    server.http().wait_until_sent().await;
    observer.subscribe(&desired("replaced")).await;
    assert_eq!(observer.next("desired").await.payload, &theirs[..]);
    assert!(!server.http().device("gone").await.online);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_killed_shows_nobody_online_and_keeps_what_is_declared() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &Broker::Embedded).await;
    let device = FakeDevice::connect(server.mqtt(&Broker::Embedded), "d1").await;
    device.presence(true).await;
    let http = server.http();
    wait_for("the device", || async {
        http.get("/api/v1/devices/d1").await.1["online"] == true
    })
    .await;
    server.shutdown().await;
    drop(device);
    // As after a crash: the retained message says online, and the broker's files know no declarations.
    let server = Running::start(data.path(), &Broker::Embedded).await;
    let mut observer = FakeDevice::connect(server.mqtt(&Broker::Embedded), "observer").await;
    observer.subscribe("otaria/v1/d1/presence").await;
    assert_eq!(
        observer.next("presence").await.payload,
        r#"{"online":false}"#
    );
    assert!(!server.http().device("d1").await.online);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn declarations_come_back_when_the_brokers_files_are_lost() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &Broker::Embedded).await;
    let uploaded = server.http().upload(&package("1.1.0")).await;
    let request =
        json!({"package": uploaded["digest"], "target": {"device": "late"}, "unseen": true});
    server.http().post("/api/v1/jobs", &request).await;
    server.http().wait_until_sent().await;
    server.shutdown().await;
    std::fs::remove_dir_all(data.path().join("broker")).unwrap();
    let server = Running::start(data.path(), &Broker::Embedded).await;
    let mut device = FakeDevice::connect(server.mqtt(&Broker::Embedded), "late").await;
    let wish: Value = serde_json::from_slice(&device.next("desired").await.payload).unwrap();
    assert_eq!(wish["image_sha256"], uploaded["image_sha256"]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_reports_of_a_reconnecting_fleet_all_arrive() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &Broker::Embedded).await;
    let address = server.mqtt(&Broker::Embedded);
    let mut devices = Vec::new();
    for n in 0..50 {
        let id = format!("d{n}");
        devices.push(tokio::spawn(async move {
            let device = FakeDevice::connect(address, &id).await;
            device.presence(true).await;
            for n in 1..=20 {
                device.event(1, n, "j", "retrying").await;
            }
            device
        }));
    }
    let mut connected = Vec::new();
    for device in devices {
        connected.push(device.await.unwrap());
    }
    let http = server.http();
    for n in 0..50 {
        wait_for("every event", || async {
            let (status, page) = http.get(&format!("/api/v1/devices/d{n}/events")).await;
            status == 200 && page["items"].as_array().unwrap().len() == 20
        })
        .await;
    }
    drop(connected);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_twice_or_on_a_used_port_says_so() {
    use otaria_server::{Config, Mqtt, Server, StartError};
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &Broker::Embedded).await;
    let mut config = Config::new(data.path());
    config.http = "127.0.0.1:0".parse().unwrap();
    config.mqtt = Mqtt::Embedded {
        listen: "127.0.0.1:0".parse().unwrap(),
    };
    assert!(matches!(
        Server::start(config.clone()).await,
        Err(StartError::Locked(_))
    ));
    let other = tempfile::tempdir().unwrap();
    config.data = other.path().to_owned();
    config.mqtt = Mqtt::Embedded {
        listen: server.mqtt(&Broker::Embedded),
    };
    let error = Server::start(config.clone()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot listen for MQTT on 127.0.0.1:"),
        "{error}"
    );
    config.http = server.http().address();
    let error = Server::start(config).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot listen for HTTP on 127.0.0.1:"),
        "{error}"
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_does_not_wait_for_those_who_watch() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path(), &Broker::Embedded).await;
    let _watching = Http::open_stream(server.http().address()).await;
    let _device = FakeDevice::connect(server.mqtt(&Broker::Embedded), "d1").await;
    tokio::time::timeout(Duration::from_secs(20), server.shutdown())
        .await
        .expect("the server ends");
}
