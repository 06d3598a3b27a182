//! The commands that talk to a server, as people and scripts use them: against `otaria serve` itself, with a device that is
//! played by an MQTT client.

mod device;
#[path = "../../../otaria-sim/tests/servers/mod.rs"]
mod servers;
mod site;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use device::{Device, known_device};
use site::{Ran, Server, otaria};

/// Far longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../otaria-package/tests/golden/demo-1.1.0-deflate.otaria")
}

#[test]
fn without_a_server_the_error_says_what_to_do() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{nobody}");
    for arguments in [
        &["devices"][..],
        &["device", "d1"],
        &["cancel", "d1"],
        &["logs", "d1"],
        &["watch"],
    ] {
        let ran = Ran::of({
            let mut command = otaria();
            command.args(arguments).args(["--server", &url]);
            command
        });
        assert_eq!(ran.code, 1, "{ran:?}");
        let expected = format!("no server answers at {url}; start one with `otaria serve`");
        assert!(ran.err.contains(&expected), "{ran:?}");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_refusals_with_1() {
    let server = Server::start();
    let file = package();
    let file = file.to_str().unwrap();
    for arguments in [
        &["publish", file][..],
        &["publish", file, "--device", "d1", "--all"],
        &["publish", "--all"],
        &["publish", "--url", "http://h/x", "--device", "d1"],
        &["publish", file, "--all", "--unseen"],
        &["devices", "d1"],
        &["serve"],
        &["serve", "--data", "x", "--mqtt", "http://broker"],
        &[
            "serve",
            "--data",
            "x",
            "--mqtt",
            "mqtt://broker",
            "--mqtt-listen",
            "127.0.0.1:1",
        ],
    ] {
        let ran = server.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?} {ran:?}");
    }
    for (arguments, expected) in [
        (&["device", "nobody"][..], "no device 'nobody'"),
        (&["cancel", "nobody"], "no device 'nobody'"),
        (&["logs", "nobody"], "no device 'nobody'"),
        (
            &["publish", file, "--device", "nobody"],
            "no device 'nobody'",
        ),
        (
            &["publish", file, "--group", "empty"],
            "no device is in group empty",
        ),
        (&["publish", file, "--all"], "no device has reported"),
        (
            &["publish", "missing.otaria", "--all"],
            "cannot read missing.otaria",
        ),
        (&["publish", "Cargo.toml", "--all"], "not a package"),
        (&["watch", "--job", "none"], "there is no job 'none'"),
    ] {
        let ran = server.run(arguments);
        assert_eq!(ran.code, 1, "{arguments:?} {ran:?}");
        assert!(
            ran.err.to_lowercase().contains(expected),
            "{arguments:?} {ran:?}"
        );
        let json = server.run(&[arguments, &["--json"]].concat());
        assert_eq!(json.code, 1);
        assert!(json.json()["error"].is_string(), "{json:?}");
        assert_eq!(json.out.lines().count(), 1, "one document a line: {json:?}");
    }
}

