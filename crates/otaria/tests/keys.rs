//! What docs/KEYS.md shows, run in its order: the whole life of a key, with a server and simulated devices. What stands for the
//! reader's own machines is replaced by what the test has started; nothing else is.

mod desk;
#[path = "../../otaria-sim/tests/servers/mod.rs"]
mod servers;

use std::fs;
use std::path::Path;
use std::process::Command;

use desk::{Desk, Running, with};
use otaria_sim::images::Stamp;
use serde_json::Value;

const PAGE: &str = "docs/KEYS.md";
/// What a line of the page ends with that a device refuses.
const REFUSED: &str = "# refused: ends with 1";

fn commands(heading: &str) -> Vec<String> {
    desk::commands(PAGE, heading)
}

/// The reader's directory, with the releases that the page speaks of.
fn desk() -> Desk {
    let desk = Desk::new();
    for version in ["1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0"] {
        let image = Stamp::new(version).project("pump").image();
        fs::write(desk.0.path().join(format!("pump-{version}.bin")), image).unwrap();
    }
    desk
}

/// A device that keeps its flash, which knows this root key.
fn device(desk: &Desk, broker: &str, root: &str) -> Running {
    desk.start(&format!(
        "otaria simulate --json --key {root} --mqtt {broker} --prefix pump- --devices 1 --data devices \
         --image pump-1.0.0.bin --flash instant"
    ))
}

/// Switches it off, as Ctrl-C does.
fn switch_off(mut device: Running) {
    let id = device.process.id().to_string();
    let told = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(told.success() && device.process.wait().unwrap().success());
}

#[test]
fn the_whole_life_of_a_key_is_as_the_page_says() {
    let desk = desk();
    let mut server = desk.start(
        "otaria serve --open --json --data data --http 127.0.0.1:0 --mqtt-listen 127.0.0.1:0",
    );
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let broker = format!("mqtt://{}", started["mqtt"].as_str().unwrap());
    let url = format!("http://{}", started["http"].as_str().unwrap());
    let at = |line: &str| match line.split_once(" # ") {
        Some((line, _)) => format!("{line} --server {url}"),
        None if line.starts_with("otaria publish") || line.contains("key publish") => {
            format!("{line} --server {url}")
        }
        None if line == "otaria key list" => format!("{line} --server {url}"),
        None => line.to_owned(),
    };
    let lines = commands("The life of a key");
    let (make, live) = lines.split_at(2);
    for line in make {
        desk.run(line);
    }
    let pump = device(&desk, &broker, "root.pub.pem");
    let known = |known: &str| known.contains("\"pump-1\"");
    desk.wait_for(
        &at("otaria publish").replace("publish", "devices --json"),
        known,
    );
    let mut refused = 0;
    for line in live {
        if line.ends_with(REFUSED) {
            let code = desk.shell(&at(line)).status().unwrap().code();
            assert_eq!(code, Some(1), "{line}");
            refused += 1;
        } else {
            desk.run(&at(line));
        }
    }
    assert_eq!(refused, 2);
    let listed = format!("otaria key list --json --server {url}");
    desk.wait_for(&listed, |keys| {
        let keys: Value = serde_json::from_str(keys).unwrap();
        keys[0]["epoch"] == 4 && keys[0]["in_force"] == 1
    });

    // The root key is lost: other settings over the cable, and epochs begin anew on the device.
    switch_off(pump);
    desk.run("otaria keygen --out root2");
    let _pump = device(&desk, &broker, "root2.pub.pem");
    for line in [
        "otaria key rotate --root root2.pem --release release3.pub.pem --product pump --epoch 5 --out keys2.bin",
        "otaria key publish keys2.bin",
        "otaria package pump-1.5.0.bin --key release3.pem --out pump-1.5.0.otaria",
        "otaria publish pump-1.5.0.otaria --all --watch",
    ] {
        desk.run(&at(line));
    }
}

#[test]
fn a_program_signs_as_the_page_says() {
    if servers::find("openssl").is_none() || servers::find("python3").is_none() {
        return;
    }
    let desk = desk();
    desk.run("otaria keygen --out release");
    desk.run("otaria keygen --out another");
    let lines = commands("Keys in an HSM or a key service");
    for line in &lines {
        desk.run(line);
    }
    // Another key than the one that was named, a program that fails, and one that writes what is no signature.
    let bad = [
        with(&lines[0], "-inkey release.pem", "-inkey another.pem"),
        "otaria package pump-1.1.0.bin --public-key release.pub.pem --out no.otaria --sign-with false".to_owned(),
        "otaria package pump-1.1.0.bin --public-key release.pub.pem --out no.otaria --sign-with 'echo no'".to_owned(),
    ];
    for line in bad {
        let line = line.replace("signed-elsewhere", "no");
        assert_eq!(
            desk.shell(&line).status().unwrap().code(),
            Some(1),
            "{line}"
        );
    }
    assert!(!desk.0.path().join("no.otaria").exists());
}

#[test]
fn a_key_in_a_token_signs_as_the_page_says() {
    let libraries = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ];
    let library = libraries.into_iter().find(|path| Path::new(path).exists());
    let (Some(_), Some(library)) = (servers::find("softhsm2-util"), library) else {
        return;
    };
    let desk = desk();
    let here = desk.0.path().display();
    fs::create_dir(desk.0.path().join("tokens")).unwrap();
    let settings = format!("directories.tokendir = {here}/tokens\nobjectstore.backend = file\n");
    fs::write(desk.0.path().join("softhsm2.conf"), settings).unwrap();
    fs::write(desk.0.path().join("pin"), "1234\n").unwrap();
    // As in a new token, the key is not encrypted on its way there.
    desk.run("otaria keygen --out release --no-passphrase");
    let env = format!("env SOFTHSM2_CONF={here}/softhsm2.conf");
    let lines = commands("Keys in a PKCS#11 token");
    let (last, lines) = lines.split_last().unwrap();
    for line in lines {
        let line = line.replace("/usr/lib/softhsm/libsofthsm2.so", library);
        desk.run(&format!("{env} {line}"));
    }
    desk.run(last);
}

#[test]
fn a_key_record_goes_to_a_device_through_any_broker_as_the_page_says() {
    let lines = commands("Without a server of ours");
    let (Some(broker), Some(_), Some(_)) = (
        servers::mosquitto("allow_anonymous true"),
        servers::find("mosquitto_pub"),
        servers::find("mosquitto_sub"),
    ) else {
        return;
    };
    let desk = desk();
    for line in &commands("The life of a key")[..3] {
        desk.run(line);
    }
    let here = format!("-h 127.0.0.1 -p {}", broker.port);
    let mut states = desk.start(&format!("mosquitto_sub {here} -t otaria/v1/pump-1/state"));
    let line = with(&with(&lines[0], "-h broker.lan", &here), "pump-7", "pump-1");
    desk.run(&line);
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let _pump = device(&desk, &url, "root.pub.pem");
    states.line_with("\"keys\":{\"epoch\":1,");
}
