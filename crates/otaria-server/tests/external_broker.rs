//! The server's own client at a Mosquitto that wants certificates of everybody.

#[allow(dead_code, reason = "a part of it")]
mod site;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use otaria_server::{BrokerTls, Mqtt, RunningServer, Server};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use self::site::{Badge, config, leaf, mosquitto, run, servers};

/// Longer than the server needs for a handshake, shorter than a person waits.
const SOON: Duration = Duration::from_secs(20);

/// An authority, and the files that it has signed.
struct Pki {
    dir: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(
            dir.path().join("ca.pem"),
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        let issuer = Issuer::new(params, key);
        Self { dir, issuer }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn badge(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Badge {
        let (cert, key) = leaf(name, &self.issuer, change);
        let file = |suffix: &str, text: &str| {
            let path = self.dir.path().join(format!("{name}.{suffix}"));
            fs::write(&path, text).unwrap();
            path
        };
        Badge {
            cert: file("cert", &cert),
            key: file("key", &key),
        }
    }

    /// Mosquitto, which is at 127.0.0.1 by its certificate and takes nobody without one.
    fn mosquitto(&self) -> Option<servers::Server> {
        let own = self.badge("broker", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = vec![rcgen::SanType::IpAddress([127, 0, 0, 1].into())];
        });
        servers::mosquitto(&format!(
            "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\nallow_anonymous true",
            self.ca().display(),
            own.cert.display(),
            own.key.display()
        ))
    }
}

async fn server(data: &Path, port: u16, host: &str, tls: BrokerTls) -> RunningServer {
    let mut config = config(data);
    config.tls = None;
    config.mqtt = Mqtt::External(format!("mqtts://{host}:{port}").parse().unwrap());
    config.broker_tls = tls;
    Server::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_works_with_a_broker_that_wants_its_certificate() {
    let pki = Pki::new();
    let (Some(broker), Some(_)) = (pki.mosquitto(), servers::find("mosquitto_pub")) else {
        return;
    };
    let own = pki.badge("otaria", |_| {});
    let tls = BrokerTls {
        ca: Some(pki.ca()),
        identity: Some((own.cert, own.key)),
    };
    let data = tempfile::tempdir().unwrap();
    let server = server(data.path(), broker.port, "127.0.0.1", tls).await;
    tokio::time::timeout(SOON, server.connected())
        .await
        .unwrap();
    let device = pki.badge("pump-1", |_| {});
    let mut publish = mosquitto("mosquitto_pub", broker.port, &pki.ca(), &device, "pump-1");
    publish.args([
        "-q",
        "1",
        "-t",
        "otaria/v1/pump-1/presence",
        "-m",
        r#"{"online":true}"#,
    ]);
    assert!(run(publish).await.status.success());
    let page = format!("{}/api/v1/devices/pump-1", server.addresses.page);
    let known = async {
        loop {
            let mut ask = std::process::Command::new("curl");
            ask.args(["-sS", &page]);
            let answer = run(ask).await;
            if String::from_utf8_lossy(&answer.stdout).contains("\"online\":true") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, known).await.unwrap();
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_cannot_be_known_is_not_spoken_to() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let Some(broker) = pki.mosquitto() else {
        return;
    };
    let own = pki.badge("otaria", |_| {});
    let identity = Some((own.cert, own.key));
    for (what, host, ca, identity) in [
        (
            "of another authority",
            "127.0.0.1",
            stranger.ca(),
            identity.clone(),
        ),
        ("under another name", "localhost", pki.ca(), identity),
        ("without a certificate of ours", "127.0.0.1", pki.ca(), None),
    ] {
        let tls = BrokerTls {
            ca: Some(ca),
            identity,
        };
        let data = tempfile::tempdir().unwrap();
        let server = server(data.path(), broker.port, host, tls).await;
        let connected = tokio::time::timeout(Duration::from_secs(2), server.connected()).await;
        assert!(connected.is_err(), "{what}");
        server.shutdown().await;
    }
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    config.mqtt = Mqtt::External("mqtts://127.0.0.1".parse().unwrap());
    let error = Server::start(config).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("--mqtt-ca"), "{cause}");
}
