//! What speaks TLS alone: a server with two hundred simulated devices, and somebody else's broker.

mod desk;
#[path = "../../otaria-sim/tests/servers/mod.rs"]
mod servers;

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::Value;

use desk::Desk;

const DEVICES: usize = 200;

#[test]
fn two_hundred_devices_with_certificates_of_their_own_are_updated_over_tls_alone() {
    let desk = Desk::with_package();
    let mut server = desk.start(
        "otaria serve --data data --tls --downloads known --http 127.0.0.1:0 --mqtt-listen 127.0.0.1:0 --json",
    );
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let mqtt = started["mqtt"].as_str().unwrap();
    let simulate = format!(
        "otaria simulate --json --key release.pub.pem --image pump-1.0.0.bin --prefix pump- --flash instant \
         --mqtt mqtts://{mqtt} --devices {DEVICES} --certs certs"
    );
    let all_online = || {
        desk.wait_for("otaria devices --json", |known| {
            known.matches("\"online\": true").count() == DEVICES
        });
    };
    let devices = desk.start(&simulate);
    all_online();
    desk.run("otaria publish pump-1.1.0.otaria --all --watch");

    // They have restarted, and what their connections said last before that comes not after what they say now.
    all_online();

    // Whoever has a certificate keeps it.
    let certificate = || fs::read(desk.0.path().join("certs/pump-200.cert.pem")).unwrap();
    let before = certificate();
    drop(devices);
    desk.start(&simulate).line();
    assert!(before == certificate());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let key = fs::metadata(desk.0.path().join("certs/pump-200.key.pem")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }
}

/// Makes an authority and a certificate of it for 127.0.0.1, as files.
fn authority(dir: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::default();
    // Else its subject is its issuer's, and OpenSSL takes it for self-signed.
    params.distinguished_name.push(DnType::CommonName, "broker");
    params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    for (name, text) in [
        ("ca.pem", ca),
        ("broker.pem", certificate),
        ("broker.key", key.serialize_pem()),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
}

#[test]
fn a_wish_is_declared_over_tls_to_the_broker_that_its_authority_vouches_for() {
    let desk = Desk::new();
    let dir = desk.0.path();
    let (ours, theirs) = (dir.join("ours"), dir.join("theirs"));
    for other in [&ours, &theirs] {
        fs::create_dir(other).unwrap();
        authority(other);
    }
    let file = |name| ours.join(name).display().to_string();
    let config = format!(
        "allow_anonymous true\ncafile {ca}\ncertfile {cert}\nkeyfile {key}\nrequire_certificate true",
        ca = file("ca.pem"),
        cert = file("broker.pem"),
        key = file("broker.key"),
    );
    let Some(broker) = servers::mosquitto(&config) else {
        return;
    };
    let publish = |authority: &str, more: &str| {
        let line = format!(
            "otaria publish --mqtt mqtts://127.0.0.1:{} --mqtt-ca {authority}/ca.pem {more} --url https://files.test/a.otaria \
             --device d1 --json",
            broker.port
        );
        let output = desk.shell(&line).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), err)
    };
    let own = "--mqtt-cert ours/broker.pem --mqtt-key ours/broker.key";
    let (code, err) = publish("ours", own);
    assert_eq!(code, 0, "{err}");
    let (code, err) = publish("theirs", own);
    assert!(code == 1 && err.contains("TLS: "), "{err}");
    let (code, err) = publish("ours", "");
    assert!(code == 1 && err.contains("cannot publish at"), "{err}");
}
