//! `otaria provision` as people and scripts see it: what is printed, the exit code, and the files.
//!
//! `SNAPSHOTS=overwrite cargo test -p otaria --test provision` writes `tests/snapshots/` again.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use embedded_storage::nor_flash::ReadNorFlash as _;
use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_settings::{BrokerUrl, Region, Settings, WifiNetwork, load};
use otaria_sim::flash::SimFlash;
use otaria_wire::partitions::{self, DEFAULT_4MB};
use otaria_wire::topics::DeviceId;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use snapbox::cmd::{Command, OutputAssert};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery";

/// A directory with a public key, a device file and a flash image.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../otaria-package/tests/keys");
        for (from, to) in [
            ("test.pub.pem", "release.pub.pem"),
            ("test.pem", "release.pem"),
        ] {
            fs::copy(keys.join(from), desk.path(to)).unwrap();
        }
        fs::write(desk.path("wifi.txt"), format!("{PASSWORD}\nsecond line\n")).unwrap();
        fs::write(
            desk.path("device.toml"),
            "\
id = \"desk-1\"
product = \"sensor\"
broker = \"mqtt://192.168.1.10\"
public_keys = [\"release.pub.pem\"]

[[wifi]]
ssid = \"workshop\"
password = { file = \"wifi.txt\" }

[[wifi]]
ssid = \"café, upstairs\"
",
        )
        .unwrap();
        let table = partitions::encode(&partitions::default_4mb_partitions()).unwrap();
        let mut flash = vec![0xFF; 0x20_0000];
        flash[..0x8000].fill(0xE9);
        flash[0x8000..0x8000 + table.len()].copy_from_slice(&table);
        flash[0xD000..0x12_0000].fill(0x5A);
        fs::write(desk.path("flash.bin"), flash).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `otaria provision` with arguments that are separated by spaces.
    fn provision(&self, arguments: &str) -> OutputAssert {
        self.command(arguments).assert()
    }

    fn command(&self, arguments: &str) -> Command {
        Command::new(env!("CARGO_BIN_EXE_otaria"))
            .arg("provision")
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path())
            .env_remove("OTARIA_WIFI_PASSWORD")
            .env_remove("OTARIA_BROKER_PASSWORD")
            .env_remove("COLUMNS")
    }

    /// What a device reads out of a file.
    fn settings(&self, name: &str, region: Region) -> Settings {
        let bytes = fs::read(self.path(name)).unwrap();
        let mut flash = SimFlash::new(bytes.len() as u32);
        flash.load(0, &bytes);
        assert!(flash.capacity() >= region.end() as usize);
        load(&mut flash, region).unwrap()
    }
}

const ALONE: Region = Region {
    offset: 0,
    len: 0x4000,
};

/// Compares it with a file; a password is never in it.
fn assert_snapshot(assert: &OutputAssert, name: &str) {
    let shown = common::shown(assert);
    assert!(!shown.contains("horse"), "a password is shown: {shown}");
    common::assert_snapshot(assert, name);
}

