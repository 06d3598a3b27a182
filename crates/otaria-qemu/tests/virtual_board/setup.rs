//! Set-up: a board that knows no network is told one, by whoever joins its access point or holds its serial port.

use std::net::Ipv4Addr;
use std::time::Duration;

use otaria_settings::{BrokerUrl, Settings, WifiNetwork};

use crate::lab::{Device, LIMIT, Lab, Web, partition};

const DEVICE: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 1);
const WIFI_PASSWORD: &str = "correct horse battery";
const BROKER_PASSWORD: &str = "staple-at-the-broker";
/// As the board calls itself by its MAC address, which is QEMU's usual one.
const CHIP_ID: &str = "virt-123456";

/// Nothing of it was ever on the console.
fn is_silent_about(console: &[String], secrets: &[&str]) {
    for secret in secrets {
        let said = console.iter().find(|line| line.contains(secret));
        assert_eq!(said, None, "{secret}");
    }
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_board_without_settings_is_set_up_by_a_telephone() {
    let Some(lab) = Lab::open(Web::Nginx, &[]) else {
        return;
    };
    let mut device = lab.device_with(&[], CHIP_ID);
    let mut telephone = device.peer();
    device.power_on();
    device.says("set-up: the password of \"otaria-3456\" is ");
    device.says("set-up: access point \"otaria-3456\" is open");

    let lease = telephone.lease(LIMIT).expect("an address");
    assert_eq!(lease.address, Ipv4Addr::new(192, 168, 4, 2));
    assert_eq!(
        (lease.router, &lease.name_servers[..]),
        (Some(DEVICE), &[DEVICE][..])
    );
    let found = telephone.resolve(DEVICE, "connectivitycheck.gstatic.com");
    assert_eq!(found, [DEVICE.into()]);

    // A browser that opens a connection for nothing is in nobody's way.
    telephone.idle(DEVICE);
    let probe = "GET /generate_204 HTTP/1.1\r\nHost: connectivitycheck.gstatic.com\r\n\r\n";
    let reply = telephone.http(DEVICE, probe).expect("a redirect");
    assert!(reply.starts_with("HTTP/1.1 302 Found\r\nLocation: http://192.168.4.1/\r\n"));
    let page = "GET / HTTP/1.1\r\nHost: 192.168.4.1\r\n\r\n";
    let reply = telephone.http(DEVICE, page).expect("the page");
    assert!(reply.contains("<h1>otaria-3456</h1>") && reply.contains("<option value=\"cable\">"));

    // Nobody answers in the network that is entered first: the board comes back and says so.
    let broker = lab.broker_url();
    let post = |ssid: &str| {
        let body = format!(
            "ssid={ssid}&password={}&broker={}&broker_user=me&broker_password={BROKER_PASSWORD}\
             &signer0=04{:0128}&hosts=evil.example&device_id=evil&unguarded=1",
            WIFI_PASSWORD.replace(' ', "+"),
            broker.replace(':', "%3A").replace('/', "%2F"),
            7,
        );
        format!(
            "POST /save HTTP/1.1\r\nHost: 192.168.4.1\r\nOrigin: http://192.168.4.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let reply = telephone.http(DEVICE, &post("nobody")).expect("a reply");
    assert!(reply.contains("leaves now and joins"), "{reply}");
    device.says("set-up: \u{201c}nobody\u{201d} does not answer");
    telephone.lease(LIMIT).expect("an address again");
    let reply = telephone.http(DEVICE, page).expect("the page again");
    assert!(
        reply.contains("class=\"bad\">\u{201c}nobody\u{201d} does not answer"),
        "{reply}"
    );
    assert!(!reply.contains(WIFI_PASSWORD) && !reply.contains(BROKER_PASSWORD));

    telephone.be_a_network();
    telephone.http(DEVICE, &post("cable")).expect("a reply");
    let is_done = || {
        let console = device.machine().console();
        console.iter().any(|line| line.contains("set-up: done"))
    };
    let is_done = telephone.work_until(LIMIT, is_done);
    let console = device.power_off();
    assert!(is_done, "{console:#?}");
    let passwords = console
        .iter()
        .filter(|line| line.contains("the password of"));
    assert_eq!(
        passwords.count(),
        1,
        "the boot's password stays: {console:#?}"
    );
    is_silent_about(&console, &[WIFI_PASSWORD, BROKER_PASSWORD]);

    // Wi-Fi and broker, and nothing else that was in the form.
    let expected = Settings {
        wifi: vec![WifiNetwork::new("cable", WIFI_PASSWORD).unwrap()],
        broker: Some(
            BrokerUrl::parse(&broker)
                .unwrap()
                .with_credentials("me", Some(BROKER_PASSWORD.into()))
                .unwrap(),
        ),
        ..Settings::default()
    };
    assert_eq!(device.stored(), expected);

    // In its network it goes to its broker, and opens no access point again.
    device.board.cable = otaria_qemu::machine::Cable::User;
    device.power_on();
    device.runs_confirmed(0, "1.0.0");
    let console = device.power_off();
    is_silent_about(&console, &[WIFI_PASSWORD, BROKER_PASSWORD, "set-up:"]);
}

/// An Improv packet: RPC command, or what a device answers with.
fn packet(kind: u8, data: &[u8]) -> Vec<u8> {
    let len = u8::try_from(data.len()).unwrap();
    let mut packet = [b"IMPROV\x01", &[kind, len][..], data].concat();
    packet.push(
        packet
            .iter()
            .fold(0, |sum: u8, byte| sum.wrapping_add(*byte)),
    );
    packet
}

const STATE: u8 = 1;
const ERROR: u8 = 2;
const COMMAND: u8 = 3;
const RESULT: u8 = 4;

fn wifi(ssid: &str, password: &str) -> Vec<u8> {
    let mut data = Vec::new();
    for text in [ssid, password] {
        data.push(u8::try_from(text.len()).unwrap());
        data.extend(text.as_bytes());
    }
    [&[1, u8::try_from(data.len()).unwrap()], &data[..]].concat()
}

/// Sends a command; waits for each of these packets.
fn asks(device: &mut Device, command: &[u8], answers: &[Vec<u8>]) -> Vec<u8> {
    let before = device.machine().sent();
    device
        .machine_mut()
        .send(&packet(COMMAND, command))
        .unwrap();
    let mut all = Vec::new();
    for answer in answers {
        let answered = device.machine().expect_bytes(before, answer, LIMIT);
        all = answered.unwrap_or_else(|error| panic!("{command:?}: {error:#}"));
    }
    all
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_board_with_keys_is_told_its_network_over_the_serial_port() {
    let Some(lab) = Lab::open(Web::Nginx, &[]) else {
        return;
    };
    let label = "for-the-label";
    let broker = BrokerUrl::parse(&lab.broker_url()).unwrap();
    let before = Settings {
        wifi: Vec::new(),
        broker: Some(
            broker
                .with_credentials("me", Some(BROKER_PASSWORD.into()))
                .unwrap(),
        ),
        setup_password: Some(label.into()),
        ..lab.settings("improv")
    };
    let mut device = lab.device_with(&partition(&before), "improv");
    device.power_on();
    device.says("set-up: access point \"otaria-3456\" is open");

    asks(&mut device, &[2, 0], &[packet(STATE, &[2])]);
    let told = asks(
        &mut device,
        &[3, 0],
        &[b"\x04virt".to_vec(), CHIP_ID.into()],
    );
    assert!(String::from_utf8_lossy(&told).contains("1.0.0"));
    asks(
        &mut device,
        &[4, 0],
        &[b"\x05cable\x010\x02NO".to_vec(), packet(RESULT, &[4, 0])],
    );
    // There is no command for keys, nor for anything but Wi-Fi.
    for unknown in [0, 5, 6, 0x10, 0xFF] {
        asks(&mut device, &[unknown, 1, 7], &[packet(ERROR, &[2])]);
    }

    device.machine().set_link(false).unwrap();
    let cannot = [
        packet(STATE, &[3]),
        packet(ERROR, &[3]),
        packet(STATE, &[2]),
    ];
    asks(&mut device, &wifi("cable", WIFI_PASSWORD), &cannot);
    assert_eq!(device.stored(), before);
    device.machine().set_link(true).unwrap();
    let done = [
        packet(STATE, &[3]),
        packet(STATE, &[4]),
        packet(RESULT, &[1, 0]),
    ];
    asks(&mut device, &wifi("cable", WIFI_PASSWORD), &done);
    device.runs_confirmed(0, "1.0.0");

    let console = device.power_off();
    is_silent_about(&console, &[WIFI_PASSWORD, BROKER_PASSWORD, label]);
    let expected = Settings {
        wifi: vec![WifiNetwork::new("cable", WIFI_PASSWORD).unwrap()],
        ..before
    };
    assert_eq!(device.stored(), expected);
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn the_access_point_closes_when_its_time_is_over_and_opens_with_the_next_start() {
    let Some(lab) = Lab::open(Web::Nginx, &[]) else {
        return;
    };
    let mut device = lab.device_with(&[], CHIP_ID);
    let mut telephone = device.peer();
    device.power_on();
    telephone.lease(LIMIT).expect("an address");
    device.says("set-up: the time is over");
    assert_eq!(telephone.lease(Duration::from_secs(3)), None);
    let page = "GET / HTTP/1.1\r\n\r\n";
    assert_eq!(telephone.http(DEVICE, page), None);
    // Who holds the board can still set it up; and the watchdog is fed.
    asks(&mut device, &[2, 0], &[packet(STATE, &[2])]);
    std::thread::sleep(Duration::from_secs(5));
    asks(&mut device, &[2, 0], &[packet(STATE, &[2])]);
    let console = device.power_off();
    let boots = console.iter().filter(|line| line.starts_with("loader:"));
    assert_eq!(boots.count(), 1, "{console:#?}");
    device.power_on();
    telephone.lease(LIMIT).expect("an address");
}
