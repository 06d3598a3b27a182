//! A server with TLS, and a simulated device whose own code comes to it over TLS: enrolled, updated, revoked.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use otaria_package::keys::SigningKey;
use otaria_package::pack::{Options, TimeStamp, pack};
use otaria_sim::device::{Hardware, Settings};
use otaria_sim::flash::Timing;
use otaria_sim::fleet::{Blueprint, Fleet};
use otaria_sim::images::Stamp;
use otaria_sim::real::RadioConfig;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::site::{Badge, Site};

const ID: &str = "pump-1";
const PRODUCT: &str = "pump";

/// A PEM file's first block, in DER.
fn der(file: &std::path::Path) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::from_pem_slice(&fs::read(file).unwrap())
        .unwrap()
        .to_vec()
}

fn device(site: &Site, badge: &Badge, signer: &SigningKey) -> Fleet {
    let keys = [signer.public_key().to_sec1()];
    let mut settings = Settings::new(ID, PRODUCT, &keys, "127.0.0.1", site.mqtt().port()).unwrap();
    settings.timing.policy.grace = Duration::from_millis(300).into();
    settings.broker_tls = true;
    settings.tls.anchors = der(&site.file("ca.pem"));
    let key = KeyPair::from_pem(&fs::read_to_string(&badge.key).unwrap()).unwrap();
    settings.tls.identity = Some((der(&badge.cert), scalar(&key.serialize_der())));
    let image: Arc<[u8]> = Stamp::new("1.0.0").project(PRODUCT).image().into();
    Fleet::start(vec![Blueprint {
        settings,
        image,
        flash: None,
        hardware: Hardware::default(),
        timing: Timing::W25Q,
        log_flash: false,
        radio: RadioConfig {
            bits_per_second: 2_000_000,
            latency: Duration::from_millis(5),
        },
        seed: 7,
    }])
    .unwrap()
}

/// The scalar in an ECPrivateKey (RFC 5915): an octet string of 32 bytes behind version 1.
fn scalar(pkcs8: &[u8]) -> [u8; 32] {
    let mark = [2, 1, 1, 4, 32];
    let at = pkcs8.windows(5).position(|window| window == mark).unwrap();
    pkcs8[at + 5..at + 37].try_into().unwrap()
}

/// Waits until the server thinks so of the device.
async fn until(site: &Site, what: &str, holds: impl Fn(&Value) -> bool) {
    for _ in 0..600 {
        let device = site
            .api("GET", &format!("devices/{ID}"), &Value::Null)
            .await;
        if holds(&device) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited in vain until it is {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_with_the_servers_certificate_is_updated_over_tls_alone_and_revoking_ends_that() {
    let Some(site) = Site::start().await else {
        return;
    };
    let badge = site.enroll(ID).await;
    let signer = SigningKey::generate().unwrap();
    let fleet = device(&site, &badge, &signer);
    until(&site, "online", |device| device["online"] == true).await;

    let image = Stamp::new("1.1.0").project(PRODUCT).size(64 * 1024).image();
    let stamp = TimeStamp {
        sequence: 2,
        created: 2,
    };
    let package = pack(&image, &signer, &Options::new(stamp)).unwrap().bytes;
    let file = site.data.path().join("package");
    fs::write(&file, package).unwrap();
    let url = format!("{}/api/v1/packages", site.server.addresses.page);
    let body = format!("@{}", file.display());
    let bytes = "content-type: application/octet-stream";
    let arguments = ["-H", bytes, "--data-binary", &body, &url];
    let output = site.curl(None, &arguments).await;
    let uploaded: Value = serde_json::from_slice(&output.stdout).unwrap();
    let job = json!({"package": uploaded["digest"], "target": {"device": ID}});
    let published = site.api("POST", "jobs", &job).await;
    assert!(published["job"]["id"].is_string(), "{published}");
    until(&site, "updated", |device| {
        device["assignment"]["status"] == "succeeded"
    })
    .await;
    let found = &fleet.inspect().await.unwrap()[0];
    assert_eq!(found.boots.as_ref().unwrap().0, "1.1.0");

    site.api(
        "DELETE",
        &format!("devices/{ID}/certificates"),
        &Value::Null,
    )
    .await;
    until(&site, "gone", |device| device["online"] == false).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    until(&site, "still gone", |device| device["online"] == false).await;
    site.server.shutdown().await;
}