fn network(ssid: &str, password: &str) -> WifiNetwork {
    WifiNetwork::new(ssid, password).unwrap()
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn help_text() {
    assert_snapshot(&Desk::new().provision("--help"), "provision-help");
}

#[test]
fn arguments_become_a_partition_that_only_its_owner_reads() {
    let desk = Desk::new();
    assert_snapshot(
        &desk.provision(
            "--ssid workshop --password-file wifi.txt --broker mqtt://me@broker.example \
             --id desk-1 --public-key release.pub.pem",
        ),
        "provision",
    );
    let settings = desk.settings("nvs.bin", ALONE);
    assert_eq!(settings.wifi, [network("workshop", PASSWORD)]);
    let broker = BrokerUrl::parse("mqtt://me@broker.example:1883").unwrap();
    assert_eq!(settings.broker, Some(broker));
    assert_eq!(settings.device_id, Some(DeviceId::new("desk-1").unwrap()));
    assert_eq!(settings.signers.len(), 1);
    #[cfg(unix)]
    assert_eq!(mode(&desk.path("nvs.bin")), 0o600);
}

#[test]
fn a_device_file_and_arguments_go_together() {
    let desk = Desk::new();
    assert_snapshot(
        &desk.provision("--from device.toml --json"),
        "provision-json",
    );
    let from_file = desk.settings("nvs.bin", ALONE);
    desk.command("--from device.toml --ssid attic --id desk-2 --allowed-host updates.example --out other.bin")
        .env("OTARIA_WIFI_PASSWORD", "attic password")
        .assert()
        .success();
    let settings = desk.settings("other.bin", ALONE);
    let expected = Settings {
        device_id: Some(DeviceId::new("desk-2").unwrap()),
        allowed_hosts: vec!["updates.example".to_owned()],
        wifi: from_file.wifi_with(network("attic", "attic password")),
        ..from_file.clone()
    };
    assert_eq!(settings, expected);
    assert_eq!(
        from_file.wifi,
        [network("workshop", PASSWORD), network("café, upstairs", "")]
    );
}

#[test]
fn a_password_for_the_label_is_made_and_printed_once() {
    let desk = Desk::new();
    let made = || {
        let run = desk.provision("--setup-password --public-key release.pub.pem");
        let output = run.success().get_output().stdout.clone();
        let text = String::from_utf8(output).unwrap();
        let row = text
            .lines()
            .find_map(|line| line.strip_prefix("set-up password"));
        let password = row.unwrap().split_whitespace().next().unwrap().to_owned();
        let settings = desk.settings("nvs.bin", ALONE);
        let stored = settings.setup_password.as_deref().map(str::to_owned);
        assert_eq!(stored, Some(password.clone()));
        assert!(!settings.is_provisioned());
        password
    };
    let (first, second) = (made(), made());
    assert_eq!(first.len(), "k7qm-2xwp-9fhd".len());
    assert_ne!(first, second);
    // One that a device file has is known already.
    fs::write(
        desk.path("setup.toml"),
        "setup_password = \"from the file\"\n",
    )
    .unwrap();
    let run = desk.provision("--from setup.toml");
    let output = String::from_utf8(run.success().get_output().stdout.clone()).unwrap();
    assert!(!output.contains("set-up password") && !output.contains("from the file"));
}

#[test]
fn a_flash_image_gets_its_nvs_partition_and_keeps_the_rest() {
    let desk = Desk::new();
    let before = fs::read(desk.path("flash.bin")).unwrap();
    assert_snapshot(
        &desk.provision("--from device.toml --into flash.bin"),
        "provision-into",
    );
    let after = fs::read(desk.path("flash.bin")).unwrap();
    assert!(before[..0x9000] == after[..0x9000] && before[0xD000..] == after[0xD000..]);
    let settings = desk.settings("flash.bin", DEFAULT_4MB.nvs);
    assert_eq!(settings.device_id, Some(DeviceId::new("desk-1").unwrap()));
    #[cfg(unix)]
    assert_eq!(mode(&desk.path("flash.bin")), 0o600);
    // Again, with other settings: nothing of the old ones is left.
    desk.provision("--id desk-9 --broker mqtt://b --into flash.bin")
        .success();
    let settings = desk.settings("flash.bin", DEFAULT_4MB.nvs);
    assert_eq!((settings.wifi.len(), settings.signers.len()), (0, 0));
}

#[test]
fn what_a_flash_image_lacks_is_named_and_nothing_is_changed() {
    let desk = Desk::new();
    let good = fs::read(desk.path("flash.bin")).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<u8>), reason: &str| {
        let mut flash = good.clone();
        change(&mut flash);
        fs::write(desk.path("flash.bin"), &flash).unwrap();
        let assert = desk
            .provision("--from device.toml --into flash.bin")
            .code(1);
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(error.contains(reason), "{error}");
        assert!(fs::read(desk.path("flash.bin")).unwrap() == flash);
    };
    let with_table = |flash: &mut Vec<u8>, change: &dyn Fn(&mut partitions::Partition)| {
        let mut table = partitions::default_4mb_partitions();
        change(&mut table[0]);
        let table = partitions::encode(&table).unwrap();
        flash[0x8000..0x8000 + table.len()].copy_from_slice(&table);
    };
    refused(&|flash| flash.truncate(0x8000), "no usable partition table");
    refused(&|flash| flash[0x8004] ^= 0x10, "no usable partition table");
    refused(
        &|flash| flash.truncate(0xC000),
        "the nvs partition ends at 0xd000",
    );
    refused(
        &|flash| with_table(flash, &|nvs| nvs.subtype = partitions::DATA_PHY),
        "has no nvs partition",
    );
    refused(
        &|flash| with_table(flash, &|nvs| nvs.flags = 1),
        "is marked encrypted",
    );
    refused(
        &|flash| with_table(flash, &|nvs| nvs.region.len = 0x2000),
        "at least 12288",
    );
}