#[test]
fn publishing_and_watching_ends_with_0_when_the_device_has_confirmed() {
    let server = Server::start();
    let device = known_device(&server, "d1");
    let file = package();
    let publish = server
        .command(&[
            "publish",
            file.to_str().unwrap(),
            "--device",
            "d1",
            "--watch",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let wish = device.wish();
    let job = wish["job"].as_str().unwrap();
    device.event(1, job, "accepted", None);
    device.confirms(2, job);
    device.runs(wish["image_sha256"].as_str().unwrap(), "1.1.0");
    let Output {
        status,
        stdout,
        stderr,
    } = publish.wait_with_output().unwrap();
    let ran = Ran {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
    .ok();
    let lines = ran.lines();
    assert_eq!(lines[0]["job"]["id"], job);
    let last = lines
        .iter()
        .rev()
        .find(|line| line["kind"] == "assignment")
        .unwrap();
    assert_eq!(last["data"]["status"], "succeeded");
    assert_eq!(last["data"]["timing"]["confirm_ms"], 12_000);

    let shown = server.run(&["device", "d1"]).ok();
    for words in ["restart to confirm 12.0 s", "-60 dBm", "1 reconnects"] {
        assert!(shown.out.contains(words), "{shown:?}");
    }
    let again = server.run(&["watch", "--job", job]).ok();
    assert!(again.err.contains("1 succeeded"), "{again:?}");
    assert!(again.err.contains("took 17.8 s"), "{again:?}");
    let devices = server.run(&["devices"]).ok();
    assert!(
        devices.out.contains("d1")
            && devices.out.contains("1.1.0")
            && devices.out.contains("succeeded")
    );
    assert_eq!(
        server.run(&["devices", "--json"]).json()[0]["assignment"]["status"],
        "succeeded"
    );
}

#[test]
fn watching_ends_with_1_when_a_device_has_rolled_back_and_says_why() {
    let server = Server::start();
    let device = known_device(&server, "d1");
    let file = package();
    server
        .run(&[
            "publish",
            file.to_str().unwrap(),
            "--all",
            "--job",
            "bad-one",
        ])
        .ok();
    device.event(1, "bad-one", "rolled_back", Some(600));
    let ran = server.run(&["watch", "--job", "bad-one"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.contains("rolled back") && ran.err.contains("trial_crashed"),
        "{ran:?}"
    );
    let shown = server.run(&["device", "d1"]).ok();
    assert!(shown.out.contains("trial_crashed"), "{shown:?}");
}

#[test]
fn groups_choose_devices() {
    let server = Server::start();
    let (one, _two) = (known_device(&server, "d1"), known_device(&server, "d2"));
    server.run(&["device", "d1", "--groups", "canary,lab"]).ok();
    let listed = server
        .run(&["devices", "--group", "canary", "--json"])
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let file = package();
    let published = server
        .run(&[
            "publish",
            file.to_str().unwrap(),
            "--group",
            "canary",
            "--json",
        ])
        .ok()
        .json();
    assert_eq!(
        published["job"]["counts"],
        json!([{"status": "pending", "devices": 1}])
    );
    assert_eq!(one.wish()["job"], published["job"]["id"]);
}

#[test]
fn a_cancel_reaches_the_device() {
    let server = Server::start();
    let device = known_device(&server, "d1");
    let file = package();
    server
        .run(&[
            "publish",
            file.to_str().unwrap(),
            "--device",
            "d1",
            "--job",
            "j",
        ])
        .ok();
    device.wish();
    device.event(1, "j", "accepted", None);
    let cancelled = server.run(&["cancel", "d1", "--json"]).ok().json();
    assert_eq!(
        cancelled,
        json!({"device": "d1", "job": "j", "status": "cancelling"})
    );
    assert!(device.next("desired").payload.is_empty());
    let command: Value = serde_json::from_slice(&device.next("cmd").payload).unwrap();
    assert_eq!(command["cmd"], "cancel");
}

#[test]
fn logs_are_asked_for_and_shown_oldest_first() {
    let server = Server::start();
    let device = known_device(&server, "d1");
    let logs = server
        .command(&["logs", "d1", "--lines", "2", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let command: Value = serde_json::from_slice(&device.next("cmd").payload).unwrap();
    assert_eq!(
        (&command["cmd"], &command["lines"]),
        (&json!("logs"), &json!(2))
    );
    // As devices do: several lines in one message.
    let lines = [(1, "first"), (2, "second")].map(|(n, text)| {
        json!({"n": n, "boot": 1, "t_ms": n, "level": "warn", "text": text}).to_string()
    });
    device.publish_raw("log", false, lines.join("\n"));
    let output = logs.wait_with_output().unwrap();
    assert!(output.status.success());
    let texts: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["text"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(texts, ["first", "second"]);
}

#[test]
fn a_wish_needs_only_a_broker() {
    let server = Server::start();
    let device = Device::connect(server.mqtt, "d1");
    let broker = format!("mqtt://{}", server.mqtt);
    let mut command = otaria();
    command.args([
        "publish",
        "--mqtt",
        &broker,
        "--url",
        "http://files.test/a.otaria",
        "--device",
        "d1",
        "--json",
    ]);
    let ran = Ran::of(command).ok();
    assert_eq!(ran.json()["topic"], "otaria/v1/d1/desired");
    assert_eq!(device.next("desired").payload, "http://files.test/a.otaria");
    let mut wrong = otaria();
    wrong.args([
        "publish",
        "--mqtt",
        &broker,
        "--url",
        "ftp://files.test/a",
        "--device",
        "d1",
    ]);
    let ran = Ran::of(wrong);
    assert!(
        ran.code == 2 && ran.err.contains("would not take"),
        "{ran:?}"
    );
}

/// A broker whose access list does not let anybody declare something for `d1`.
#[test]
fn a_wish_that_the_broker_refuses_is_a_failure_that_names_user_and_topic() {
    let files = tempfile::tempdir().unwrap();
    let rights = files.path().join("rights");
    std::fs::write(
        &rights,
        "topic readwrite #\ntopic deny otaria/v1/d1/desired\n",
    )
    .unwrap();
    let config = format!("allow_anonymous true\nacl_file {}", rights.display());
    let Some(mosquitto) = servers::mosquitto(&config) else {
        return;
    };
    let broker = format!("mqtt://127.0.0.1:{}", mosquitto.port);
    let wish = |device: &str| {
        let mut command = otaria();
        command.args(["publish", "--mqtt", &broker]);
        command.args(["--url", "http://files.test/a.otaria", "--device", device]);
        Ran::of(command)
    };
    let refused = wish("d1");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("refuses the wish (NotAuthorized)")
            && refused.err.contains("a client without a log-in")
            && refused.err.contains("otaria/v1/d1/desired"),
        "{refused:?}"
    );
    wish("d2").ok();
}

#[test]
fn a_brokers_password_is_printed_neither_in_help_nor_in_errors() {
    let dir = tempfile::tempdir().unwrap();
    let login = "operator:hunter2@";
    let key = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../otaria-package/tests/keys/test.pub.pem"
    );
    for (arguments, code, words) in [
        (&["serve", "--data", "x"][..], 1, "--mqtt-ca FILE"),
        (&["simulate", "--key", key], 2, "--mqtt-ca FILE"),
        (
            &["publish", "--url", "http://h/x", "--device", "d1"],
            1,
            "--mqtt-ca FILE",
        ),
    ] {
        let mut command = otaria();
        command.args(arguments).current_dir(dir.path());
        let url = format!("mqtts://{login}broker");
        let ran = Ran::of({
            command.args(["--mqtt", &url]);
            command
        });
        let said = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(said.contains(words), "{said}");
    }
    let mut help = otaria();
    help.args(["serve", "--help"])
        .env("OTARIA_MQTT", format!("mqtt://{login}broker"));
    let help = Ran::of(help).ok();
    assert!(
        help.out.contains("OTARIA_MQTT") && !help.out.contains("hunter2"),
        "{help:?}"
    );
}

/// As after `| true`.
fn nobody_reads(command: &mut Command) -> i32 {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(Stdio::null());
    command.status().unwrap().code().unwrap()
}

#[test]
fn a_result_that_nobody_reads_is_the_same_result() {
    let files = tempfile::tempdir().unwrap();
    let damaged = files.path().join("damaged.otaria");
    let mut bytes = std::fs::read(package()).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let key =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../otaria-package/tests/keys/test.pub.pem");
    let verify = |file: &Path| {
        let mut command = otaria();
        command.args(["verify", "--json", "--key"]).arg(&key);
        nobody_reads(command.arg(file))
    };
    assert_eq!(verify(&damaged), 1);
    assert_eq!(verify(&package()), 0);
    assert_eq!(nobody_reads(otaria().arg("inspect").arg(&damaged)), 1);

    let server = Server::start();
    let device = known_device(&server, "d1");
    let file = package();
    let publish = ["publish", file.to_str().unwrap(), "--all", "--job", "bad"];
    server.run(&publish).ok();
    device.event(1, "bad", "accepted", None);
    let watch = std::thread::spawn({
        let mut command = server.command(&["watch", "--job", "bad", "--json"]);
        move || nobody_reads(&mut command)
    });
    device.event(2, "bad", "rolled_back", Some(600));
    assert_eq!(watch.join().unwrap(), 1);
    assert_eq!(nobody_reads(&mut server.command(&["devices"])), 0);
}

#[test]
fn a_connection_that_breaks_off_is_not_called_a_missing_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        // Reads the request, and hangs up.
        while let Ok((stream, _)) = listener.accept() {
            let _ = BufReader::new(stream).read_line(&mut String::new());
        }
    });
    let mut command = otaria();
    command.args(["devices", "--server", &url]);
    let ran = Ran::of(command);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.contains("broke off") && !ran.err.contains("otaria serve"),
        "{ran:?}"
    );
}

#[test]
fn a_package_that_is_too_large_for_the_server_is_refused_with_its_reason() {
    let server = Server::start();
    let file = server.data.path().join("large.otaria");
    let large = std::fs::File::create(&file).unwrap();
    large.set_len(40 * 1024 * 1024).unwrap();
    let ran = server.run(&["publish", file.to_str().unwrap(), "--all"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("--max-package"), "{ran:?}");
}

#[test]
fn a_device_that_was_mistyped_can_be_forgotten() {
    let server = Server::start();
    let file = package();
    let file = file.to_str().unwrap();
    server
        .run(&["publish", file, "--device", "typo", "--unseen"])
        .ok();
    server.run(&["device", "typo", "--forget"]).ok();
    let listed = server.run(&["devices", "--json"]).ok();
    assert_eq!(listed.json(), json!([]));
    assert_eq!(server.run(&["device", "typo", "--forget"]).code, 1);
}

#[cfg(unix)]
#[test]
fn simulated_flash_is_kept_when_a_service_manager_ends_the_devices() {
    let data = tempfile::tempdir().unwrap();
    let key =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../otaria-package/tests/keys/test.pub.pem");
    let mut process = otaria()
        .args([
            "simulate",
            "--json",
            "--mqtt",
            "mqtt://127.0.0.1:9",
            "--key",
        ])
        .arg(key)
        .arg("--data")
        .arg(data.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(process.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let pid = process.id().to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(told.success());
    assert_eq!(process.wait().unwrap().code(), Some(0));
    let flash = std::fs::metadata(data.path().join("sim-1.bin")).unwrap();
    assert_eq!(flash.len(), 0x40_0000);
}

#[test]
fn a_second_server_on_the_same_data_is_refused_by_name() {
    let server = Server::start();
    let mut command = otaria();
    command
        .args([
            "serve",
            "--open",
            "--http",
            "127.0.0.1:0",
            "--mqtt-listen",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(server.data.path());
    let ran = Ran::of(command);
    assert!(
        ran.code == 1 && ran.err.contains("another server uses"),
        "{ran:?}"
    );
}

#[cfg(unix)]
#[test]
fn the_server_ends_when_it_is_told_to() {
    let mut server = Server::start();
    let pid = server.process.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_log_for_programs_is_one_json_object_a_line() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let to = log.reopen().unwrap().into();
    let server = Server::start_with(&["--log-format", "json"], to);
    let connected = |log: &str| log.contains("connected to the broker");
    let lines = loop {
        let lines = std::fs::read_to_string(log.path()).unwrap();
        if connected(&lines) {
            break lines;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    drop(server);
    let entries: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("'{line}'")))
        .collect();
    let entry = entries
        .iter()
        .find(|entry| connected(&entry["message"].to_string()));
    let entry = entry.unwrap();
    assert_eq!(entry["level"], "INFO");
    assert_eq!(entry["session_present"], false);
    assert!(entry["timestamp"].is_string() && entry["target"].is_string());
}
