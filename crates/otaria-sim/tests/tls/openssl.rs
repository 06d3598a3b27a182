//! The device's client against `openssl s_server`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use otaria_device::net::ConnectError;
use otaria_device::net::tls::TlsError;
use otaria_device::time::BUILT;
use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, date_time_ymd};

use crate::client::{Device, run};
use crate::pki::{Authority, Badge};
use crate::servers;

/// `openssl s_server` on a free port.
struct SServer {
    process: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for SServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl SServer {
    /// Shows `badge`. It answers each line with the line turned round.
    fn start(badge: &Badge, arguments: &[&str]) -> Option<Self> {
        Self::start_with(arguments, |dir, command| {
            // s_server wants its own certificate and those of others in two files.
            let own = Badge {
                chain: badge.chain[..1].to_vec(),
                ..badge.clone()
            };
            let others = Badge {
                chain: badge.chain[1..].to_vec(),
                ..badge.clone()
            };
            fs::write(dir.join("cert.pem"), own.chain_pem()).unwrap();
            fs::write(dir.join("key.pem"), badge.key_pem()).unwrap();
            command.args(["-cert", "cert.pem", "-key", "key.pem"]);
            if badge.chain.len() > 1 {
                fs::write(dir.join("chain.pem"), others.chain_pem()).unwrap();
                command.args(["-cert_chain", "chain.pem"]);
            }
        })
    }

    fn start_with(arguments: &[&str], prepare: impl FnOnce(&Path, &mut Command)) -> Option<Self> {
        let program = servers::find("openssl")?;
        let dir = tempfile::tempdir().unwrap();
        let port = servers::free_port();
        let mut command = Command::new(program);
        command
            .args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-rev"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        prepare(dir.path(), &mut command);
        command.args(arguments);
        let mut process = command.spawn().unwrap();
        assert!(
            servers::listens(port, &mut process),
            "openssl does not start"
        );
        Some(Self {
            process,
            port,
            _dir: dir,
        })
    }
}

fn refused(error: TlsError) -> Result<(), ConnectError> {
    Err(ConnectError::Tls(error))
}

const HOST: &str = "broker.example";

#[test]
fn what_is_said_arrives_and_so_does_the_answer() {
    let root = Authority::new("root");
    let below = root.below("below");
    let badge = below.server(&[HOST]).with(&below);
    let Some(server) = SServer::start(&badge, &[]) else {
        return;
    };
    run(async {
        let device = Device::trusting(&[&root.der]);
        let line = vec![b'a'; 5000];
        let answer = device
            .with(HOST, server.port, async |open| {
                open.send(b"abc\n").await;
                assert_eq!(open.read(4).await, b"cba\n");
                // More than a record of either side.
                open.send(&line).await;
                open.send(b"\n").await;
                open.read(5001).await
            })
            .await
            .unwrap();
        assert_eq!(answer[..5000], line);
    });
}

/// One row: what the server shows, the settings of the device, and what comes of it.
struct Row {
    name: &'static str,
    badge: Badge,
    device: Device,
    host: &'static str,
    outcome: Result<(), ConnectError>,
}

#[test]
fn a_server_is_trusted_for_its_certificate_or_refused_by_name() {
    let root = Authority::new("root");
    let other = Authority::new("other");
    let below = root.below("below");
    let device = Device::trusting(&[&root.der]);
    let good = |names: &[&str]| below.server(names).with(&below);
    let row = |name, badge, outcome| Row {
        name,
        badge,
        device: device.clone(),
        host: HOST,
        outcome,
    };
    let mut rows = vec![
        row("good", good(&[HOST]), Ok(())),
        row("straight from the root", root.server(&[HOST]), Ok(())),
        row(
            "with the root sent along",
            good(&[HOST]).with(&root),
            Ok(()),
        ),
        row(
            "others in between",
            below.server(&[HOST]).with(&other).with(&below),
            Ok(()),
        ),
        row(
            "for another name",
            good(&["other.example"]),
            refused(TlsError::WrongName),
        ),
        row(
            "for a name below",
            good(&["x.broker.example"]),
            refused(TlsError::WrongName),
        ),
        row(
            "for all names of the domain",
            good(&["*.example"]),
            refused(TlsError::WrongName),
        ),
        row("without names", good(&[]), refused(TlsError::WrongName)),
        row(
            "a link is missing",
            below.server(&[HOST]),
            refused(TlsError::UnknownAuthority),
        ),
        row(
            "from somebody else",
            other.server(&[HOST]).with(&other),
            refused(TlsError::UnknownAuthority),
        ),
        row(
            "expired",
            below
                .server_with(&[HOST], |params| {
                    params.not_after = date_time_ymd(2026, 1, 1);
                })
                .with(&below),
            refused(TlsError::Expired),
        ),
        row(
            "not valid yet",
            below
                .server_with(&[HOST], |params| {
                    params.not_before = date_time_ymd(2030, 1, 1);
                })
                .with(&below),
            refused(TlsError::NotYetValid),
        ),
        row(
            "for clients only",
            below
                .server_with(&[HOST], |params| {
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                })
                .with(&below),
            refused(TlsError::WrongPurpose),
        ),
        row(
            "a key that may not sign",
            below
                .server_with(&[HOST], |params| {
                    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
                })
                .with(&below),
            refused(TlsError::WrongPurpose),
        ),
        row(
            "an authority's own",
            below
                .server_with(&[HOST], |params| {
                    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
                    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
                })
                .with(&below),
            refused(TlsError::WrongPurpose),
        ),
    ];
    // The issuer's name is right, the key is not.
    let impostor = Authority::new("root").below("below");
    rows.push(row(
        "forged",
        impostor.server(&[HOST]).with(&below),
        refused(TlsError::BadSignature),
    ));
    // Defect 2 of embedded-tls 0.19: a device's certificate signs a server's.
    let stolen = below.device("device");
    let fake = Authority::of_a_device(&stolen);
    rows.push(row(
        "signed by a device",
        fake.server(&[HOST]).with(&fake).with(&below),
        refused(TlsError::NotAnAuthority),
    ));
    for (name, change) in [
        ("an authority that may not sign", KeyUsagePurpose::CrlSign),
        (
            "one for signatures of handshakes",
            KeyUsagePurpose::DigitalSignature,
        ),
    ] {
        let powerless = root.below_with("powerless", |params| params.key_usages = vec![change]);
        rows.push(row(
            name,
            powerless.server(&[HOST]).with(&powerless),
            refused(TlsError::NotAnAuthority),
        ));
    }
    for (name, purpose, expected) in [
        (
            "an authority for clients only",
            ExtendedKeyUsagePurpose::ClientAuth,
            refused(TlsError::NotAnAuthority),
        ),
        (
            "an authority for servers",
            ExtendedKeyUsagePurpose::ServerAuth,
            Ok(()),
        ),
    ] {
        let limited = root.below_with("limited", |params| {
            params.extended_key_usages = vec![purpose];
        });
        rows.push(row(name, limited.server(&[HOST]).with(&limited), expected));
    }
    let short = root.below_with("short", |params| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    });
    rows.push(row(
        "within the path's length",
        short.server(&[HOST]).with(&short),
        Ok(()),
    ));
    let too_deep = short.below("too deep");
    rows.push(row(
        "beyond the path's length",
        too_deep.server(&[HOST]).with(&too_deep).with(&short),
        refused(TlsError::NotAnAuthority),
    ));
    let old = root.below_with("old", |params| params.not_after = date_time_ymd(2026, 1, 1));
    rows.push(row(
        "an expired authority",
        old.server(&[HOST]).with(&old),
        refused(TlsError::Expired),
    ));
    let mut self_signed = rcgen::CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    self_signed.is_ca = IsCa::NoCa;
    let key = rcgen::KeyPair::generate().unwrap();
    let own = Badge {
        chain: vec![self_signed.self_signed(&key).unwrap().der().to_vec()],
        key: key.serialize_der(),
    };
    rows.push(row(
        "self-signed",
        own.clone(),
        refused(TlsError::UnknownAuthority),
    ));
    rows.push(Row {
        device: Device::trusting(&[&own.chain[0]]),
        ..row(
            "self-signed, and pinned as if it were an authority",
            own,
            refused(TlsError::NotAnAuthority),
        )
    });
    rows.push(Row {
        device: Device::trusting(&[&other.der, &below.der]),
        ..row("an authority in between is pinned", good(&[HOST]), Ok(()))
    });
    rows.push(Row {
        device: Device::trusting(&[]),
        ..row(
            "nobody is trusted",
            good(&[HOST]),
            refused(TlsError::NobodyTrusted),
        )
    });
    for (host, outcome) in [
        ("127.0.0.1", Ok(())),
        ("[::1]", Ok(())),
        ("127.0.0.2", refused(TlsError::WrongName)),
        ("LOCALHOST", Ok(())),
        ("a.wild.example", Ok(())),
        ("a.b.wild.example", refused(TlsError::WrongName)),
    ] {
        let names = ["127.0.0.1", "::1", "localhost", "*.wild.example"];
        rows.push(Row {
            host,
            ..row("names and addresses", good(&names), outcome)
        });
    }
    // The clock: what it says, what the floor says, and both.
    let dated = |from, until| {
        below
            .server_with(&[HOST], |params| {
                params.not_before = date_time_ymd(from, 1, 1);
                params.not_after = date_time_ymd(until, 1, 1);
            })
            .with(&below)
    };
    let at = |unix, floor| {
        let mut device = device.clone();
        device.unix = unix;
        device.floor = floor;
        device
    };
    const Y2027: u64 = 1_798_761_600;
    const Y2029: u64 = 1_861_920_000;
    for (name, device, outcome) in [
        (
            "no time known: the floor decides what has run out",
            at(None, Y2029 + 1),
            refused(TlsError::Expired),
        ),
        (
            "no time known: what begins after the floor may have begun",
            at(None, BUILT),
            Ok(()),
        ),
        (
            "a clock behind the floor",
            at(Some(Y2027), Y2029 + 1),
            refused(TlsError::Expired),
        ),
        ("the last second", at(Some(Y2029), BUILT), Ok(())),
        (
            "a second later",
            at(Some(Y2029 + 1), BUILT),
            refused(TlsError::Expired),
        ),
        ("the first second", at(Some(Y2027), BUILT), Ok(())),
        (
            "a second earlier",
            at(Some(Y2027 - 1), BUILT),
            refused(TlsError::NotYetValid),
        ),
    ] {
        rows.push(Row {
            device,
            ..row(name, dated(2027, 2029), outcome)
        });
    }
    let Some(_) = servers::find("openssl") else {
        return;
    };
    let mut wrong = Vec::new();
    for row in rows {
        let server = SServer::start(&row.badge, &[]).unwrap();
        let outcome = run(row.device.greet(row.host, server.port));
        if outcome != row.outcome {
            wrong.push(format!(
                "{} ({}): {outcome:?}, not {:?}",
                row.name, row.host, row.outcome
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_device_shows_its_certificate_to_a_server_that_wants_one() {
    let root = Authority::new("root");
    let below = root.below("below");
    let badge = root.server(&[HOST]);
    let Some(server) = SServer::start_with(
        &["-Verify", "3", "-verify_return_error", "-CAfile", "ca.pem"],
        |dir, command| {
            fs::write(
                dir.join("ca.pem"),
                crate::pki::pem("CERTIFICATE", &root.der),
            )
            .unwrap();
            fs::write(dir.join("cert.pem"), badge.chain_pem() + &badge.key_pem()).unwrap();
            command.args(["-cert", "cert.pem"]);
        },
    ) else {
        return;
    };
    let with = |badge: Option<Badge>| {
        let mut device = Device::trusting(&[&root.der]);
        device.tls.identity = badge.map(|badge| (badge.chain.concat(), badge.scalar()));
        device
    };
    // What a server thinks of a certificate it says after the handshake.
    let talk = |device: Device| {
        run(async {
            device
                .with(HOST, server.port, async |open| {
                    use embedded_io_async::Write;
                    let _ = open.stream.write(b"abc\n").await;
                    let _ = open.stream.flush().await;
                    let mut answer = [0; 4];
                    use embedded_io_async::Read;
                    open.stream
                        .read(&mut answer)
                        .await
                        .map(|len| answer[..len].to_vec())
                })
                .await
        })
    };
    assert_eq!(
        talk(with(Some(root.device("d1")))),
        Ok(Ok(b"cba\n".to_vec()))
    );
    let deep = below.device("d1").with(&below);
    assert_eq!(
        talk(with(Some(deep))),
        Ok(Ok(b"cba\n".to_vec())),
        "with its chain"
    );
    let aborted = Ok(Err(embedded_io_async::ErrorKind::ConnectionAborted));
    assert_eq!(talk(with(None)), aborted, "none");
    assert_eq!(
        talk(with(Some(below.device("d1")))),
        aborted,
        "without its chain"
    );
    let stranger = Authority::new("stranger").device("d1");
    assert_eq!(talk(with(Some(stranger))), aborted, "of somebody else");
    let mut unusable = with(Some(root.device("d1")));
    unusable.tls.identity.as_mut().unwrap().1 = [0; 32];
    assert_eq!(
        talk(unusable).map(|_| ()),
        refused(TlsError::Identity),
        "a key that is none"
    );
}

#[test]
fn a_shared_key_proves_both_sides_to_each_other_without_certificates() {
    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let Some(server) = SServer::start_with(
        &[
            "-nocert",
            "-psk",
            KEY,
            "-psk_identity",
            "pump-1",
            "-tls1_3",
            "-allow_no_dhe_kex",
        ],
        |_, _| {},
    ) else {
        return;
    };
    let key: Vec<u8> = (0..32).collect();
    let device = |host: &str, id: &str, key: &[u8]| {
        let mut device = Device::trusting(&[]);
        device.tls.psk = Some((host.to_owned(), id.as_bytes().to_vec(), key.to_vec()));
        device
    };
    let talk = |device: Device| {
        run(device.with(HOST, server.port, async |open| {
            open.send(b"abc\n").await;
            open.read(4).await
        }))
    };
    assert_eq!(talk(device(HOST, "pump-1", &key)), Ok(b"cba\n".to_vec()));
    let mut wrong = key.clone();
    wrong[31] ^= 1;
    // RFC 8446, 4.2.11: a binder that is wrong ends the handshake.
    assert_eq!(
        talk(device(HOST, "pump-1", &wrong)).unwrap_err(),
        ConnectError::Tls(TlsError::Alert(47))
    );
    let unknown = talk(device(HOST, "pump-2", &key)).unwrap_err();
    assert!(
        matches!(unknown, ConnectError::Tls(TlsError::Alert(_))),
        "{unknown:?}"
    );
    assert_eq!(
        talk(device("other.example", "pump-1", &key)).unwrap_err(),
        ConnectError::Tls(TlsError::NobodyTrusted),
        "it is for another host"
    );
    assert_eq!(
        talk(device(HOST, "pump-1", &key[..15])).unwrap_err(),
        ConnectError::Tls(TlsError::Identity),
        "it is too short"
    );
}

#[test]
fn a_server_that_does_not_take_the_shared_key_has_to_show_a_certificate() {
    let root = Authority::new("root");
    let badge = root.server(&[HOST]);
    let Some(server) = SServer::start(&badge, &[]) else {
        return;
    };
    let mut device = Device::trusting(&[]);
    device.tls.psk = Some((HOST.to_owned(), b"pump-1".to_vec(), vec![7; 32]));
    assert_eq!(
        run(device.greet(HOST, server.port)),
        refused(TlsError::PskRefused)
    );
    device.tls.anchors = Authority::new("other").der;
    assert_eq!(
        run(device.greet(HOST, server.port)),
        refused(TlsError::UnknownAuthority)
    );
    device.tls.anchors = root.der;
    assert_eq!(run(device.greet(HOST, server.port)), Ok(()));
}

#[test]
fn servers_without_tls_1_3_or_its_suite_are_refused_by_name() {
    let root = Authority::new("root");
    let badge = root.server(&[HOST]);
    let device = Device::trusting(&[&root.der]);
    for (arguments, number) in [
        (&["-tls1_2"][..], 70),
        (&["-ciphersuites", "TLS_AES_256_GCM_SHA384"], 40),
        (&["-curves", "X25519"], 40),
    ] {
        let Some(server) = SServer::start(&badge, arguments) else {
            return;
        };
        assert_eq!(
            run(device.greet(HOST, server.port)),
            refused(TlsError::Alert(number)),
            "{arguments:?}"
        );
    }
}

#[test]
fn rsa_is_not_taken_and_the_reason_is_said() {
    let Some(openssl) = servers::find("openssl") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let run_openssl = |arguments: &str| {
        let output = Command::new(&openssl)
            .args(arguments.split(' '))
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments}: {output:?}");
    };
    run_openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=rsa -days 3650",
    );
    run_openssl("x509 -in ca.pem -outform DER -out ca.der");
    fs::write(
        dir.path().join("san"),
        format!("subjectAltName=DNS:{HOST}\nbasicConstraints=CA:FALSE"),
    )
    .unwrap();
    let ca = fs::read(dir.path().join("ca.der")).unwrap();
    let mut device = Device::trusting(&[&ca]);
    device.unix = None;
    for (key, outcome) in [
        // The server has nothing to sign with that the device would take.
        ("rsa:2048", refused(TlsError::Alert(40))),
        (
            "ec -pkeyopt ec_paramgen_curve:P-256",
            refused(TlsError::Algorithm),
        ),
    ] {
        run_openssl(&format!(
            "req -newkey {key} -nodes -keyout key.pem -out csr.pem -subj /CN=server"
        ));
        run_openssl(
            "x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 3650 -extfile san",
        );
        let server = SServer::start_with(&[], |to, command| {
            for name in ["cert.pem", "key.pem"] {
                fs::copy(dir.path().join(name), to.join(name)).unwrap();
            }
            command.args(["-cert", "cert.pem", "-key", "key.pem"]);
        })
        .unwrap();
        assert_eq!(run(device.greet(HOST, server.port)), outcome, "{key}");
    }
}
