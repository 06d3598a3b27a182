use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use otaria_sim::images::Stamp;

use super::*;
use crate::keys::{DecryptionKey, Keyring, PrivateKey as _};
use crate::read::{Trust, read, read_into};

fn recipient() -> DecryptionKey {
    DecryptionKey::from_pem(include_str!("../../tests/keys/recipient.pem"), None).unwrap()
}

fn with_material(test: impl FnOnce(&Material<'_>)) {
    let key = SigningKey::from_pem(include_str!("../../tests/keys/test.pem"), None).unwrap();
    let stranger =
        SigningKey::from_pem(include_str!("../../tests/keys/stranger.pem"), None).unwrap();
    let image = Stamp::new("1.1.0").secure_version(1).size(20_480).image();
    let recipient = recipient().public_key();
    test(&Material {
        recipient: &recipient,
        image: &image,
        key: &key,
        stranger: &stranger,
        target: Target::default(),
    });
}

#[test]
fn every_bad_package_is_refused_with_its_own_code() {
    with_material(|material| {
        let keyring = Keyring::new([material.key.public_key()]);
        for codec in [CodecChoice::Stored, CodecChoice::Deflate] {
            let good = material.good(codec).unwrap();
            read(&good.bytes[..], Trust::Keys(&keyring)).expect("the good package is good");
        }
        let mut wrong = Vec::new();
        for bad in material.bad_packages().unwrap() {
            let result = read(&bad.bytes[..], Trust::Keys(&keyring));
            match result {
                Ok(_) if bad.only_device => {}
                Err(error) if error.code() == bad.code => {}
                // These are refused by a device before it looks any further; a reader without a device goes on to the
                // image, which then contradicts the header.
                Err(_) if bad.only_device => {}
                other => wrong.push(format!(
                    "{}: expected {}, got {other:?}",
                    bad.name, bad.code
                )),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn with_its_key_every_package_that_is_sealed_wrongly_is_refused_with_its_own_code() {
    use FailureCode::{ContentKey, Decrypt, NotARecipient};
    let keys = [recipient()];
    with_material(|material| {
        let keyring = Keyring::new([material.key.public_key()]);
        let mut sealed = material.bad_packages().unwrap();
        sealed.retain(|bad| [ContentKey, Decrypt, NotARecipient].contains(&bad.code));
        assert!(sealed.len() >= 8);
        for bad in sealed {
            let read = read_into(&bad.bytes[..], Trust::Keys(&keyring), &keys, |_| Ok(()));
            let code = read.expect_err(bad.name).code();
            assert_eq!(code, bad.code, "{}", bad.name);
        }
    });
}

#[test]
fn a_co_signature_of_another_key_is_taken_and_checked_when_that_key_is_known() {
    with_material(|material| {
        let good = Forge::new(&material.good(CodecChoice::Stored).unwrap())
            .head(forge::offset::FLAGS, &[1, 0]);
        let cosigner = material.stranger.public_key();
        let with = |signature: [u8; 64]| {
            let middle = [&[1][..], &cosigner.key_id().0, &signature].concat();
            Forge {
                middle,
                ..good.clone()
            }
            .sign(material.key)
        };
        let right = with(material.stranger.sign(&good.message()));
        let wrong = with(material.key.sign(&good.message()));
        let signer = Keyring::new([material.key.public_key()]);
        let both = Keyring::new([material.key.public_key(), cosigner.clone()]);
        for keyring in [&signer, &both] {
            let contents = read(&right[..], Trust::Keys(keyring)).unwrap();
            assert_eq!(contents.cosigners, [cosigner.key_id()]);
        }
        read(&wrong[..], Trust::Keys(&signer)).expect("nobody can check a stranger's co-signature");
        let error = read(&wrong[..], Trust::Keys(&both)).unwrap_err();
        assert_eq!(error.code(), FailureCode::BadSignature);
    });
}

#[test]
fn the_table_of_bad_packages_is_large_and_its_names_are_distinct() {
    with_material(|material| {
        let all = material.bad_packages().unwrap();
        let names: HashSet<_> = all.iter().map(|bad| bad.name).collect();
        assert_eq!(names.len(), all.len());
        let files: HashSet<_> = all.iter().map(|bad| &bad.bytes).collect();
        assert_eq!(files.len(), all.len(), "two rows are the same file");
        assert!(all.len() >= 100, "{} rows", all.len());
        for stage in [Stage::BeforeErase, Stage::Blocks, Stage::Image] {
            assert!(all.iter().any(|bad| bad.stage == stage));
        }
    });
}

/// A second implementation must refuse them too. It checks of the image only its description, so the rows about its
/// inside are left out.
#[test]
fn python_refuses_every_bad_package_as_well() {
    const SCRIPT: &str = "
import os, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import verify_package
from cryptography.hazmat.primitives.serialization import load_pem_public_key
public_key = load_pem_public_key(open(sys.argv[2], 'rb').read())
for name in sorted(os.listdir(sys.argv[3])):
    data = open(os.path.join(sys.argv[3], name), 'rb').read()
    try:
        verify_package.verify(data, public_key)
        print('taken:', name)
    except verify_package.Refused:
        pass
";
    let python =
        || Command::new(std::env::var_os("OTARIA_PYTHON").unwrap_or_else(|| "python3".into()));
    let has_module = python().args(["-c", "import cryptography"]).output();
    if !has_module.is_ok_and(|output| output.status.success()) {
        println!("skipped: Python 3 with the module cryptography is not there");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    with_material(|material| {
        for bad in material.bad_packages().unwrap() {
            if bad.stage != Stage::Image && !bad.only_device {
                fs::write(dir.path().join(bad.name), &bad.bytes).unwrap();
            }
        }
    });
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = python()
        .args(["-c", SCRIPT])
        .arg(here.join("../../tests/python"))
        .arg(here.join("tests/keys/test.pub.pem"))
        .arg(dir.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.is_empty(), "{printed}");
}
