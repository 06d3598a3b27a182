//! `otaria serve` beside the programs that one would take instead, on the same machine in the same run:
//!
//! - packages over HTTP, and the same files from nginx;
//! - progress of devices until it is in the database, and the same messages through Mosquitto to one subscriber;
//! - memory for each connected device, and for each idle client of Mosquitto.
//!
//! `cargo bench -p otaria --bench peers`. Rounds take turns; what is printed is the median of each and the ratio. Ends with an
//! error where a ratio is below what Otaria promises.

#[path = "../../otaria-sim/tests/servers/mod.rs"]
mod servers;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use otaria_package::keyfile::PrivateKeyFile;
use otaria_package::pack::{Options, TimeStamp, pack};
use otaria_sim::images::Stamp;
use serde_json::Value;
use tempfile::TempDir;

const ROUNDS: usize = 5;
/// Length of the firmware image.
const IMAGE_LEN: usize = 1792 * 1024;
/// Downloads at once, and how many each makes one after the other.
const DOWNLOADS: (usize, usize) = (8, 40);
/// Devices that report at once, and how often each does.
const REPORTS: (usize, usize) = (50, 400);
/// Clients of which one costs so much memory.
const CLIENTS: usize = 1000;
/// What is promised: throughput of nginx, and messages of Mosquitto.
const GOALS: (f64, f64) = (0.8, 0.3);

