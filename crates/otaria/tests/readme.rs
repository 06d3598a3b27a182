//! What the README shows: an example, as it is in its file; and commands, taken from its text and run in its order. What stands
//! for the reader's own machines (`broker.lan`, a port that everybody knows) is replaced by what the test has started; nothing
//! else is.

mod desk;
#[path = "../../otaria-sim/tests/servers/mod.rs"]
mod servers;

use std::fs;

use desk::{BUILT, Desk, Running, file, with};
use otaria_settings::host::{about, nvs_region, read_partition};
use otaria_wire::partitions;
use otaria_wire::topics::DeviceId;
use serde_json::Value;

fn commands(heading: &str) -> Vec<String> {
    desk::commands("README.md", heading)
}

/// `cargo xtask test` builds the file.
#[test]
fn the_readme_shows_the_smallest_application_as_it_is() {
    let shown = desk::blocks("README.md", "Add Otaria to your own firmware", "rust");
    assert_eq!(shown, [file("examples/minimal/src/main.rs")]);
}

#[test]
fn a_package_is_signed_as_the_readme_says() {
    let desk = Desk::with_package();
    assert!(desk.0.path().join("pump-1.1.0.otaria").is_file());
}

#[test]
fn a_package_is_encrypted_as_the_readme_says() {
    let desk = Desk::with_package();
    for command in commands("Encrypt a package") {
        desk.run(&command);
    }
    let package = fs::read(desk.0.path().join("pump-1.2.0.otaria")).unwrap();
    let image = fs::read(desk.0.path().join(BUILT).join("pump")).unwrap();
    let product = |bytes: &[u8]| bytes.windows(8).filter(|at| at == b"pump\0\0\0\0").count();
    // In the header, for everybody; the one in the image is sealed.
    assert_eq!((product(&package[..320]), product(&package[320..])), (1, 0));
    assert!(product(&image) > 0);
}

const ANYWHERE: &str = "--http 127.0.0.1:0 --mqtt-listen 127.0.0.1:0 --json";

/// The server's address; it runs, with four simulated devices that have reported, until the rest is dropped.
fn with_four_pumps(desk: &Desk, serve: &str) -> (String, [Running; 2]) {
    let mut server = desk.start(&with(serve, "--bind 0.0.0.0 --insecure", ANYWHERE));
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let mqtt = started["mqtt"].as_str().unwrap();
    let url = format!("http://{}", started["http"].as_str().unwrap());
    let devices = desk.start(&format!(
        "otaria simulate --json --key release.pub.pem --mqtt mqtt://{mqtt} --prefix pump- --devices 4 \
         --image pump-1.0.0.bin --flash instant"
    ));
    // `--all` and queries are for those who have reported.
    desk.wait_for(&format!("otaria devices --json --server {url}"), |known| {
        known.matches("\"heap_free\"").count() >= 4
    });
    (url, [server, devices])
}

#[test]
fn a_release_is_brought_to_many_devices_as_the_readme_says() {
    let desk = Desk::with_package();
    let (url, _serving) = with_four_pumps(&desk, &commands("Run a fleet")[0]);
    let file = with(
        &desk::blocks("README.md", "Bring a release", "toml")[0],
        "\"1h\"",
        "\"1s\"",
    );
    fs::write(desk.0.path().join("pump-1.1.0.toml"), file).unwrap();
    for command in commands("Bring a release") {
        desk.run(&format!("{command} --server {url}"));
    }
    let updated = desk
        .shell(&format!(
            "otaria devices --json --server {url} --query 'version = 1.1'"
        ))
        .output()
        .unwrap();
    let updated: Value = serde_json::from_slice(&updated.stdout).unwrap();
    assert_eq!(updated.as_array().unwrap().len(), 4);
}

