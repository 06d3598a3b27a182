//! The device's client against a server that breaks the rules, one at a time: `rogue.py`, written from the RFC on other code.

use std::fs;
use std::future::ready;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use embassy_futures::select::{Either, select};
use embedded_io_async::{ErrorKind, Read};
use otaria_device::net::ConnectError;
use otaria_device::net::tls::TlsError;

use crate::client::{Device, Open, run};
use crate::pki::{Authority, Badge};
use crate::servers;

const HOST: &str = "broker.example";

/// A server that breaks the rules.
struct Rogue {
    process: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Rogue {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Rogue {
    /// In each connection it breaks another rule.
    fn start(hows: &[&str], badge: &Badge, psk: &str) -> Option<Self> {
        if !servers::python_has("cryptography") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("chain.pem"), badge.chain_pem()).unwrap();
        fs::write(dir.path().join("key.pem"), badge.key_pem()).unwrap();
        let mut process = Command::new(servers::python_program())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/rogue.py"))
            .args(["chain.pem", "key.pem", psk])
            .args(hows)
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().parse().expect("it does not start");
        Some(Self {
            process,
            port,
            _dir: dir,
        })
    }
}

/// What comes of a connection: what was read until its end, and how that came.
type Outcome = Result<(String, Result<(), ErrorKind>), ConnectError>;

fn refused(error: TlsError) -> Outcome {
    Err(ConnectError::Tls(error))
}

fn ends(read: &str, end: Result<(), ErrorKind>) -> Outcome {
    Ok((read.to_owned(), end))
}

/// Connects, says "ping", and reads until "ping" comes back or it is over.
fn talk(device: &Device, rogue: &Rogue) -> Outcome {
    run(device.with(HOST, rogue.port, async |open| {
        let mut read = Vec::new();
        let mut buf = [0; 100];
        let mut said = false;
        loop {
            match open.stream.read(&mut buf).await {
                Ok(0) => return (text(&read), Ok(())),
                Ok(len) => read.extend(buf[..len].iter().filter(|byte| **byte != 0)),
                Err(error) => return (text(&read), Err(error)),
            }
            if read.ends_with(b"hello") && !said {
                said = true;
                use embedded_io_async::Write;
                let _ = open.stream.write_all(b"ping").await;
                let _ = open.stream.flush().await;
            }
            if read.ends_with(b"ping") {
                return (text(&read), Ok(()));
            }
        }
    }))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn whoever_breaks_the_rules_is_refused_and_whoever_uses_them_is_not() {
    let root = Authority::new("root");
    let below = root.below("below");
    let badge = below.server(&[HOST]).with(&below);
    let device = Device::trusting(&[&root.der]);
    let good = || ends("helloping", Ok(()));
    let protocol = || refused(TlsError::Protocol);
    let invalid = |read| ends(read, Err(ErrorKind::InvalidData));
    let rows = [
        ("nothing", good()),
        ("one byte a record", good()),
        ("all in one record", good()),
        ("much padding", good()),
        ("change cipher spec", good()),
        ("asks for a certificate", good()),
        ("data before the device is through", good()),
        ("tickets", good()),
        ("new keys", ends("helloupdatedping", Ok(()))),
        ("empty records", good()),
        ("records of 16 KiB", good()),
        // Defect 1 of embedded-tls 0.19: no certificate at all.
        ("no certificate", refused(TlsError::NoCertificate)),
        (
            "an empty list of certificates",
            refused(TlsError::NoCertificate),
        ),
        ("no proof", refused(TlsError::NoCertificate)),
        ("proof left out for data", protocol()),
        (
            "proof of another handshake",
            refused(TlsError::BadSignature),
        ),
        ("proof by another key", refused(TlsError::BadSignature)),
        ("the client's proof", refused(TlsError::BadSignature)),
        (
            "a proof that is no signature",
            refused(TlsError::BadSignature),
        ),
        ("proof by another scheme", protocol()),
        ("a wrong end", refused(TlsError::BadSignature)),
        ("a short end", refused(TlsError::BadSignature)),
        ("more behind the end", protocol()),
        ("plain HTTP", refused(TlsError::NotTls)),
        ("closes at once", refused(TlsError::Closed)),
        ("cut off in the hello", refused(TlsError::Closed)),
        ("TLS 1.2", refused(TlsError::NothingInCommon)),
        (
            "a version that was not offered",
            refused(TlsError::NothingInCommon),
        ),
        ("wants another hello", refused(TlsError::NothingInCommon)),
        ("a suite that was not offered", protocol()),
        ("a session of its own", protocol()),
        ("no share", protocol()),
        ("an extension twice", protocol()),
        ("takes a key that was not offered", protocol()),
        ("a point that is not on the curve", protocol()),
        ("goes on with the old keys", protocol()),
        ("wrong keys", refused(TlsError::BadRecord)),
        ("an extension that was not asked for", protocol()),
        ("another record size", protocol()),
        ("an answer twice", protocol()),
        ("an extension of a certificate", protocol()),
        ("asks without saying how", protocol()),
        ("change cipher spec without end", protocol()),
        ("extensions left out", protocol()),
        ("data in the handshake", protocol()),
        ("another record within a message", protocol()),
        ("asks twice for a certificate", protocol()),
        ("a very long chain", refused(TlsError::TooLarge)),
        ("a huge certificate", refused(TlsError::TooLarge)),
        ("a certificate cut off", refused(TlsError::BadCertificate)),
        ("new keys in the middle of a record", invalid("")),
        ("another handshake", invalid("")),
        ("wants a certificate later", invalid("")),
        ("an update of another kind", invalid("")),
        ("an empty handshake record", invalid("")),
        ("empty records without end", invalid("")),
        ("new keys without end", invalid("")),
        ("tickets without end", invalid("")),
        ("nothing but padding", invalid("")),
        ("a record in the clear", invalid("")),
        ("an alert in the clear", invalid("")),
        ("a record too large", invalid("")),
        ("the same record twice", invalid("hello")),
        ("a flipped bit", invalid("")),
        ("an alert", ends("", Err(ErrorKind::ConnectionAborted))),
        (
            "closes without a word",
            ends("hello", Err(ErrorKind::ConnectionAborted)),
        ),
        ("closes", ends("hello", Ok(()))),
    ];
    let mut wrong = Vec::new();
    let hows = rows.clone().map(|(how, _)| how);
    let Some(rogue) = Rogue::start(&hows, &badge, "") else {
        return;
    };
    for (how, expected) in rows {
        let outcome = talk(&device, &rogue);
        if outcome != expected {
            wrong.push(format!("{how}: {outcome:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_server_proves_the_shared_key_and_takes_no_other() {
    let badge = Authority::new("root").server(&[HOST]);
    let mut device = Device::trusting(&[]);
    device.tls.psk = Some((HOST.to_owned(), b"pump-1".to_vec(), vec![7; 16]));
    for (how, key, expected) in [
        ("nothing", "07".repeat(16), ends("helloping", Ok(()))),
        // It claims to have the key; what it says next is not sealed with it.
        ("nothing", "08".repeat(16), refused(TlsError::BadRecord)),
        (
            "takes another key",
            "07".repeat(16),
            refused(TlsError::Protocol),
        ),
        // With the key alone whoever gets hold of it later could read what was recorded.
        ("no share", "07".repeat(16), refused(TlsError::Protocol)),
        (
            "a wrong end",
            "07".repeat(16),
            refused(TlsError::BadSignature),
        ),
    ] {
        let Some(rogue) = Rogue::start(&[how], &badge, &key) else {
            return;
        };
        assert_eq!(talk(&device, &rogue), expected, "{how} {key}");
    }
}

#[test]
fn a_read_that_is_cancelled_at_any_byte_takes_nothing_away() {
    // Defect 3 of embedded-tls 0.19.
    let root = Authority::new("root");
    let badge = root.server(&[HOST]);
    let mut device = Device::trusting(&[&root.der]);
    device.drip = true;
    for (how, len) in [
        ("tickets", 5),
        ("new keys", 5),
        ("records of 16 KiB", 3 * 16384 + 5),
    ] {
        let Some(rogue) = Rogue::start(&[how], &badge, "") else {
            return;
        };
        let (read, cancelled) = run(device.with(HOST, rogue.port, async |open| {
            let (mut read, mut cancelled) = (Vec::new(), 0);
            let mut buf = [0; 100];
            while read.len() < len {
                // Polled once, and given up if that brings nothing.
                match select(open.stream.read(&mut buf), ready(())).await {
                    Either::First(result) => read.extend_from_slice(&buf[..result.unwrap()]),
                    Either::Second(()) => {
                        cancelled += 1;
                        tokio::task::yield_now().await;
                    }
                }
            }
            (read, cancelled)
        }))
        .unwrap();
        assert!(read.ends_with(b"hello"), "{how}");
        assert!(read[..len - 5].iter().all(|byte| *byte == 0), "{how}");
        assert!(cancelled > len, "{how}: {cancelled} reads were cancelled");
    }
}

#[test]
fn after_a_write_that_was_dropped_the_connection_refuses_everything() {
    let root = Authority::new("root");
    let badge = root.server(&[HOST]);
    let mut device = Device::trusting(&[&root.der]);
    let Some(rogue) = Rogue::start(&["nothing", "nothing"], &badge, "") else {
        return;
    };
    let interrupted = Err(ErrorKind::Interrupted);
    for drop_it in [false, true] {
        device.stuck_writes = drop_it;
        let outcome = run(device.with(HOST, rogue.port, async |open| {
            use embedded_io_async::Write;
            let mut buf = [0; 100];
            let read = open.stream.read(&mut buf).await;
            // Half a record goes out, then nothing more for now.
            let written = select(open.stream.write(b"ping"), tokio::task::yield_now()).await;
            let written = matches!(written, Either::First(_));
            let again = open.stream.write(b"ping").await.map(|_| ());
            let read_again = open.stream.read(&mut buf).await.map(|_| ());
            (read, written, again, read_again)
        }));
        let expected = match drop_it {
            false => (Ok(5), true, Ok(()), Ok(())),
            true => (Ok(5), false, interrupted, interrupted),
        };
        assert_eq!(outcome, Ok(expected), "{drop_it}");
    }
}

#[test]
fn a_buffer_grows_for_a_server_that_sends_large_records_if_there_is_memory() {
    let root = Authority::new("root");
    let badge = root.server(&[HOST]);
    let mut device = Device::trusting(&[&root.der]);
    let used = |open: &Open<'_>, heap: usize| heap - open.heap.free();
    for (how, heap, expected) in [
        ("nothing", 64 * 1024, Ok(5403)),
        ("records of 16 KiB", 64 * 1024, Ok(17_452)),
        // Both buffers are there until what has come is in the larger one.
        ("records of 16 KiB", 20 * 1024, Err(ErrorKind::OutOfMemory)),
    ] {
        let Some(rogue) = Rogue::start(&[how], &badge, "") else {
            return;
        };
        device.heap = heap;
        let outcome = run(device.with(HOST, rogue.port, async |open| {
            let mut buf = [0; 100];
            open.stream.read(&mut buf).await.map(|_| used(open, heap))
        }));
        assert_eq!(outcome, Ok(expected), "{how} {heap}");
    }
    let Some(rogue) = Rogue::start(&["nothing"], &badge, "") else {
        return;
    };
    device.heap = 5000;
    assert_eq!(talk(&device, &rogue), refused(TlsError::NoMemory));
}
