//! Rollouts as operators see them: `otaria serve` and the commands as processes, and simulated devices whose flash has the
//! last word.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use otaria_package::keyfile::PrivateKeyFile;
use otaria_package::keys::SigningKey;
use otaria_package::pack::{Options, TimeStamp, pack};
use otaria_sim::device::Settings;
use otaria_sim::fleet::{Blueprint, Fleet};
use otaria_sim::images::Stamp;
use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(900);
const IMAGE_LEN: usize = 32 * 1024;
/// Of what ten thousand devices get.
const LARGE_IMAGE_LEN: usize = 256 * 1024;
/// The revision whose devices the first release crashes on.
const NEW_REVISION: u16 = 101;

/// A directory with keys and packages, a server, and a fleet.
struct Site {
    desk: TempDir,
    server: Child,
    http: String,
    fleet: Fleet,
    key: SigningKey,
    sequence: u64,
}

impl Site {
    /// Of a hundred devices three are of the new revision.
    fn open(devices: usize) -> Self {
        let desk = tempfile::tempdir().unwrap();
        let made = otaria(
            desk.path(),
            &["keygen", "--out", "release", "--no-passphrase"],
        )
        .output();
        assert!(made.unwrap().status.success());
        let key = PrivateKeyFile::read(&desk.path().join("release.pem")).unwrap();
        let key = key.open(None).unwrap();
        let mut server = otaria(
            desk.path(),
            &[
                "serve",
                "--json",
                "--open",
                "--http",
                "127.0.0.1:0",
                "--mqtt-listen",
                "127.0.0.1:0",
                "--data",
                "data",
            ],
        )
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let started: Value = serde_json::from_str(&line).unwrap();
        let mqtt: SocketAddr = started["mqtt"].as_str().unwrap().parse().unwrap();
        let site = Self {
            http: format!("http://{}", started["http"].as_str().unwrap()),
            fleet: fleet(devices, &key, mqtt.port()),
            server,
            desk,
            key,
            sequence: 2000,
        };
        site.until("all devices to report", || {
            // A list of thousands costs the server time that it has not got to spare just then.
            std::thread::sleep(Duration::from_millis(devices as u64 / 2));
            let known = site.json(&["devices", "--query", "online and version = 1.0.0"]);
            known.as_array().unwrap().len() == devices
        });
        site
    }

    /// Makes a package and a rollout of it.
    fn release(&mut self, version: &str, behaviour: &str, rollout: &str) {
        self.release_of(IMAGE_LEN, version, behaviour, rollout);
    }

    fn release_of(&mut self, len: usize, version: &str, behaviour: &str, rollout: &str) {
        let image = Stamp::new(version).behaviour(behaviour).size(len).image();
        self.sequence += 1;
        let options = Options::new(TimeStamp {
            sequence: self.sequence,
            created: 1,
        });
        let package = pack(&image, &self.key, &options).unwrap();
        let file = format!("{version}.otaria");
        std::fs::write(self.desk.path().join(&file), package.bytes).unwrap();
        let text = format!("name = \"r-{version}\"\npackage = \"{file}\"\n{rollout}");
        std::fs::write(self.desk.path().join(format!("{version}.toml")), text).unwrap();
    }

    /// Runs a command; its exit code and its one JSON document.
    fn run(&self, arguments: &[&str]) -> (i32, Value) {
        let mut command = otaria(self.desk.path(), arguments);
        let output = command
            .arg("--json")
            .env("OTARIA_SERVER", &self.http)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let last = match serde_json::from_str(&text) {
            Ok(document) => document,
            // One that reports as it goes.
            Err(_) => serde_json::from_str(text.lines().last().unwrap_or("null")).unwrap_or_else(
                |error| {
                    panic!(
                        "{arguments:?}: {error}: {text} {}",
                        String::from_utf8_lossy(&output.stderr)
                    )
                },
            ),
        };
        (output.status.code().unwrap(), last)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (code, document) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {document}");
        document
    }

    /// The API without the command line.
    fn api(&self, path: &str) -> Value {
        let mut answer = ureq::get(format!("{}/api/v1/{path}", self.http))
            .call()
            .unwrap();
        answer.body_mut().read_json().unwrap()
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// The most memory that the server has had, in KiB (proc(5), `VmHWM`).
    #[cfg(target_os = "linux")]
    fn server_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.unwrap().trim_end_matches("kB").trim().parse().unwrap()
    }