fn main() -> ExitCode {
    let desk = tempfile::tempdir().unwrap();
    let otaria = Otaria::start(&desk);
    let downloads = downloads(&desk, &otaria);
    let reports = reports(&otaria);
    memory(&otaria);
    let missed = |ratio: Option<f64>, goal| ratio.is_some_and(|ratio| ratio < goal);
    if missed(downloads, GOALS.0) || missed(reports, GOALS.1) {
        eprintln!(
            "a ratio is below what is promised: {} and {}",
            GOALS.0, GOALS.1
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// `otaria serve`, ended when dropped.
struct Otaria {
    process: Child,
    http: SocketAddr,
    mqtt: SocketAddr,
}

impl Otaria {
    fn start(desk: &TempDir) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_otaria"))
            .current_dir(desk.path())
            .args(["serve", "--json", "--open", "--data", "data"])
            .args(["--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line).unwrap();
        let address = |name: &str| started[name].as_str().unwrap().parse().unwrap();
        Self {
            http: address("http"),
            mqtt: address("mqtt"),
            process,
        }
    }

    fn api(&self, path: &str) -> Value {
        let mut answer = ureq::get(format!("http://{}/api/v1/{path}", self.http))
            .call()
            .unwrap();
        answer.body_mut().read_json().unwrap()
    }
}

impl Drop for Otaria {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Bytes a second of packages, as a share of what nginx does.
fn downloads(desk: &TempDir, otaria: &Otaria) -> Option<f64> {
    let package = package(desk);
    let mut answer = ureq::post(format!("http://{}/api/v1/packages", otaria.http))
        .content_type("application/octet-stream")
        .send(&package[..])
        .unwrap();
    let told: Value = answer.body_mut().read_json().unwrap();
    let path = format!("/packages/{}.otaria", told["digest"].as_str().unwrap());
    let nginx = nginx(path.trim_start_matches('/'), &package)?;
    let peer = SocketAddr::from(([127, 0, 0, 1], nginx.port));
    let len = package.len();
    let [ours, theirs] = in_turn([otaria.http, peer], |server, _| {
        let took = time(DOWNLOADS.0, |_| {
            let mut stream = TcpStream::connect(server).unwrap();
            for _ in 0..DOWNLOADS.1 {
                download(&mut stream, &path, len);
            }
        });
        (DOWNLOADS.0 * DOWNLOADS.1 * len) as f64 / took.as_secs_f64()
    });
    println!(
        "packages of {} KiB, {} at once: otaria {:.0} MB/s, nginx {:.0} MB/s",
        len / 1024,
        DOWNLOADS.0,
        ours / 1e6,
        theirs / 1e6
    );
    Some(ratio(ours, theirs, "of nginx"))
}

fn package(desk: &TempDir) -> Vec<u8> {
    let made = Command::new(env!("CARGO_BIN_EXE_otaria"))
        .current_dir(desk.path())
        .args(["keygen", "--out", "release", "--no-passphrase"])
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let key = PrivateKeyFile::read(&desk.path().join("release.pem")).unwrap();
    let image = Stamp::new("1.1.0").size(IMAGE_LEN).image();
    let options = Options::new(TimeStamp {
        sequence: 1,
        created: 1,
    });
    pack(&image, &key.open(None).unwrap(), &options)
        .unwrap()
        .bytes
}

/// nginx as one would set it up to hand out files.
fn nginx(name: &str, package: &[u8]) -> Option<servers::Server> {
    let main = "user root; worker_processes 2; events { worker_connections 1024; }";
    let http = "access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;";
    servers::nginx_with(&[(name, package)], main, http, "")
}

/// One GET on a connection that stays open.
fn download(stream: &mut TcpStream, path: &str, len: usize) {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut buffer = vec![0; 128 * 1024];
    let mut head = Vec::new();
    let begun = loop {
        let n = stream.read(&mut buffer).unwrap();
        assert_ne!(n, 0, "the server has closed");
        head.extend_from_slice(&buffer[..n]);
        if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break head.len() - at - 4;
        }
    };
    assert!(head.starts_with(b"HTTP/1.1 200"));
    let mut left = len - begun;
    while left > 0 {
        let room = buffer.len().min(left);
        let n = stream.read(&mut buffer[..room]).unwrap();
        assert_ne!(n, 0, "the server has closed");
        left -= n;
    }
}

/// Messages a second until they are stored, as a share of what Mosquitto passes through to one subscriber.
fn reports(otaria: &Otaria) -> Option<f64> {
    let mosquitto = mosquitto()?;
    let peer = SocketAddr::from(([127, 0, 0, 1], mosquitto.port));
    let total = REPORTS.0 * REPORTS.1;
    let [ours, theirs] = in_turn([otaria.mqtt, peer], |broker, round| {
        let before = Instant::now();
        thread::scope(|scope| {
            let receiver = (broker == peer).then(|| {
                let mut subscriber = Client::connect(peer, "subscriber");
                subscriber.subscribe("otaria/v1/+/progress");
                scope.spawn(move || (0..total).for_each(|_| drop(subscriber.packet())))
            });
            time(REPORTS.0, |device| report(broker, device, round));
            match receiver {
                Some(receiver) => receiver.join().unwrap(),
                None => {
                    (0..REPORTS.0).for_each(|device| until_stored(otaria, device, round));
                }
            }
        });
        total as f64 / before.elapsed().as_secs_f64()
    });
    println!(
        "progress of {} devices: otaria stores {ours:.0} messages/s, mosquitto passes on {theirs:.0} messages/s",
        REPORTS.0
    );
    Some(ratio(ours, theirs, "of mosquitto"))
}

fn mosquitto() -> Option<servers::Server> {
    servers::mosquitto("allow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true")
}

fn device_id(device: usize) -> String {
    format!("bench-{device}")
}

/// Sends all that one device reports in a round.
fn report(broker: SocketAddr, device: usize, round: usize) {
    let mut client = Client::connect(broker, &device_id(device));
    let topic = format!("otaria/v1/{}/progress", device_id(device));
    for n in 1..=REPORTS.1 {
        client.publish(&topic, &progress(n, round));
    }
    client.ping();
}

/// The rate tells the rounds apart.
fn progress(done: usize, round: usize) -> String {
    let total = REPORTS.1;
    format!(
        r#"{{"job":"bench","phase":"downloading","done":{done},"total":{total},"rate":{round}}}"#
    )
}

/// Waits until the last report of a device is what the API tells.
fn until_stored(otaria: &Otaria, device: usize, round: usize) {
    let last: Value = serde_json::from_str(&progress(REPORTS.1, round)).unwrap();
    let path = format!("devices/{}", device_id(device));
    while otaria.api(&path)["progress"] != last {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Memory of a connected client, in both brokers.
fn memory(otaria: &Otaria) -> Option<()> {
    let mosquitto = mosquitto()?;
    let peer = SocketAddr::from(([127, 0, 0, 1], mosquitto.port));
    let cost = |process: u32, broker| {
        let before = resident(process)?;
        let clients: Vec<Client> = (0..CLIENTS)
            .map(|n| {
                let mut client = Client::connect(broker, &format!("idle-{n}"));
                client.subscribe(&format!("otaria/v1/idle-{n}/desired"));
                client
            })
            .collect();
        let after = resident(process)?;
        drop(clients);
        Some(after.saturating_sub(before) as f64 / CLIENTS as f64)
    };
    let (ours, theirs) = (
        cost(otaria.process.id(), otaria.mqtt)?,
        cost(mosquitto.id(), peer)?,
    );
    println!(
        "memory of a client that is connected: otaria {ours:.1} KiB, mosquitto {theirs:.1} KiB"
    );
    Some(())
}

/// Resident memory of a process in KiB; nothing where the system does not tell it this way.
fn resident(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Two servers, measured in turns; the median of each.
fn in_turn(servers: [SocketAddr; 2], measure: impl Fn(SocketAddr, usize) -> f64) -> [f64; 2] {
    let mut figures = [Vec::new(), Vec::new()];
    // The first round warms up.
    for round in 0..=ROUNDS {
        for (server, figures) in servers.into_iter().zip(&mut figures) {
            let figure = measure(server, round);
            if round > 0 {
                figures.push(figure);
            }
        }
    }
    figures.map(|mut figures| {
        figures.sort_by(f64::total_cmp);
        figures[ROUNDS / 2]
    })
}

/// How long it takes to do something in so many threads at once.
fn time(threads: usize, work: impl Fn(usize) + Sync) -> Duration {
    let begun = Instant::now();
    thread::scope(|scope| {
        for n in 0..threads {
            let work = &work;
            scope.spawn(move || work(n));
        }
    });
    begun.elapsed()
}

fn ratio(ours: f64, theirs: f64, of: &str) -> f64 {
    let ratio = ours / theirs;
    println!("  ratio: {ratio:.2} {of}");
    ratio
}

/// As little of MQTT 5 as it takes, so that the client is not what is measured.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(broker: SocketAddr, id: &str) -> Self {
        let stream = TcpStream::connect(broker).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self {
            stream: BufReader::with_capacity(64 * 1024, stream),
        };
        // Version 5, a new session, 60 seconds, no properties.
        let mut body = b"\0\x04MQTT\x05\x02\0\x3c\0".to_vec();
        text(&mut body, id);
        client.send(0x10, &body);
        let answer = client.packet();
        assert!(
            answer.0 == 0x20 && answer.1[1] == 0,
            "not let in: {answer:?}"
        );
        client
    }

    fn subscribe(&mut self, filter: &str) {
        let mut body = b"\0\x01\0".to_vec();
        text(&mut body, filter);
        body.push(0);
        self.send(0x82, &body);
        assert_eq!(self.packet().0, 0x90);
    }

    /// At most once, as devices do with progress.
    fn publish(&mut self, topic: &str, payload: &str) {
        let mut body = Vec::with_capacity(topic.len() + payload.len() + 3);
        text(&mut body, topic);
        body.push(0);
        body.extend_from_slice(payload.as_bytes());
        self.send(0x30, &body);
    }

    /// Waits until the broker has read all that was sent.
    fn ping(&mut self) {
        self.send(0xC0, &[]);
        while self.packet().0 != 0xD0 {}
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let mut packet = vec![kind];
        let mut left = body.len();
        loop {
            let more = left > 0x7F;
            packet.push((left & 0x7F) as u8 | if more { 0x80 } else { 0 });
            left >>= 7;
            if !more {
                break;
            }
        }
        packet.extend_from_slice(body);
        self.stream.get_mut().write_all(&packet).unwrap();
    }

    /// The next packet: its first byte, and what follows its length.
    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut byte = || {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            byte[0]
        };
        let kind = byte();
        let (mut len, mut shift) = (0, 0);
        loop {
            let next = byte();
            len |= usize::from(next & 0x7F) << shift;
            shift += 7;
            if next < 0x80 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).unwrap();
        (kind, body)
    }
}

/// A text with its length before it.
fn text(packet: &mut Vec<u8>, text: &str) {
    packet.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
    packet.extend_from_slice(text.as_bytes());
}
