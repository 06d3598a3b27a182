//! TLS 1.3 as machine code: Mosquitto that asks for certificates, packages from nginx by HTTPS. The board's wall clock is the host's;
//! no time server is asked.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use otaria_qemu::machine::HOST;
use otaria_settings::{BrokerUrl, Identity, SecretKey};
use otaria_wire::messages::EventKind;
use tempfile::TempDir;

use crate::lab::{Device, Heard, LIMIT, Lab, SLOWLY, partition};
use crate::pki::{self, Authority, Badge};
use crate::servers;

const BROKER_LOG: &str = "log";

/// A [`Lab`] whose servers have a port with TLS each, and the authority that devices and servers come from.
struct SafeLab {
    lab: Lab,
    root: Authority,
    broker_port: u16,
    web_port: u16,
    files: TempDir,
}

impl SafeLab {
    /// With this certificate at the broker.
    fn open(broker: impl FnOnce(&Authority) -> Badge) -> Option<Self> {
        let root = Authority::new("root");
        let files = tempfile::tempdir().unwrap();
        let (broker_port, web_port) = (servers::free_port(), servers::free_port());
        let folder = |name: &str| -> PathBuf {
            let folder = files.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            folder
        };
        let (broker_dir, web_dir) = (folder("broker"), folder("web"));
        broker(&root).write(&broker_dir, &root);
        root.server(&[HOST]).write(&web_dir, &root);
        let lines = format!(
            "{}\nlog_dest file {}",
            pki::mosquitto_lines(&broker_dir, broker_port),
            broker_dir.join(BROKER_LOG).display()
        );
        let locations = pki::nginx_lines(&web_dir, web_port) + SLOWLY;
        let web = |files: &[(&str, &[u8])]| servers::nginx(files, &locations);
        Some(Self {
            lab: Lab::open_with(&lines, web, &["b"])?,
            root,
            broker_port,
            web_port,
            files,
        })
    }

    /// A new board that the broker knows by its certificate, switched off.
    fn device(&self, id: &str) -> Device {
        let mut settings = self.lab.settings(id);
        let broker = format!("mqtts://{HOST}:{}", self.broker_port);
        settings.broker = Some(BrokerUrl::parse(&broker).unwrap());
        settings.tls.authorities.clone_from(&self.root.der);
        let badge = self.root.device(id);
        settings.tls.identity = Some(Identity {
            chain: badge.chain.concat(),
            key: SecretKey::new(badge.scalar()),
        });
        self.lab.device_with(&partition(&settings), id)
    }

    fn publish(&self, device: &Device) {
        let url = format!("https://{HOST}:{}/b.otaria", self.web_port);
        self.lab.publish_url(device, &url);
    }

    /// Waits until Mosquitto's log has this text.
    fn broker_notes(&self, text: &str) {
        let file = self.files.path().join("broker").join(BROKER_LOG);
        let end = Instant::now() + LIMIT;
        loop {
            let log = std::fs::read_to_string(&file).unwrap_or_default();
            if log.contains(text) {
                return;
            }
            assert!(
                Instant::now() < end,
                "no {text:?} in Mosquitto's log:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What nginx was asked for, a line each: method, path, status, range.
    fn requests(&self) -> Vec<String> {
        let file = self.lab.web.dir.path().join("requests");
        let requests = std::fs::read_to_string(file).unwrap();
        requests.lines().map(str::to_owned).collect()
    }
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn certificates_on_both_sides_and_https_update_a_board_through_a_web_server_that_dies() {
    let Some(mut safe) = SafeLab::open(|root| {
        let below = root.below("below");
        below.server(&[HOST]).with(&below)
    }) else {
        return;
    };
    let mut device = safe.device("safe");
    device.power_on();
    device.runs_confirmed(0, "1.0.0");
    safe.publish(&device);
    device.downloads(30);
    safe.lab.web.kill();
    device.tells(EventKind::Retrying);
    safe.lab.web.restart();
    assert_eq!(device.ends(), (EventKind::Confirmed, None));
    device.runs_confirmed(0, "1.1.0");
    // It went on where it was, and did not begin anew.
    let requests = safe.requests();
    let rest = |line: &&String| line.starts_with("GET /b.otaria 206 bytes=");
    assert!(requests.iter().any(|line| rest(&line)), "{requests:?}");
    assert!(
        !requests.iter().any(|line| line.contains(" bytes=0-")),
        "{requests:?}"
    );
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_broker_of_another_authority_is_not_spoken_to_and_the_log_says_why() {
    let Some(mut safe) = SafeLab::open(|_| Authority::new("other").server(&[HOST])) else {
        return;
    };
    let mut device = safe.device("wary");
    device.power_on();
    // The alert of RFC 8446, 6.2, as OpenSSL names it.
    safe.broker_notes("alert unknown ca");
    assert_eq!(device.ear.count(), 0, "a device that is wary says nothing");
    let why = "TLS: the server's certificate is from no authority that is trusted here";
    device.says(why);

    // Once the broker shows a better one it learns from the log what was wrong.
    let badge = safe.root.server(&[HOST]);
    badge.write(&safe.files.path().join("broker"), &safe.root);
    safe.lab.broker.kill();
    safe.lab.broker.restart();
    device.runs_confirmed(0, "1.0.0");
    safe.lab.ask_for_log(&device);
    device.hears("why the broker was refused", |heard| {
        heard
            .iter()
            .any(|heard| matches!(heard, Heard::Other(text) if text.contains("/log ") && text.contains(why)))
            .then_some(())
    });
}
