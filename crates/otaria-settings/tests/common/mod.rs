//! What the tests of this crate share.
#![allow(dead_code, reason = "each test uses a part of it")]

use otaria_settings::{
    BrokerUrl, Identity, MAX_CREDENTIAL_LEN, MAX_PSK_ID_LEN, PSK_LEN, Psk, Region, SecretBytes,
    SecretKey, Settings, Tls, WifiNetwork,
};
use otaria_sim::flash::SimFlash;
use otaria_wire::topics::DeviceId;

/// Where the partition lies in the tests: not at the start, so that a wrong address shows.
pub(crate) const PARTITION: Region = Region {
    offset: 0x1000,
    len: 0x4000,
};

/// A flash whose partition holds `image`; what is around it is not blank.
pub(crate) fn flash_with(image: &[u8]) -> SimFlash {
    let mut flash = SimFlash::new(PARTITION.end() + 0x1000);
    flash.load(0, &[0x5A; 0x1000]);
    flash.load(PARTITION.end(), &[0x5A; 0x1000]);
    flash.load(PARTITION.offset, image);
    flash
}

/// Whether what is around the partition is as it was.
pub(crate) fn surroundings_are_untouched(flash: &SimFlash) -> bool {
    let (before, behind) = (flash.peek(0, 0x1000), flash.peek(PARTITION.end(), 0x1000));
    [before, behind].concat().iter().all(|byte| *byte == 0x5A)
}

pub(crate) fn point(seed: u8) -> [u8; 65] {
    let mut point = [seed; 65];
    point[0] = 4;
    point
}

pub(crate) fn wifi(ssid: &str, password: &str) -> WifiNetwork {
    WifiNetwork::new(ssid, password).unwrap()
}

/// What looks like certificates of these lengths to whoever does not look closer.
pub(crate) fn certificates(lengths: &[u16]) -> Vec<u8> {
    let certificate = |len: &u16| {
        let mut der = vec![0xA5; usize::from(*len)];
        der[..2].copy_from_slice(&[0x30, 0x82]);
        der[2..4].copy_from_slice(&(len - 4).to_be_bytes());
        der
    };
    lengths.iter().flat_map(certificate).collect()
}

/// What `otaria provision` usually makes.
pub(crate) fn usual() -> Settings {
    Settings {
        device_id: Some(DeviceId::new("desk-1").unwrap()),
        product: "sensor".to_owned(),
        wifi: vec![wifi("workshop", "correct horse")],
        broker: Some(BrokerUrl::parse("mqtt://192.168.1.10").unwrap()),
        signers: vec![point(7), point(9)],
        install: Some(0x1234_5678_9ABC_DEF0),
        ..Settings::default()
    }
}

/// Every setting at its longest, or as long as all of them fit.
pub(crate) fn longest() -> Settings {
    let host = ["a", "b", "c"].map(|letter| letter.repeat(61)).join(".");
    let long = "u".repeat(MAX_CREDENTIAL_LEN);
    let broker = BrokerUrl::parse(&format!("mqtts://{host}:65535")).unwrap();
    let name = "n".repeat(40);
    Settings {
        device_id: Some(DeviceId::new(&name).unwrap()),
        topic_root: name.clone(),
        product: "p".repeat(32),
        wifi: (0..4)
            .map(|index| {
                wifi(
                    &format!("{index}").repeat(32),
                    &format!("{index}").repeat(64),
                )
            })
            .collect(),
        broker: Some(
            broker
                .with_credentials(&long, Some(long.as_str().into()))
                .unwrap(),
        ),
        signers: (0..4).map(point).collect(),
        tls: Tls {
            authorities: certificates(&[600]),
            identity: Some(Identity {
                chain: certificates(&[500, 300]),
                key: SecretKey::new([0x5A; 32]),
            }),
            psk: Some(Psk {
                id: "i".repeat(MAX_PSK_ID_LEN),
                key: SecretBytes::new(vec![0x3C; 64]),
            }),
        },
        time_servers: (0..4).map(|index| format!("t{index}")).collect(),
        encryption_key: Some(SecretKey::new([0xC3; 32])),
        allowed_hosts: (0..5).map(|_| host.clone()).collect(),
        allow_unguarded: true,
        require_encryption: true,
        install: Some(u64::MAX),
        setup_password: Some("s".repeat(63).into()),
    }
}

/// Settings that nobody chose.
pub(crate) fn random(rng: &mut fastrand::Rng) -> Settings {
    let printable = |rng: &mut fastrand::Rng, len: usize| -> String {
        (0..len).map(|_| char::from(rng.u8(b' '..=b'~'))).collect()
    };
    let name = |rng: &mut fastrand::Rng| -> String {
        let len = rng.usize(1..=40);
        (0..len).map(|_| rng.alphanumeric()).collect()
    };
    let ssid = |rng: &mut fastrand::Rng| -> String {
        let len = rng.usize(1..=7);
        (0..len)
            .map(|_| *rng.choice(&['ä', '字', 'a', ',', '"', ' ', '🦦']).unwrap())
            .collect()
    };
    let hosts = rng.usize(0..=16);
    let mut settings = Settings {
        device_id: rng.bool().then(|| DeviceId::new(&name(rng)).unwrap()),
        topic_root: name(rng),
        wifi: (0..rng.usize(0..=4))
            .map(|_| {
                let len = rng.usize(8..=63);
                let password = if rng.bool() {
                    printable(rng, len)
                } else {
                    String::new()
                };
                wifi(&format!("x{}", ssid(rng)), &password)
            })
            .collect(),
        signers: (0..rng.usize(0..=4)).map(|_| point(rng.u8(..))).collect(),
        allowed_hosts: (0..hosts).map(|_| format!("h{}", name(rng))).collect(),
        allow_unguarded: rng.bool(),
        install: rng.bool().then(|| rng.u64(..)),
        ..Settings::default()
    };
    if rng.bool() {
        settings.tls.authorities = certificates(&[rng.u16(4..=500)]);
    }
    if rng.bool() {
        settings.tls.identity = Some(Identity {
            chain: certificates(&[rng.u16(4..=500)]),
            key: SecretKey::new(core::array::from_fn(|_| rng.u8(..))),
        });
    }
    if rng.bool() {
        let (id, key) = (rng.usize(1..=MAX_PSK_ID_LEN), rng.usize(PSK_LEN));
        settings.tls.psk = Some(Psk {
            id: printable(rng, id),
            key: SecretBytes::new((0..key).map(|_| rng.u8(..)).collect()),
        });
    }
    settings.time_servers = (0..rng.usize(0..=4))
        .map(|_| format!("t{}", name(rng)))
        .collect();
    settings.encryption_key = rng.bool().then(|| SecretKey::new([rng.u8(..); 32]));
    settings.require_encryption = settings.encryption_key.is_some() && rng.bool();
    let len = rng.usize(0..=32);
    settings.product = printable(rng, len);
    if rng.bool() {
        let len = rng.usize(8..=63);
        settings.setup_password = Some(printable(rng, len).into());
    }
    if rng.bool() {
        let broker = BrokerUrl::parse(&format!("mqtt://h{}:{}", name(rng), rng.u16(1..))).unwrap();
        let (user, password) = (rng.usize(1..=256), rng.usize(1..=256));
        let (user, password) = (printable(rng, user), printable(rng, password));
        settings.broker = Some(
            broker
                .with_credentials(&user, Some(password.into()))
                .unwrap(),
        );
    }
    settings
}