#[test]
fn a_fleet_is_run_as_the_readme_says() {
    let desk = Desk::with_package();
    let lines = commands("Run a fleet");
    let [serve, publish, devices, chosen, logs, trusted, add, revoke] = &lines[..] else {
        panic!("other commands than before: {lines:?}");
    };
    let (url, _serving) = with_four_pumps(&desk, serve);
    let at = |line: &str| format!("{line} --server {url}");
    desk.run(&at(publish));
    desk.run(&at(devices));
    desk.run(&at(chosen));
    desk.start(&at(logs)).line_with("1.1.0");

    let mut server = desk.start(&with(
        &with(trusted, "--bind 0.0.0.0", ANYWHERE),
        "./data",
        "./trusted",
    ));
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let page = started["page"].as_str().unwrap();
    assert!(page.starts_with("https://"), "{page}");
    desk.write_device_file();
    desk.run(&format!("{add} --server {page}"));
    assert!(desk.0.path().join("certs/pump-7.key.pem").is_file());
    assert!(desk.0.path().join("pump-7.bin").is_file());
    desk.run(&format!("{revoke} --server {page}"));
}

/// What builds for the chip and what needs a board, to publish too, is left out: an image that stands for the firmware takes its place.
#[test]
fn a_board_is_set_up_as_the_readme_says() {
    let desk = Desk::new();
    let lines = commands("Update a real board");
    let [_, keygen, serve, _, add, _, _, _] = &lines[..] else {
        panic!("other commands than before: {lines:?}");
    };
    desk.run(keygen);
    let anywhere = "--http 127.0.0.1:0 --mqtt-listen 127.0.0.1:0 --json";
    let mut server = desk.start(&with(serve, "--bind 0.0.0.0", anywhere));
    let started: Value = serde_json::from_str(&server.line()).unwrap();
    let page = started["page"].as_str().unwrap();
    let port: u16 = started["mqtt"].as_str().unwrap()["127.0.0.1:".len()..]
        .parse()
        .unwrap();
    let dist = desk.0.path().join("dist/esp32c3");
    fs::create_dir_all(&dist).unwrap();
    let table = partitions::encode(&partitions::default_4mb_partitions()).unwrap();
    let mut flash = vec![0xFF; 0x10_0000];
    flash[0x8000..0x8000 + table.len()].copy_from_slice(&table);
    fs::write(dist.join("flash.bin"), flash).unwrap();
    desk.write_device_file();
    desk.run(&format!("{add} --server {page}"));

    let flash = fs::read(dist.join("flash.bin")).unwrap();
    let nvs = nvs_region(&flash).unwrap();
    let settings = read_partition(&flash[nvs.offset as usize..nvs.end() as usize]).unwrap();
    let id = settings.device_id.as_ref().map(DeviceId::as_str);
    assert_eq!(id, Some("desk-1"));
    let broker = settings.broker.unwrap();
    assert_eq!(
        (broker.tls, broker.host.as_str(), broker.port),
        (true, "127.0.0.1", port)
    );
    assert_eq!((settings.wifi.len(), settings.signers.len()), (1, 1));
    let named = about(&settings.tls.identity.unwrap().chain);
    assert_eq!(named[0].name, "desk-1");
    assert!(
        about(&settings.tls.authorities)[0]
            .name
            .starts_with("Otaria CA")
    );
}

#[test]
fn a_device_is_updated_without_any_server_of_ours_as_the_readme_says() {
    let desk = Desk::with_package();
    let lines = commands("Without any server of ours");
    let [publish, simulate] = &lines[..] else {
        panic!("other commands than before: {lines:?}");
    };
    let package = fs::read(desk.0.path().join("pump-1.1.0.otaria")).unwrap();
    let (Some(broker), Some(web), Some(_), Some(_)) = (
        servers::mosquitto("allow_anonymous true"),
        servers::nginx(&[("pump-1.1.0.otaria", &package)], ""),
        servers::find("mosquitto_pub"),
        servers::find("mosquitto_sub"),
    ) else {
        return;
    };
    let port = broker.port;
    let heard = format!("mosquitto_sub -h 127.0.0.1 -p {port} -q 1 -t otaria/v1/pump-7/event");
    let mut events = desk.start(&heard);
    let here = format!("-h 127.0.0.1 -p {port}");
    let publish = with(publish, "-h broker.lan", &here);
    desk.run(&with(&publish, "http://files.lan/", &web.url("")));
    let broker = format!("mqtt://127.0.0.1:{port}");
    let _devices = desk.start(&with(simulate, "mqtt://broker.lan", &broker));
    events.line_with("\"confirmed\"");
}
