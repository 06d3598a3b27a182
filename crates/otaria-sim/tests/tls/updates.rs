//! Whole updates over TLS in real time: Mosquitto with certificates on both sides, packages from nginx. The device is simulated; its
//! code is not.

use std::sync::Arc;
use std::time::Duration;

use otaria_package::keys::SigningKey;
use otaria_package::pack::{CodecChoice, Options, TimeStamp, pack};
use otaria_sim::device::{Hardware, Settings};
use otaria_sim::flash::Timing;
use otaria_sim::fleet::{Blueprint, Fleet};
use otaria_sim::images::Stamp;
use otaria_sim::real::RadioConfig;
use otaria_wire::messages::{Event, EventKind, FailureCode};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, EventLoop, MqttOptions};
use tempfile::TempDir;

use crate::client::run;
use crate::pki::{self, Authority, Badge};
use crate::servers::{self, Server};

const PRODUCT: &str = "pump";
const HOST: &str = "localhost";
const FILE: &str = "pump.otaria";

/// Authority, broker, and what is to be installed.
struct Stage {
    root: Authority,
    broker: Server,
    broker_tls: u16,
    key: SigningKey,
    package: Vec<u8>,
    _files: TempDir,
}

impl Stage {
    /// Mosquitto on two ports: one for the operator, and one for devices with a certificate of `root`.
    fn set() -> Option<Self> {
        let root = Authority::new("root");
        let files = tempfile::tempdir().unwrap();
        let below = root.below("below");
        let badge = below.server(&[HOST]).with(&below);
        badge.write(files.path(), &root);
        let broker_tls = servers::free_port();
        let broker = servers::mosquitto(&format!(
            "allow_anonymous true\n{}",
            pki::mosquitto_lines(files.path(), broker_tls)
        ))?;
        let key = SigningKey::generate().unwrap();
        let image = Stamp::new("1.1.0").project(PRODUCT).size(96 * 1024).image();
        let stamp = TimeStamp {
            sequence: 2,
            created: 2,
        };
        let options = Options {
            codec: CodecChoice::Stored,
            ..Options::new(stamp)
        };
        Some(Self {
            package: pack(&image, &key, &options).unwrap().bytes,
            root,
            broker,
            broker_tls,
            key,
            _files: files,
        })
    }

    /// nginx with the package, and this certificate. The port is the one with TLS.
    fn nginx(&self, badge: &Badge) -> Option<(Server, TempDir, u16)> {
        let files = tempfile::tempdir().unwrap();
        badge.write(files.path(), &self.root);
        let port = servers::free_port();
        let server = servers::nginx(
            &[(FILE, &self.package)],
            &pki::nginx_lines(files.path(), port),
        )?;
        Some((server, files, port))
    }

    /// A device that this authority knows.
    fn device(&self, bits_per_second: u64) -> Fleet {
        let keys = [self.key.public_key().to_sec1()];
        let mut settings = Settings::new("d1", PRODUCT, &keys, HOST, self.broker_tls).unwrap();
        settings.timing.policy.grace = Duration::from_millis(300).into();
        settings.broker_tls = true;
        settings.tls.anchors = self.root.der.clone();
        let badge = self.root.device("d1");
        settings.tls.identity = Some((badge.chain.concat(), badge.scalar()));
        let image: Arc<[u8]> = Stamp::new("1.0.0").project(PRODUCT).image().into();
        Fleet::start(vec![Blueprint {
            settings,
            image,
            flash: None,
            hardware: Hardware::default(),
            timing: Timing::W25Q,
            log_flash: false,
            radio: RadioConfig {
                bits_per_second,
                latency: Duration::from_millis(5),
            },
            seed: 7,
        }])
        .unwrap()
    }

    async fn operator(&self) -> Operator {
        let options = MqttOptions::new("operator", "127.0.0.1", self.broker.port);
        let (client, events) = AsyncClient::new(options, 16);
        client
            .subscribe("otaria/v1/d1/event", QoS::AtLeastOnce)
            .await
            .unwrap();
        Operator { client, events }
    }
}

/// Who says what is to be installed, and hears what comes of it.
struct Operator {
    client: AsyncClient,
    events: EventLoop,
}

impl Operator {
    async fn wants(&self, url: &str) {
        self.client
            .publish(
                "otaria/v1/d1/desired",
                QoS::AtLeastOnce,
                true,
                url.to_owned(),
            )
            .await
            .unwrap();
    }

    async fn hears(&mut self) -> Event {
        loop {
            let heard = self.events.poll().await.unwrap();
            if let rumqttc::v5::Event::Incoming(Packet::Publish(publish)) = heard {
                return serde_json::from_slice(&publish.payload).unwrap();
            }
        }
    }

    async fn hears_of(&mut self, kind: EventKind) -> Event {
        loop {
            let event = self.hears().await;
            if event.event == kind {
                return event;
            }
            assert!(!event.event.is_final(), "{event:?}");
        }
    }
}

#[test]
fn mosquitto_over_mtls_and_nginx_over_https_update_a_device_through_a_power_cut() {
    let Some(stage) = Stage::set() else { return };
    let Some((_web, _files, port)) = stage.nginx(&stage.root.server(&[HOST])) else {
        return;
    };
    run(async {
        let mut operator = stage.operator().await;
        let fleet = stage.device(500_000);
        operator
            .wants(&format!("https://{HOST}:{port}/{FILE}"))
            .await;
        operator.hears_of(EventKind::Accepted).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        fleet.cut_power(0, Duration::from_millis(200));
        let confirmed = operator.hears_of(EventKind::Confirmed).await;
        let took = confirmed.timing.unwrap();
        assert!(took.tls_ms > 0, "{took:?}");
        let found = &fleet.inspect().await.unwrap()[0];
        assert_eq!(found.boots.as_ref().unwrap().0, "1.1.0");
    });
}

#[test]
fn why_a_web_server_is_not_trusted_is_reported_and_a_better_certificate_helps() {
    let Some(stage) = Stage::set() else { return };
    let expired = stage.root.server_with(&[HOST], |params| {
        params.not_after = rcgen::date_time_ymd(2026, 1, 2);
    });
    let stranger = Authority::new("root").server(&[HOST]);
    for (badge, code) in [
        (expired, FailureCode::TlsExpired),
        (
            stage.root.server(&["other.example"]),
            FailureCode::TlsWrongName,
        ),
        (stranger, FailureCode::TlsBadCertificate),
        (
            Authority::new("other").server(&[HOST]),
            FailureCode::TlsUnknownAuthority,
        ),
    ] {
        let Some((_web, _files, port)) = stage.nginx(&badge) else {
            return;
        };
        run(async {
            let mut operator = stage.operator().await;
            let _fleet = stage.device(2_000_000);
            operator
                .wants(&format!("https://{HOST}:{port}/{FILE}"))
                .await;
            let event = operator.hears_of(EventKind::Retrying).await;
            assert_eq!(event.code, Some(code.number()), "{event:?}");
            assert!(
                event
                    .text
                    .as_deref()
                    .unwrap_or_default()
                    .starts_with("TLS: "),
                "{event:?}"
            );
            operator.wants("").await;
        });
    }
}