    /// How many devices would start this version, by their flash, and have no trial open.
    fn flash_boots(&self, version: &str) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let found = runtime.block_on(self.fleet.inspect()).unwrap();
        let boots = found.iter().filter(|one| {
            !one.on_trial
                && one
                    .boots
                    .as_ref()
                    .is_some_and(|(boots, _)| boots == version)
        });
        boots.count()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn otaria(desk: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otaria"));
    command
        .args(arguments)
        .current_dir(desk)
        .env_remove("OTARIA_TOKEN")
        .env("OTARIA_CONFIG", desk.join("no-log-in"));
    command
}

fn fleet(devices: usize, key: &SigningKey, port: u16) -> Fleet {
    let image: Arc<[u8]> = Stamp::new("1.0.0").size(IMAGE_LEN).image().into();
    let keys = [key.public_key().to_sec1()];
    let blueprints = (0..devices).map(|n| {
        let id = format!("d{n:04}");
        let settings = Settings::new(&id, "otaria-demo", &keys, "127.0.0.1", port).unwrap();
        let mut blueprint = Blueprint::hasty(settings, image.clone(), n as u64 + 1);
        if n % 100 < 3 {
            blueprint.hardware.revision = NEW_REVISION;
        }
        blueprint
    });
    Fleet::start(blueprints.collect()).unwrap()
}

const STAGED: &str = r#"
target = "product:otaria-demo"

[[waves]]
name = "canary"
count = 20
spread = "chip_rev"

[[waves]]
name = "a tenth"
percent = 10

[[waves]]
name = "all others"

[limits]
concurrent = 150
"#;

#[test]
fn a_defect_of_three_percent_of_a_thousand_devices_halts_in_the_canary_wave_and_the_fixed_package_goes_to_all()
 {
    const DEVICES: usize = 1000;
    let mut site = Site::open(DEVICES);
    site.release("1.1.0", "crash-on:101", STAGED);
    let plan = site.json(&["rollout", "plan", "1.1.0.toml"]);
    assert_eq!(
        (
            plan["devices"].as_u64(),
            plan["waves"][0]["devices"].as_array().unwrap().len()
        ),
        (Some(1000), 20)
    );
    assert_eq!(
        site.json(&["rollout", "list"]),
        serde_json::json!([]),
        "a plan changes nothing"
    );

    site.json(&["rollout", "apply", "1.1.0.toml"]);
    let (code, halted) = site.run(&["rollout", "status", "r-1.1.0", "--watch"]);
    assert_eq!(
        (code, halted["state"].as_str(), halted["wave"].as_u64()),
        (1, Some("halted"), Some(0)),
        "{halted}"
    );
    let reason = halted["reason"].as_str().unwrap();
    assert!(
        reason.contains("trial_crashed")
            && reason.contains("with esp32c3 revision 1.1; of all others 0 of"),
        "{reason}"
    );
    println!("halted because {reason}");
    site.until("trials to end", || {
        site.api("rollouts/r-1.1.0")["total"]["in_flight"].as_u64() == Some(0)
    });
    let (by_api, by_command) = (
        site.api("rollouts/r-1.1.0"),
        site.json(&["rollout", "status", "r-1.1.0"]),
    );
    assert_eq!(by_api["total"], by_command["total"]);
    let confirmed = by_api["total"]["confirmed"].as_u64().unwrap();
    assert!(
        confirmed <= 10,
        "only the canaries of the old revision can have it: {confirmed}"
    );
    assert_eq!(site.flash_boots("1.1.0") as u64, confirmed);
    assert_eq!(
        site.flash_boots("1.0.0") as u64,
        DEVICES as u64 - confirmed,
        "all others are as they were"
    );
    site.json(&["rollout", "cancel", "r-1.1.0"]);

    site.release("1.2.0", "good", STAGED);
    site.json(&["rollout", "apply", "1.2.0.toml"]);
    let (code, done) = site.run(&["rollout", "status", "r-1.2.0", "--watch"]);
    assert_eq!((code, done["state"].as_str()), (0, Some("done")), "{done}");
    let (by_api, by_command) = (
        site.api("rollouts/r-1.2.0"),
        site.json(&["rollout", "status", "r-1.2.0"]),
    );
    assert_eq!(by_api["total"], by_command["total"]);
    assert_eq!(by_api["total"]["confirmed"].as_u64(), Some(DEVICES as u64));
    assert_eq!(site.flash_boots("1.2.0"), DEVICES);
    let devices = site.json(&[
        "devices",
        "--query",
        "version = 1.2.0 and status = succeeded",
    ]);
    assert_eq!(devices.as_array().unwrap().len(), DEVICES);
}

/// The devices run in this process, on one thread, and all start in the same instant; the server in its own.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "takes both cores for minutes; run it alone, with --release --nocapture"]
fn ten_thousand_devices_update_within_the_servers_memory_and_nothing_is_lost_or_doubled() {
    const DEVICES: usize = 10_000;
    const MEMORY_MAX_KIB: u64 = 600 * 1024;
    let begun = Instant::now();
    let mut site = Site::open(DEVICES);
    println!("all have reported after {:?}", begun.elapsed());
    println!("server: {} KiB", site.server_memory());
    assert!(begun.elapsed() < Duration::from_secs(180));

    let limits = "target = \"all\"\n[limits]\nconcurrent = 500\n";
    site.release_of(LARGE_IMAGE_LEN, "1.1.0", "good", limits);
    let asked = Instant::now();
    let plan = site.json(&["rollout", "plan", "1.1.0.toml"]);
    println!("planned in {:?}", asked.elapsed());
    assert_eq!(plan["devices"].as_u64(), Some(DEVICES as u64));
    let begun = Instant::now();
    site.json(&["rollout", "apply", "1.1.0.toml"]);
    site.until("the rollout to end", || {
        let total = &site.api("rollouts/r-1.1.0")["total"];
        println!(
            "{:?}: {total}, server {} KiB",
            begun.elapsed(),
            site.server_memory()
        );
        std::thread::sleep(Duration::from_secs(9));
        total["confirmed"].as_u64() == Some(DEVICES as u64) || total["failed"].as_u64() != Some(0)
    });
    let done = site.api("rollouts/r-1.1.0");
    println!("updated in {:?}", begun.elapsed());
    assert_eq!(
        done["total"]["confirmed"].as_u64(),
        Some(DEVICES as u64),
        "{done}"
    );
    assert_eq!(site.flash_boots("1.1.0"), DEVICES);
    assert!(
        site.server_memory() < MEMORY_MAX_KIB,
        "{} KiB",
        site.server_memory()
    );
}

#[test]
fn a_fleet_goes_back_to_the_old_image_in_a_newer_package() {
    let mut site = Site::open(4);
    site.release(
        "1.1.0",
        "good",
        "target = \"all\"\n[limits]\nconcurrent = 4\n",
    );
    site.json(&["rollout", "apply", "1.1.0.toml"]);
    let (code, done) = site.run(&["rollout", "status", "r-1.1.0", "--watch"]);
    assert_eq!(code, 0, "{done}");
    // Packaged before, but never published: older than what runs.
    site.sequence = 1000;
    site.release("1.0.5", "good", "target = \"all\"");
    let back = [
        "rollout",
        "back",
        "r-1.1.0",
        "--package",
        "1.0.5.otaria",
        "--key",
        "release.pem",
    ];
    let made = site.json(&back);
    assert_eq!(
        (made["id"].as_str(), made["total"]["devices"].as_u64()),
        (Some("r-1.1.0-back"), Some(4)),
        "{made}"
    );
    let (code, done) = site.run(&["rollout", "status", "r-1.1.0-back", "--watch"]);
    assert_eq!(code, 0, "{done}");
    assert_eq!(site.flash_boots("1.0.5"), 4);
    let (code, refused) = site.run(&["rollout", "pause", "r-1.1.0-back"]);
    assert_eq!(code, 1);
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains("is done: it cannot be told to pause"),
        "{refused}"
    );
    let history = site.json(&["device", "history", "d0000"]);
    assert_eq!(history.as_array().unwrap().len(), 2);
    assert_eq!(history[0]["steps"][0]["status"], "pending");
}

#[test]
fn a_rollout_that_cannot_be_read_says_what_and_where() {
    let mut site = Site::open(1);
    site.release("1.1.0", "good", "target = \"versio < 1\"");
    let (code, error) = site.run(&["rollout", "plan", "1.1.0.toml"]);
    assert_eq!(code, 1);
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("there is no field 'versio'"),
        "{error}"
    );
    site.release("1.1.0", "good", "target = \"all\"\nlimit = 3");
    let (code, error) = site.run(&["rollout", "plan", "1.1.0.toml"]);
    assert_eq!(code, 1);
    assert!(error.to_string().contains("limit"), "{error}");
}
