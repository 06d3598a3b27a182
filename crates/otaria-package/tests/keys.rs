//! Keys: what other programs make of ours, and we of theirs.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{program_runs, python, python_has, text};
use otaria_package::files::Existing;
use otaria_package::key_record::Plan;
use otaria_package::keyfile::{KeyFileError, KeyPairPaths, PrivateKeyFile, read_public};
use otaria_package::keys::{KeyError, PrivateKey as _, PublicKey, SigningKey};
use otaria_package::pack::{Options, TimeStamp, pack};
use p256::pkcs8::DecodePrivateKey as _;

const PASSPHRASE: &str = "correct horse battery staple";

/// Writes an encrypted and a plain key pair into a directory.
fn write_pairs(dir: &Path) -> (SigningKey, KeyPairPaths, KeyPairPaths) {
    let key = SigningKey::generate().unwrap();
    let encrypted = KeyPairPaths::new(&dir.join("encrypted"));
    let plain = KeyPairPaths::new(&dir.join("plain.pem"));
    encrypted
        .write(&key, Some(PASSPHRASE), Existing::Keep)
        .unwrap();
    plain.write(&key, None, Existing::Keep).unwrap();
    (key, encrypted, plain)
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_key_comes_back_from_its_file_with_or_without_passphrase() {
    let dir = tempfile::tempdir().unwrap();
    let (key, encrypted, plain) = write_pairs(dir.path());
    assert_eq!(plain.private, dir.path().join("plain.pem"));
    assert_eq!(plain.public, dir.path().join("plain.pub.pem"));

    let file = PrivateKeyFile::read(&encrypted.private).unwrap();
    assert!(file.needs_passphrase());
    assert_eq!(
        file.open(Some(PASSPHRASE)).unwrap().public_key(),
        key.public_key()
    );
    let file = PrivateKeyFile::read(&plain.private).unwrap();
    assert!(!file.needs_passphrase());
    assert_eq!(file.open(None).unwrap().public_key(), key.public_key());
    assert_eq!(read_public(&encrypted.public).unwrap(), key.public_key());
    assert_eq!(
        PublicKey::from_sec1(&key.public_key().to_sec1()),
        Ok(key.public_key())
    );
}

#[test]
fn openssl_reads_our_keys_and_verifies_our_signatures() {
    if !program_runs("openssl", "version") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (key, encrypted, plain) = write_pairs(dir.path());
    let public = fs::read_to_string(&plain.public).unwrap();
    for (file, passphrase) in [(&encrypted.private, PASSPHRASE), (&plain.private, "")] {
        let pass = format!("pass:{passphrase}");
        let derived = run(Command::new("openssl")
            .args(["pkey", "-pubout", "-passin", &pass, "-in"])
            .arg(file));
        assert_eq!(derived, public);
    }
    // openssl wants the signature as DER: SEQUENCE { INTEGER r, INTEGER s }.
    let signature = key.sign(b"message");
    let integer = |bytes: &[u8]| {
        let significant: Vec<u8> = bytes
            .iter()
            .copied()
            .skip_while(|byte| *byte == 0)
            .collect();
        let padding = if significant[0] >= 0x80 {
            vec![0]
        } else {
            Vec::new()
        };
        let value = [padding, significant].concat();
        [vec![2, value.len() as u8], value].concat()
    };
    let integers = [integer(&signature[..32]), integer(&signature[32..])].concat();
    let der = [vec![0x30, integers.len() as u8], integers].concat();
    let (der_file, message) = (dir.path().join("signature"), dir.path().join("message"));
    fs::write(&der_file, der).unwrap();
    fs::write(&message, b"message").unwrap();
    let mut verify = Command::new("openssl");
    verify
        .args(["dgst", "-sha256", "-verify"])
        .arg(&plain.public)
        .arg("-signature")
        .arg(&der_file)
        .arg(&message);
    assert!(run(&mut verify).contains("Verified OK"));
}

#[test]
fn keys_made_by_openssl_are_read() {
    if !program_runs("openssl", "version") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let make = [
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
    ];
    run(Command::new("openssl").args(make).arg(file("plain")));
    // PBKDF2 is openssl's default for encrypted keys, scrypt is ours.
    let pbkdf2 = [
        "pkcs8", "-topk8", "-v2", "aes256", "-passout", "pass:abc", "-in",
    ];
    run(Command::new("openssl")
        .args(pbkdf2)
        .arg(file("plain"))
        .arg("-out")
        .arg(file("pbkdf2")));
    let scrypt = ["pkcs8", "-topk8", "-scrypt", "-passout", "pass:abc", "-in"];
    run(Command::new("openssl")
        .args(scrypt)
        .arg(file("plain"))
        .arg("-out")
        .arg(file("scrypt")));
    run(Command::new("openssl")
        .args(["ec", "-in"])
        .arg(file("plain"))
        .arg("-out")
        .arg(file("old")));
    run(Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(file("plain"))
        .arg("-out")
        .arg(file("public")));

    let read = |name: &str| fs::read_to_string(file(name)).unwrap();
    let public = PublicKey::from_pem(&read("public")).unwrap();
    assert_eq!(
        SigningKey::from_pem(&read("plain"), None)
            .unwrap()
            .public_key(),
        public
    );
    for encrypted in ["pbkdf2", "scrypt"] {
        assert_eq!(
            SigningKey::from_pem(&read(encrypted), Some("abc"))
                .unwrap()
                .public_key(),
            public,
            "{encrypted}"
        );
    }
    assert_eq!(
        SigningKey::from_pem(&read("old"), None).unwrap_err(),
        KeyError::OldForm
    );
}

#[test]
fn pythons_cryptography_reads_our_keys() {
    if !python_has("cryptography") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (key, encrypted, plain) = write_pairs(dir.path());
    let script = "
import sys
from cryptography.hazmat.primitives.serialization import *
private = load_pem_private_key(open(sys.argv[1], 'rb').read(), sys.argv[4].encode())
assert private.curve.name == 'secp256r1'
plain = load_pem_private_key(open(sys.argv[2], 'rb').read(), None)
assert private.private_numbers() == plain.private_numbers()
public = load_pem_public_key(open(sys.argv[3], 'rb').read())
assert public.public_numbers() == private.public_key().public_numbers()
print(public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint).hex())
";
    let printed = run(python()
        .args(["-c", script])
        .args([&encrypted.private, &plain.private, &plain.public])
        .arg(PASSPHRASE));
    assert_eq!(printed.trim(), key.public_key().to_sec1_hex());
}