/// What a small PKI has, valid and not; and a shared key.
fn write_certificates(desk: &Desk) {
    let put = |name: &str, text: &str| fs::write(desk.path(name), text).unwrap();
    let put_key = |name: &str, key: &KeyPair| {
        let bytes = key.serialize_pem();
        write_atomically(&desk.path(name), Readers::Owner, Existing::Replace, |out| {
            out.write_all(bytes.as_bytes())
        })
        .unwrap();
    };
    let named = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        // Years that a snapshot can hold.
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(2049, 1, 1);
        params
    };
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = named("Workshop CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    put("ca.pem", &ca.self_signed(&ca_key).unwrap().pem());
    let issuer = Issuer::new(ca, ca_key);
    let device = KeyPair::generate().unwrap();
    put_key("desk-1.key", &device);
    let cert = named("desk-1").signed_by(&device, &issuer).unwrap();
    put("desk-1.pem", &cert.pem());
    fs::write(desk.path("desk-1.der"), cert.der()).unwrap();
    put_key("other.key", &KeyPair::generate().unwrap());
    let mut old = named("Old CA");
    old.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    old.not_after = rcgen::date_time_ymd(2024, 2, 1);
    let key = KeyPair::generate().unwrap();
    put("old.pem", &old.self_signed(&key).unwrap().pem());
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut large = named("Large CA");
    large.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    put("p384.pem", &large.self_signed(&key).unwrap().pem());
    put("psk.txt", &format!("{}\n", "5a".repeat(32)));
    put("short.txt", "5a5a\n");
}

const TLS: &str = "--broker mqtts://broker.example --public-key release.pub.pem";

#[test]
fn certificates_and_keys_for_tls_get_into_the_settings_and_not_into_what_is_printed() {
    let desk = Desk::new();
    write_certificates(&desk);
    let run = desk.provision(&format!(
        "{TLS} --ca ca.pem --cert desk-1.pem --key desk-1.key --psk-id desk --psk-file psk.txt \
         --time-server ntp.example --time-server 10.0.0.1 --encryption-key other.key \
         --require-encryption"
    ));
    assert!(!common::shown(&run).contains("5a5a"));
    assert_snapshot(&run, "provision-tls");
    let settings = desk.settings("nvs.bin", ALONE);
    assert_eq!(settings.device_id, Some(DeviceId::new("desk-1").unwrap()));
    assert_eq!(
        settings.broker.as_ref().map(|broker| broker.port),
        Some(8883)
    );
    let identity = settings.tls.identity.as_ref().unwrap();
    assert_eq!(identity.chain, fs::read(desk.path("desk-1.der")).unwrap());
    assert_eq!(
        settings.tls.psk.as_ref().unwrap().key.reveal()[..],
        [0x5A; 32]
    );
    assert_eq!(settings.time_servers, ["ntp.example", "10.0.0.1"]);
    assert!(settings.encryption_key.is_some() && settings.require_encryption);
    #[cfg(unix)]
    assert_eq!(mode(&desk.path("nvs.bin")), 0o600);
    // The same out of a device file, with a certificate in DER.
    let file = "broker = \"mqtts://broker.example\"\npublic_keys = [\"release.pub.pem\"]\nca = \"ca.pem\"\n\
         cert = \"desk-1.der\"\nkey = \"desk-1.key\"\npsk_id = \"desk\"\npsk = { file = \"psk.txt\" }\n\
         time_servers = [\"ntp.example\", \"10.0.0.1\"]\nencryption_key = \"other.key\"\n\
         require_encryption = true\n";
    fs::write(desk.path("tls.toml"), file).unwrap();
    desk.provision("--from tls.toml --out same.bin").success();
    assert_eq!(desk.settings("same.bin", ALONE), settings);
    // It could open none of the packages that it takes.
    let run = desk.provision(&format!("{TLS} --ca ca.pem --require-encryption"));
    assert!(common::shown(&run).contains("--encryption-key"));
    run.code(1);
}

