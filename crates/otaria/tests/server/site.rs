//! A server, and commands against it, as processes.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub(super) fn otaria() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otaria"));
    command
        .env_remove("OTARIA_SERVER")
        .env_remove("OTARIA_MQTT")
        .env_remove("OTARIA_TOKEN")
        // Nobody is logged in anywhere.
        .env(
            "OTARIA_CONFIG",
            std::env::temp_dir().join("otaria-no-log-in"),
        );
    command
}

/// `otaria serve`, as a process of its own.
pub(super) struct Server {
    pub(super) process: Child,
    pub(super) http: String,
    pub(super) mqtt: SocketAddr,
    pub(super) data: TempDir,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with(&[], Stdio::null())
    }

    pub(super) fn start_with(more: &[&str], log: Stdio) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut process = otaria()
            .args([
                "serve",
                "--json",
                "--open",
                "--http",
                "127.0.0.1:0",
                "--mqtt-listen",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(data.path())
            .args(more)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let started: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("'{line}'"));
        Self {
            process,
            http: format!("http://{}", started["http"].as_str().unwrap()),
            mqtt: started["mqtt"].as_str().unwrap().parse().unwrap(),
            data,
        }
    }

    /// Runs a command against this server.
    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments))
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = otaria();
        command.args(arguments).env("OTARIA_SERVER", &self.http);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

impl Ran {
    pub(super) fn of(mut command: Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        Self {
            code: status.code().unwrap(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    pub(super) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// One JSON object a line.
    pub(super) fn lines(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}