#[test]
fn wrong_keys_and_passphrases_are_refused_by_name() {
    let key = SigningKey::generate().unwrap();
    let encrypted = key.to_pem(Some(PASSPHRASE)).unwrap();
    let plain = key.to_pem(None).unwrap();
    let public = key.public_key().to_pem();
    let other = |passphrase| SigningKey::from_pem(&encrypted, passphrase).unwrap_err();
    assert_eq!(other(None), KeyError::PassphraseNeeded);
    assert_eq!(other(Some("wrong")), KeyError::WrongPassphrase);
    assert_eq!(other(Some("")), KeyError::WrongPassphrase);
    assert_eq!(key.to_pem(Some("")).unwrap_err(), KeyError::EmptyPassphrase);
    assert_eq!(
        SigningKey::from_pem(&public, None).unwrap_err(),
        KeyError::IsPublic
    );
    assert_eq!(
        PublicKey::from_pem(&plain).unwrap_err(),
        KeyError::IsPrivate
    );
    assert_eq!(
        PublicKey::from_pem(&encrypted).unwrap_err(),
        KeyError::IsPrivate
    );
    assert_eq!(
        SigningKey::from_pem("", None).unwrap_err(),
        KeyError::NotPem
    );
    let certificate = public.replace("PUBLIC KEY", "CERTIFICATE");
    assert_eq!(
        PublicKey::from_pem(&certificate).unwrap_err(),
        KeyError::OtherLabel("CERTIFICATE".to_owned())
    );
    let damaged = public.replacen("MFkw", "MFkx", 1);
    assert_eq!(
        PublicKey::from_pem(&damaged).unwrap_err(),
        KeyError::NotP256
    );
    // Ed25519 (RFC 8410, section 10.3): a good key of another kind.
    let ed25519 = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    assert_eq!(
        SigningKey::from_pem(ed25519, None).unwrap_err(),
        KeyError::NotP256
    );
}

