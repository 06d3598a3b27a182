//! A server in a process of its own, which is killed with SIGKILL. The process is the test program itself, started again
//! with a directory in its environment: each test file that uses this has a test `the_server_that_is_killed`.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use otaria_server::{Access, Config, Database, Mqtt, PackageStore, Server};
use serde::{Deserialize, Serialize};

use crate::common::{Http, wait_for};

const DATA: &str = "OTARIA_TEST_KILL_DATA";
const BROKER: &str = "OTARIA_TEST_KILL_BROKER";
const LISTEN: &str = "OTARIA_TEST_KILL_LISTEN";
const SHARE: &str = "OTARIA_TEST_KILL_SHARE";
pub(crate) const EMBEDDED: &str = "embedded";

/// What the process does that was started to be killed; the others do nothing.
pub(crate) async fn serve_if_asked() {
    let (Some(data), Ok(broker)) = (std::env::var_os(DATA), std::env::var(BROKER)) else {
        return;
    };
    let mut config = Config::new(data);
    config.access = Access::Open;
    config.webhooks_to_private = true;
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (http, mqtt) = match std::env::var(LISTEN) {
        Ok(listen) => {
            let (http, mqtt) = listen.split_once(' ').unwrap();
            (http.parse().unwrap(), mqtt.parse().unwrap())
        }
        Err(_) => {
            // Else each start has an address of its own, which devices would be told.
            config.public_url = Some("http://ota.test".to_owned());
            (any, any)
        }
    };
    if let Ok(share) = std::env::var(SHARE) {
        let share: Share = serde_json::from_str(&share).unwrap();
        config.database = Database::Postgres(share.database.parse().unwrap());
        config.packages = PackageStore::Directory(share.packages);
        config.public_url = Some(share.public_url);
    }
    config.http = http;
    config.mqtt = match broker.as_str() {
        EMBEDDED => Mqtt::Embedded { listen: mqtt },
        external => Mqtt::External(external.parse().unwrap()),
    };
    let server = Server::start(config).await.unwrap();
    println!("listening {}", server.addresses.http);
    println!("broker {}", server.addresses.broker);
    std::future::pending::<()>().await;
}

/// What servers have in common that work together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) database: String,
    pub(crate) packages: PathBuf,
    pub(crate) public_url: String,
}

pub(crate) struct Victim {
    process: Child,
    pub(crate) http: Http,
    pub(crate) mqtt: SocketAddr,
}

impl Victim {
    pub(crate) fn start(data: &Path, broker: SocketAddr) -> Self {
        Self::with(data, &format!("mqtt://{broker}"))
    }

    pub(crate) fn with(data: &Path, broker: &str) -> Self {
        Self::spawn(data, broker, None, None)
    }

    /// One of several that work together.
    pub(crate) fn sharing(
        data: &Path,
        broker: SocketAddr,
        http: SocketAddr,
        share: &Share,
    ) -> Self {
        let listen = format!("{http} {broker}");
        let broker = format!("mqtt://{broker}");
        Self::spawn(data, &broker, Some(listen), Some(share))
    }

    /// With a broker of its own, on a database that others could use, too.
    pub(crate) fn alone(data: &Path, share: &Share) -> Self {
        let any = "127.0.0.1:0";
        Self::spawn(data, EMBEDDED, Some(format!("{any} {any}")), Some(share))
    }

    /// With its own broker, at the same addresses each time: for devices that fetch packages.
    pub(crate) fn at(data: &Path, http: SocketAddr, mqtt: SocketAddr) -> Self {
        Self::spawn(data, EMBEDDED, Some(format!("{http} {mqtt}")), None)
    }

    fn spawn(data: &Path, broker: &str, listen: Option<String>, share: Option<&Share>) -> Self {
        let share = share.map(|share| serde_json::to_string(share).unwrap());
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "the_server_that_is_killed",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DATA, data)
            .env(BROKER, broker)
            .envs(listen.map(|listen| (LISTEN, listen)))
            .envs(share.map(|share| (SHARE, share)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut said = |what: &str| -> String {
            lines
                .find_map(|line| Some(line.unwrap().split_once(what)?.1.trim().to_owned()))
                .expect("the server says where it listens")
        };
        let http = Http::at(said("listening ").parse().unwrap());
        let mqtt = said("broker mqtt://").parse().unwrap();
        // Keep reading, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            http,
            mqtt,
        }
    }

    /// SIGSTOP, and SIGCONT: a machine that swaps, or a virtual one that is moved.
    pub(crate) fn sleep(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn wake(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success(), "{signal}");
    }

    /// SIGKILL: no code of the server runs any more.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

pub(crate) async fn connected(http: &Http) {
    wait_for("the broker", || async {
        http.get("/api/v1/health").await.1["broker_connected"] == true
    })
    .await;
}
