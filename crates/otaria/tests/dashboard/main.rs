//! The dashboard in a real browser: first start, log-in, upload, plan, rollout, halt, device page; tokens, keys, webhooks.

mod browser;
#[path = "../../../otaria-sim/tests/servers/mod.rs"]
mod servers;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use otaria_package::key_record::Plan;
use otaria_package::keys::SigningKey;
use otaria_package::pack::{Options, TimeStamp, pack};
use otaria_sim::device::Settings;
use otaria_sim::fleet::{Blueprint, Fleet};
use otaria_sim::images::Stamp;
use serde_json::Value;
use tempfile::TempDir;

use self::browser::{Browser, ENTER, SPACE};

const DEVICES: usize = 4;
const IMAGE_LEN: usize = 32 * 1024;

/// A server with log-in, a fleet, and packages in files.
struct Site {
    server: Child,
    page: String,
    dir: TempDir,
    key: SigningKey,
    _fleet: Fleet,
}

impl Site {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Command::new(env!("CARGO_BIN_EXE_otaria"))
            .args(["serve", "--json", "--http", "127.0.0.1:0"])
            .args(["--mqtt-listen", "127.0.0.1:0", "--data"])
            .arg(dir.path().join("data"))
            .env("OTARIA_CONFIG", dir.path().join("admin.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let started: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("'{line}'"));
        let mqtt: SocketAddr = started["mqtt"].as_str().unwrap().parse().unwrap();
        let key = SigningKey::generate().unwrap();
        Self {
            page: started["page"].as_str().unwrap().to_owned(),
            _fleet: fleet(&key, mqtt.port()),
            server,
            dir,
            key,
        }
    }

    fn password(&self) -> String {
        let file = self.dir.path().join("data/admin-password");
        // Said before the secret is handed over.
        while !file.exists() {
            std::thread::yield_now();
        }
        fs::read_to_string(file).unwrap().trim().to_owned()
    }

    fn package(&self, version: &str, behaviour: &str, sequence: u64) -> PathBuf {
        let image = Stamp::new(version)
            .behaviour(behaviour)
            .size(IMAGE_LEN)
            .image();
        let stamp = TimeStamp {
            sequence,
            created: 1,
        };
        let package = pack(&image, &self.key, &Options::new(stamp)).unwrap();
        let file = self.dir.path().join(format!("{version}.otaria"));
        fs::write(&file, package.bytes).unwrap();
        file
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn fleet(key: &SigningKey, port: u16) -> Fleet {
    let image: Arc<[u8]> = Stamp::new("1.0.0").size(IMAGE_LEN).image().into();
    let keys = [key.public_key().to_sec1()];
    let blueprints = (0..DEVICES).map(|n| {
        let id = format!("pump-{n}");
        let settings = Settings::new(&id, "otaria-demo", &keys, "127.0.0.1", port).unwrap();
        Blueprint::hasty(settings, image.clone(), n as u64 + 1)
    });
    Fleet::start(blueprints.collect()).unwrap()
}

/// What axe-core finds on the page, if it is there: https://github.com/dequelabs/axe-core. It is under the MPL, so it is not among
/// these files; `cargo xtask test` fetches it.
fn accessible(browser: &Browser) {
    let Some(axe) = servers::fetched("OTARIA_AXE") else {
        return;
    };
    let axe = fs::read_to_string(axe).unwrap();
    for dark in [false, true] {
        browser.dark(dark);
        browser.script(&axe);
        let found = browser.script_until_done(
            "const done = arguments[arguments.length - 1];
             axe.run(document, {resultTypes: ['violations']}).then(
               (found) => done(found.violations.map((one) => ({
                 rule: one.id, impact: one.impact, help: one.help,
                 where: one.nodes.slice(0, 3).map((node) => node.html + ' ' + (node.failureSummary ?? '')),
               }))),
               (error) => done([String(error)]));",
        );
        assert_eq!(
            found,
            Value::Array(Vec::new()),
            "dark: {dark}, {}",
            browser.text()
        );
    }
    browser.dark(false);
}

/// Nothing was loaded from elsewhere, nothing is wider than the window, and nothing was reported wrong by the page itself.
fn self_contained(browser: &Browser, site: &Site) {
    let loaded =
        browser.script("return performance.getEntriesByType('resource').map((one) => one.name)");
    for address in loaded.as_array().unwrap() {
        let address = address.as_str().unwrap();
        assert!(address.starts_with(&site.page), "{address}");
    }
    browser.width(500);
    let overflow =
        browser.script("return document.documentElement.scrollWidth - window.innerWidth");
    assert!(
        overflow.as_i64().unwrap() <= 0,
        "{overflow} px too wide for a telephone: {}",
        browser.text()
    );
    browser.width(1280);
}

fn look(browser: &Browser, site: &Site) {
    accessible(browser);
    self_contained(browser, site);
}

fn log_in(browser: &Browser, site: &Site) {
    browser.fill("input[name=user]", "admin");
    browser.fill("input[name=password]", &site.password());
    browser.click("button.main");
}

fn upload(browser: &Browser, package: &std::path::Path, version: &str) {
    browser.go("/packages");
    browser.fill("#file", package.to_str().unwrap());
    browser.click("#upload button");
    browser.reads(version);
}

/// Plans a rollout to all, and begins it.
fn roll_out(browser: &Browser, site: &Site, name: &str) {
    browser.go("/rollouts/new");
    browser.fill("input[name=name]", name);
    browser.fill("input[name=target]", "product:otaria-demo");
    browser.fill("input[name=canary]", "1");
    browser.fill("input[name=percent]", "");
    browser.fill("input[name=soak]", "0s");
    browser.fill("input[name=failures]", "1");
    browser.fill("input[name=retries]", "0");
    browser.click("form[action='/rollouts/plan'] button.main");
    browser.reads("Dry run: nothing has changed yet");
    look(browser, site);
    browser.click("#apply");
    browser.reads("What was asked for");
}

#[test]
fn a_person_updates_a_fleet_in_a_browser_from_the_first_log_in_to_a_halt() {
    let site = Site::open();
    let profile = tempfile::tempdir().unwrap();
    let Some(browser) = Browser::open(&site.page, profile.path()) else {
        return;
    };
    browser.go("/");
    browser.reads("The first time");
    look(&browser, &site);
    browser.fill("input[name=user]", "admin");
    browser.fill("input[name=password]", "not this one");
    browser.click("button.main");
    browser.reads("password");
    log_in(&browser, &site);
    for n in 0..DEVICES {
        browser.reads(&format!("pump-{n}"));
    }
    look(&browser, &site);
    browser.dark(true);
    browser.picture("fleet-dark");
    browser.dark(false);

    upload(&browser, &site.package("1.1.0", "good", 2000), "1.1.0");
    look(&browser, &site);
    roll_out(&browser, &site, "pumps-1.1.0");
    // It goes on before the eyes of whoever watches: the same page, never loaded again.
    browser.script("window.watched = true");
    browser.picture("rollout");
    browser.reads(&format!("{0} / {0}", DEVICES - 1));
    browser.reads("done");
    assert_eq!(browser.script("return window.watched"), true);
    look(&browser, &site);

    // One that crashes halts in the canary wave, and says why.
    upload(&browser, &site.package("1.2.0", "crash", 2001), "1.2.0");
    roll_out(&browser, &site, "pumps-1.2.0");
    browser.reads("It has halted");
    browser.reads("trial_crashed");
    browser.picture("rollout-halted");
    look(&browser, &site);
    browser.click("#act-resume");
    browser.reads("trial_crashed");

    // The device that has rolled back: its update with every step, and its log on request.
    browser.go("/?query=status%3Drolled_back");
    browser.click("th a[href^='/devices/pump-']");
    browser.reads("rolled back");
    browser.click("button[value=logs]");
    browser.reads("warn");
    browser.click("details summary");
    browser.picture("device");
    look(&browser, &site);
    browser.width(500);
    browser.picture("device-phone");
    browser.width(1280);

    for (path, says) in [
        ("/rollouts", "pumps-1.1.0"),
        ("/keys", "Keys"),
        ("/users", "admin"),
        ("/rollouts/new", "by each device's clock"),
        ("/audit", "rollout"),
        ("/devices/nobody", "nobody"),
    ] {
        browser.go(path);
        browser.reads(says);
        look(&browser, &site);
    }
}

#[test]
fn a_person_makes_a_token_changes_the_release_keys_and_adds_a_webhook() {
    let site = Site::open();
    let profile = tempfile::tempdir().unwrap();
    let Some(browser) = Browser::open(&site.page, profile.path()) else {
        return;
    };
    browser.go("/tokens");
    log_in(&browser, &site);
    browser.reads("pump-0");

    // With the keyboard alone: the box is ticked with the space bar, and the form is sent with the enter key.
    browser.go("/tokens");
    browser.press("input[name=name]", "deploys");
    browser.press("input[value=publish]", SPACE);
    browser.press("input[name=days]", ENTER);
    browser.reads("Copy it now");
    let secret = browser.script("return document.getElementById('secret').innerText");
    let secret = secret.as_str().unwrap().to_owned();
    assert!(secret.starts_with("otaria_"), "{secret}");
    look(&browser, &site);
    browser.go("/tokens");
    browser.reads("deploys");
    assert!(!browser.text().contains(&secret), "it is shown once");
    browser.click("#content tr:first-child button.danger");
    browser.agree();
    while browser.text().contains("deploys") {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }

    // The devices trust this key as their root: they take the record, and say so.
    let plan = Plan {
        epoch: 1,
        threshold: 1,
        product: "otaria-demo".to_owned(),
        keys: vec![SigningKey::generate().unwrap().public_key()],
    };
    let record = site.dir.path().join("keys.bin");
    fs::write(&record, plan.sign(&[&site.key]).unwrap()).unwrap();
    browser.go("/keys");
    look(&browser, &site);
    browser.press("input[type=file]", record.to_str().unwrap());
    browser.click("#publish button");
    browser.agree();
    browser.reads("Was sent it");
    for n in 0..DEVICES {
        browser.reads(&format!("pump-{n}"));
    }
    let everybody = Value::from(DEVICES.to_string());
    while browser.script("return document.getElementById('in-force').innerText") != everybody {
        std::thread::sleep(std::time::Duration::from_millis(300));
        browser.go("/keys/otaria-demo");
    }
    browser.picture("keys");
    look(&browser, &site);
    browser.go("/keys/otaria-demo?behind=yes");
    browser.reads("all go by it");

    // Nobody is there: the test says so.
    browser.go("/webhooks");
    browser.fill("input[name=url]", "https://hooks.invalid/otaria");
    browser.press("input[value='update.failed']", SPACE);
    browser.click("#add button");
    browser.reads("Copy the secret");
    look(&browser, &site);
    browser.click("th a[href^='/webhooks/']");
    browser.click("#test");
    browser.reads("given up");
    look(&browser, &site);

    browser.go("/audit");
    for action in [
        "token.create",
        "token.revoke",
        "keys.publish",
        "webhook.add",
    ] {
        browser.reads(action);
    }
}