#[test]
fn certificates_that_a_device_could_not_use_are_refused_with_a_reason() {
    let desk = Desk::new();
    write_certificates(&desk);
    let identity = "--ca ca.pem --cert desk-1.pem --key desk-1.key";
    for (arguments, reason) in [
        (
            "",
            "needs something by which the device knows the broker: its CA (--ca FILE)",
        ),
        ("--ca desk-1.pem", "'desk-1' is not an authority (CA)"),
        ("--ca old.pem", "'Old CA' has run out"),
        ("--ca p384.pem", "the key of 'Large CA' is not on P-256"),
        ("--ca wifi.txt", "it holds no certificate in PEM or DER"),
        ("--ca missing.pem", "cannot read missing.pem"),
        (
            "--ca ca.pem --cert ca.pem --key desk-1.key",
            "'Workshop CA' is an authority (CA), not a device's",
        ),
        (
            "--ca ca.pem --cert desk-1.pem --key other.key",
            "does not belong to the certificate of 'desk-1'",
        ),
        (
            "--psk-id desk --psk-file short.txt",
            "32 to 128 hexadecimal digits",
        ),
    ] {
        let run = desk.provision(&format!("{TLS} {arguments}")).code(1);
        let shown = common::shown(&run);
        assert!(shown.contains(reason), "{arguments}: {shown}");
    }
    let run = desk
        .provision(&format!("{TLS} {identity} --id desk-2"))
        .code(1);
    let shown = common::shown(&run);
    assert!(
        shown.contains("the certificate is for 'desk-1' and the device's id is 'desk-2'"),
        "{shown}"
    );
    assert!(!desk.path("nvs.bin").exists());
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let desk = Desk::new();
    assert_snapshot(&desk.provision(""), "provision-nothing");
    assert_snapshot(&desk.provision("--ssid workshop"), "provision-no-terminal");
    assert_snapshot(
        &desk.provision("--ssid workshop --password horse"),
        "provision-short-password",
    );
    assert_snapshot(&desk.provision("--broker http://b"), "provision-broker");
    assert_snapshot(&desk.provision("--id a/b"), "provision-id");
    assert_snapshot(
        &desk.provision("--public-key release.pem"),
        "provision-private-key",
    );
    assert_snapshot(
        &desk.provision("--public-key release.pub.pem --public-key release.pub.pem"),
        "provision-same-key",
    );
    assert_snapshot(
        &desk.provision("--broker mqtt://b --out release.pub.pem"),
        "provision-over-key",
    );
    assert_snapshot(
        &desk.provision("--broker mqtt://b --allowed-host http://a/"),
        "provision-host",
    );
    assert_snapshot(
        &desk.provision("--broker mqtt://b --product 0123456789012345678901234567890123"),
        "provision-product",
    );
    assert!(!desk.path("nvs.bin").exists());
}

#[test]
fn a_wrong_device_file_is_named_by_its_line_and_not_repeated() {
    let desk = Desk::new();
    fs::write(
        desk.path("device.toml"),
        "id = \"a\"\n[[wifi]]\nssid = \"b\"\npassword = \"correct horse\" oops\n",
    )
    .unwrap();
    assert_snapshot(&desk.provision("--from device.toml"), "provision-toml");
    fs::write(
        desk.path("device.toml"),
        "id = \"a\"\nbrocker = \"mqtt://b\"\n",
    )
    .unwrap();
    assert_snapshot(&desk.provision("--from device.toml"), "provision-toml-key");
    fs::write(
        desk.path("device.toml"),
        "[[wifi]]\nssid = \"b\"\npassword = { env = \"OTARIA_NO_SUCH_VARIABLE\" }\n",
    )
    .unwrap();
    assert_snapshot(
        &desk.provision("--from device.toml"),
        "provision-toml-variable",
    );
    assert_snapshot(
        &desk.provision("--from missing.toml"),
        "provision-toml-missing",
    );
}
