//! A server with TLS and the programs that come to it.

#[path = "../../../otaria-sim/tests/servers/mod.rs"]
pub(crate) mod servers;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use otaria_server::{Access, Config, Mqtt, RunningServer, Server, Tls, new_device_key};
use otaria_wire::topics::DeviceId;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server with TLS, on this machine, where everybody may use the API: log-in is tested elsewhere.
pub(crate) struct Site {
    pub(crate) server: RunningServer,
    pub(crate) data: TempDir,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub(crate) struct Badge {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

pub(crate) fn config(data: &Path) -> Config {
    let any = "127.0.0.1:0".parse().unwrap();
    let mut config = Config::new(data);
    config.http = any;
    config.mqtt = Mqtt::Embedded { listen: any };
    config.tls = Some(Tls::default());
    config.access = Access::Open;
    config
}

impl Site {
    /// `None` if the programs are missing, and may be.
    pub(crate) async fn start() -> Option<Self> {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Option<Self> {
        for program in ["openssl", "curl", "mosquitto_pub", "mosquitto_sub"] {
            servers::find(program)?;
        }
        let data = tempfile::tempdir().unwrap();
        let mut config = config(data.path());
        change(&mut config);
        let server = Server::start(config).await.unwrap();
        server.connected().await;
        Some(Self { server, data })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.data.path().join("tls").join(name)
    }

    pub(crate) fn mqtt(&self) -> SocketAddr {
        self.server.addresses.mqtt.unwrap()
    }

    pub(crate) async fn curl(&self, badge: Option<&Badge>, arguments: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command.args(["-sS", "--cacert"]).arg(self.file("ca.pem"));
        if let Some(badge) = badge {
            command.arg("--cert").arg(&badge.cert);
            command.arg("--key").arg(&badge.key);
        }
        command.args(arguments);
        run(command).await
    }

    pub(crate) async fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}/api/v1/{path}", self.server.addresses.page);
        let body = body.to_string();
        let json = "content-type: application/json";
        let arguments = ["-X", method, "-H", json, "-d", &body, &url];
        let output = self.curl(None, &arguments).await;
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// What `otaria device add` does.
    pub(crate) async fn enroll(&self, id: &str) -> Badge {
        let key = new_device_key(&DeviceId::new(id).unwrap()).unwrap();
        let path = format!("devices/{id}/certificates");
        let issued = self
            .api("POST", &path, &json!({"request": key.request}))
            .await;
        // A device that is added again keeps its old files, too.
        let name = format!("{id}-{}", issued["serial"].as_str().unwrap());
        self.badge(&name, issued["certificate"].as_str().unwrap(), &key.pem)
    }

    pub(crate) fn badge(&self, name: &str, cert: &str, key: &str) -> Badge {
        let badge = Badge {
            cert: self.data.path().join(format!("{name}.cert")),
            key: self.data.path().join(format!("{name}.key")),
        };
        fs::write(&badge.cert, cert).unwrap();
        fs::write(&badge.key, key).unwrap();
        badge
    }

    /// A certificate that the server would not make, by its own authority.
    pub(crate) fn forge(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Badge {
        let read = |file: &str| fs::read_to_string(self.file(file)).unwrap();
        let authority = KeyPair::from_pem(&read("ca.key")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), authority).unwrap();
        let (cert, key) = leaf(name, &issuer, change);
        self.badge(&format!("forged-{}", name.len()), &cert, &key)
    }

    /// Mosquitto's own client, as a device.
    pub(crate) fn mosquitto(&self, program: &str, badge: &Badge, client: &str) -> Command {
        mosquitto(
            program,
            self.mqtt().port(),
            &self.file("ca.pem"),
            badge,
            client,
        )
    }

    pub(crate) async fn publish(
        &self,
        badge: &Badge,
        client: &str,
        topic: &str,
        payload: &str,
    ) -> Output {
        let mut command = self.mosquitto("mosquitto_pub", badge, client);
        command.args(["-q", "1", "-t", topic, "-m", payload]);
        run(command).await
    }

    pub(crate) async fn knows(&self, device: &str) -> bool {
        let found = self
            .api("GET", &format!("devices/{device}"), &Value::Null)
            .await;
        found["id"] == device
    }

    pub(crate) async fn wait_until_known(&self, device: &str) {
        while !self.knows(device).await {
            tokio::task::yield_now().await;
        }
    }

    /// OpenSSL's client; its standard input and output are the session.
    pub(crate) fn s_client(
        &self,
        to: SocketAddr,
        badge: Option<&Badge>,
        arguments: &[&str],
    ) -> Session {
        // Longer than anything here takes: a session that only this ends has failed its test.
        let mut command = Command::new("timeout");
        command.args([
            "60",
            "openssl",
            "s_client",
            "-quiet",
            "-connect",
            &to.to_string(),
        ]);
        command.args(["-verify_return_error", "-CAfile"]);
        command.arg(self.file("ca.pem")).args(arguments);
        if let Some(badge) = badge {
            command.arg("-cert").arg(&badge.cert);
            command.arg("-key").arg(&badge.key);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let out = process.stdout.take().unwrap();
        Session {
            process,
            out,
            started: Instant::now(),
        }
    }
}

/// A leaf certificate for a name, and its key.
pub(crate) fn leaf(
    name: &str,
    issuer: &Issuer<'_, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    change(&mut params);
    let cert = params.signed_by(&key, issuer).unwrap();
    (cert.pem(), key.serialize_pem())
}

pub(crate) fn mosquitto(
    program: &str,
    port: u16,
    ca: &Path,
    badge: &Badge,
    client: &str,
) -> Command {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", "5"]);
    command.args(["-i", client, "--cafile"]).arg(ca);
    command.arg("--cert").arg(&badge.cert);
    command.arg("--key").arg(&badge.key);
    command
}

pub(crate) async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

pub(crate) struct Session {
    pub(crate) process: Child,
    pub(crate) out: ChildStdout,
    started: Instant,
}

impl Session {
    /// CONNECT of MQTT 5 with a clean start.
    pub(crate) fn connect(&mut self, client: &str) {
        let id = client.as_bytes();
        let mut packet = vec![0x10, u8::try_from(13 + id.len()).unwrap()];
        packet.extend_from_slice(b"\0\x04MQTT\x05\x02\0\0\0\0");
        packet.push(u8::try_from(id.len()).unwrap());
        packet.extend_from_slice(id);
        // The other end may have gone already.
        let _ = self.process.stdin.as_mut().unwrap().write_all(&packet);
    }

    /// The reason in CONNACK; `None` if the session ends without one.
    pub(crate) fn connack(&mut self) -> Option<u8> {
        let mut head = [0; 4];
        self.out.read_exact(&mut head).ok()?;
        assert_eq!(head[0], 0x20, "{head:?}");
        Some(head[3])
    }

    /// Reads until the other end has closed; what OpenSSL says about it.
    pub(crate) fn ended(mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.out.read_to_end(&mut rest);
        assert!(
            self.started.elapsed() < Duration::from_secs(55),
            "the server has not ended it"
        );
        let mut said = String::new();
        let mut errors = self.process.stderr.take().unwrap();
        let _ = errors.read_to_string(&mut said);
        said
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