#[test]
fn a_private_key_is_never_printed_by_accident() {
    let key = SigningKey::generate().unwrap();
    let secret: Vec<String> = key
        .to_pem(None)
        .unwrap()
        .lines()
        .map(ToOwned::to_owned)
        .collect();
    let debug = format!("{key:?}");
    assert_eq!(debug, format!("SigningKey({})", key.public_key().key_id()));
    assert!(secret.iter().all(|line| !debug.contains(line)));
}

#[test]
fn existing_keys_are_kept_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let paths = KeyPairPaths::new(&dir.path().join("k"));
    let (first, second) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    paths.write(&first, None, Existing::Keep).unwrap();
    let error = paths.write(&second, None, Existing::Keep).unwrap_err();
    assert!(matches!(error, KeyFileError::Exists(path) if path == paths.private));
    assert_eq!(read_public(&paths.public).unwrap(), first.public_key());
    fs::remove_file(&paths.private).unwrap();
    let error = paths.write(&second, None, Existing::Keep).unwrap_err();
    assert!(matches!(error, KeyFileError::Exists(path) if path == paths.public));
    assert!(!paths.private.exists(), "half a key pair was written");
    paths.write(&second, None, Existing::Replace).unwrap();
    assert_eq!(read_public(&paths.public).unwrap(), second.public_key());
}

#[cfg(unix)]
#[test]
fn a_private_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (_, encrypted, plain) = write_pairs(dir.path());
    for path in [&encrypted.private, &plain.private] {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        for mode in [0o640, 0o604, 0o660, 0o610] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            match PrivateKeyFile::read(path) {
                Err(error @ KeyFileError::ReadableByOthers { .. }) => {
                    assert!(error.to_string().contains("chmod 600"), "{error}");
                }
                other => panic!("mode {mode:o}: {:?}", other.map(|_| "accepted")),
            }
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o400)).unwrap();
        PrivateKeyFile::read(path).expect("read-only for the owner is fine");
    }
}

#[test]
fn a_signature_is_the_same_every_time() {
    // RFC 6979, appendix A.2.5: P-256 with SHA-256, message "sample".
    let x = "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721";
    let r = "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716";
    let s = "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8";
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect()
    };
    let secret = p256::SecretKey::from_slice(&bytes(x)).unwrap();
    let pem = pkcs8::EncodePrivateKey::to_pkcs8_pem(&secret, pkcs8::LineEnding::LF).unwrap();
    let key = SigningKey::from_pem(&pem, None).unwrap();
    assert_eq!(key.sign(b"sample").to_vec(), [bytes(r), bytes(s)].concat());
    assert!(key.public_key().verify(b"sample", &key.sign(b"sample")));
    assert!(!key.public_key().verify(b"simple", &key.sign(b"sample")));
}

/// CVE-2024-47943: devices took what was signed with a secret that every image held.
#[test]
fn nothing_that_devices_are_given_signs_for_them() {
    let pem = include_str!("keys/test.pem");
    let key = SigningKey::from_pem(pem, None).unwrap();
    let image = otaria_sim::images::Stamp::new("1.1.0").image();
    let package = pack(
        &image,
        &key,
        &Options::new(TimeStamp::at(std::time::SystemTime::UNIX_EPOCH)),
    )
    .unwrap();
    let record = Plan {
        epoch: 1,
        threshold: 1,
        product: "demo".to_owned(),
        keys: vec![key.public_key()],
    };
    let record = record.sign(&[&key]).unwrap();
    let secret = p256::SecretKey::from_pkcs8_pem(pem).unwrap().to_bytes();
    let reversed: Vec<u8> = secret.iter().rev().copied().collect();
    // 32 bytes sign for a key if, and only if, they are its secret number.
    for (name, given) in [
        ("image", &image[..]),
        ("package", &package.bytes),
        ("settings", &key.public_key().to_sec1()),
        ("key record", &record),
    ] {
        for window in given.windows(32) {
            assert_ne!(window, &secret[..], "{name}");
            assert_ne!(window, reversed, "{name}");
        }
    }
}
