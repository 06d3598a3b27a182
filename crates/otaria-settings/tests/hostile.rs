//! Whatever lies in the partition: reading gives settings or a named error and changes nothing; saving gives what was saved or
//! a named error, touches nothing outside, and leaves the keys.

mod common;

use common::{
    PARTITION, certificates, flash_with, longest, random, surroundings_are_untouched, usual, wifi,
};
use embedded_storage::nor_flash::NorFlashErrorKind;
use otaria_settings::host::{Entry, HostError, Value, entries, image_of_entries, partition_image};
use otaria_settings::{
    BrokerUrl, Identity, Psk, Region, SecretBytes, SecretKey, Settings, SettingsError, Tls, load,
    save_network,
};
use otaria_sim::flash::{Cut, FaultPlan, SimFlash};
use otaria_wire::fuzz::seal_nvs;
use otaria_wire::nvs::ValueError;
use otaria_wire::settings as names;
use proptest::prelude::*;
use zeroize::Zeroizing;

fn image(settings: &Settings) -> Vec<u8> {
    partition_image(settings, PARTITION.len as usize)
        .unwrap()
        .to_vec()
}

/// Reads and saves, as a device does; what was read at first.
fn read_and_save(flash: &mut SimFlash) -> Result<Settings, SettingsError> {
    let before = load(flash, PARTITION);
    assert_eq!(flash.op_count(), 0, "reading changes nothing");
    let networks = [wifi("new network", "new password")];
    let broker = BrokerUrl::parse("mqtt://new").unwrap();
    let saved = save_network(flash, PARTITION, &networks, Some(&broker));
    assert!(surroundings_are_untouched(flash));
    let after = load(flash, PARTITION);
    if saved.is_ok() {
        let after = after.as_ref().unwrap();
        assert_eq!(
            (&after.wifi[..], after.broker.as_ref()),
            (&networks[..], Some(&broker))
        );
    }
    if let (Ok(before), Ok(after), Ok(())) = (&before, after, saved) {
        let kept = Settings {
            wifi: before.wifi.clone(),
            broker: before.broker.clone(),
            ..after
        };
        assert_eq!(*before, kept);
    }
    before
}

#[test]
fn where_a_foreign_value_would_make_the_settings_useless_nothing_is_written() {
    for (name, value) in [
        (names::PRODUCT, "p\u{f6}mp"),
        (names::DEVICE_ID, "no/id"),
        (names::SETUP_PASSWORD, "short"),
    ] {
        let mut entries = entries(&usual());
        entries.retain(|entry| entry.name != name);
        entries.push(Entry {
            name,
            value: Value::Text(Zeroizing::new(value.to_owned())),
        });
        let image = image_of_entries(&entries, PARTITION.len as usize).unwrap();
        let mut flash = flash_with(&image);
        let broker = BrokerUrl::parse("mqtt://new").unwrap();
        let networks = [wifi("new network", "new password")];
        let saved = save_network(&mut flash, PARTITION, &networks, Some(&broker));
        assert!(
            matches!(saved, Err(SettingsError::Invalid { name: named, .. }) if named == name),
            "{name}: {saved:?}"
        );
        assert_eq!(flash.op_count(), 0, "{name}");
    }
}

#[test]
fn a_flipped_bit_is_never_taken_for_other_settings() {
    let settings = usual();
    let good = image(&settings);
    let used = good.iter().rposition(|byte| *byte != 0xFF).unwrap() + 33;
    for at in 0..used {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            // Marking an entry erased, or a page corrupt, is one bit; so is a page that is blank by its state.
            let is_state = at < 4 || (32..64).contains(&at);
            match load(&mut flash_with(&bad), PARTITION) {
                Ok(found) if is_state => assert!(found.signers.len() <= 2),
                Ok(found) => assert_eq!(found, settings, "byte {at} bit {bit}"),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn damage_is_named() {
    let good = image(&usual());
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bad = good.clone();
        change(&mut bad);
        load(&mut flash_with(&bad), PARTITION).unwrap_err()
    };
    // The header of wifi_ssid, and its text.
    assert_eq!(
        error(&|image| image[64 + 32 + 8] ^= 1),
        SettingsError::Damaged { page: 0, entry: 1 }
    );
    let unreadable = |name, why| SettingsError::Unreadable { name, why };
    assert_eq!(
        error(&|image| image[64 + 64] ^= 1),
        unreadable("wifi_ssid", ValueError::Crc)
    );
    assert_eq!(
        error(&|image| image[..0x4000].fill(0)),
        SettingsError::NotNvs
    );
    let message = error(&|image| image[64 + 64] ^= 1).to_string();
    assert_eq!(message, "settings: cannot read wifi_ssid: its CRC is wrong");
}

#[test]
fn a_partition_that_is_no_nvs_partition_is_an_error_until_something_is_saved() {
    let mut flash = flash_with(&[0xA5; 0x4000]);
    assert_eq!(load(&mut flash, PARTITION), Err(SettingsError::NotNvs));
    let networks = [wifi("a", "")];
    let broker = BrokerUrl::parse("mqtt://b").unwrap();
    save_network(&mut flash, PARTITION, &networks, Some(&broker)).unwrap();
    let expected = Settings {
        wifi: networks.to_vec(),
        broker: Some(broker),
        ..Settings::default()
    };
    assert_eq!(load(&mut flash, PARTITION), Ok(expected));
}

#[test]
fn pages_of_another_version_are_left_alone() {
    let mut image = image(&usual());
    image[8] = 0xFF;
    let crc = otaria_wire::nvs::crc(&image[4..28]);
    image[28..32].copy_from_slice(&crc.to_le_bytes());
    let mut flash = flash_with(&image);
    assert_eq!(load(&mut flash, PARTITION), Err(SettingsError::Version));
    let saved = save_network(&mut flash, PARTITION, &[wifi("a", "")], None);
    assert_eq!(saved, Err(SettingsError::Version));
    assert_eq!(flash.op_count(), 0);
}

#[test]
fn a_partition_outside_of_flash_or_not_whole_sectors_is_refused() {
    let mut flash = flash_with(&[0xFF; 0x4000]);
    for (offset, len) in [
        (0, 0),
        (0x800, 0x4000),
        (0x1000, 0x3800),
        (0x1000, 0x6000),
        (0xFFFF_F000, 0x4000),
    ] {
        let region = Region { offset, len };
        assert_eq!(load(&mut flash, region), Err(SettingsError::Region));
        let saved = save_network(&mut flash, region, &[wifi("a", "")], None);
        assert_eq!(saved, Err(SettingsError::Region));
    }
}

#[test]
fn a_full_partition_says_so_and_keeps_what_it_has() {
    let settings = longest();
    let mut flash = SimFlash::new(0x4000);
    // One page in use and one in reserve: too little for these settings and a network.
    flash.load(0, &image(&usual())[..0x2000]);
    let region = Region {
        offset: 0,
        len: 0x2000,
    };
    let mut results = Vec::new();
    for _ in 0..20 {
        let networks = &settings.wifi;
        results.push(save_network(
            &mut flash,
            region,
            networks,
            settings.broker.as_ref(),
        ));
        let found = load(&mut flash, region).unwrap();
        assert_eq!(found.signers, usual().signers);
        assert!(found.wifi == usual().wifi || found.wifi == *networks);
    }
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Ok(()) | Err(SettingsError::Full)))
    );
}

#[test]
fn a_flash_that_fails_is_an_error_of_the_flash() {
    let mut flash = flash_with(&image(&usual()));
    flash.set_plan(FaultPlan::cut(0, Cut::Before, 1));
    let saved = save_network(&mut flash, PARTITION, &[wifi("a", "")], None);
    assert_eq!(saved, Err(SettingsError::Flash(NorFlashErrorKind::Other)));
    let read = load(&mut flash, PARTITION);
    assert_eq!(read, Err(SettingsError::Flash(NorFlashErrorKind::Other)));
}

#[test]
fn without_a_broker_the_one_that_is_set_stays_with_its_password() {
    let broker = BrokerUrl::parse("mqtts://me:secret@host").unwrap();
    let settings = Settings {
        broker: Some(broker),
        tls: longest().tls,
        ..usual()
    };
    let mut flash = flash_with(&image(&settings));
    let networks = settings.wifi_with(wifi("new", "new password"));
    save_network(&mut flash, PARTITION, &networks, None).unwrap();
    let found = load(&mut flash, PARTITION).unwrap();
    assert_eq!(
        found,
        Settings {
            wifi: networks,
            ..settings
        }
    );
}

/// An independent reader: Rust's esp-nvs.
#[test]
fn what_is_saved_is_what_esp_nvs_reads_and_all_else_is_still_there() {
    let settings = usual();
    let mut flash = flash_with(&image(&settings));
    for number in 0..20 {
        let networks = [wifi(&format!("network-{number}"), "new password")];
        save_network(&mut flash, PARTITION, &networks, None).unwrap();
    }
    let bytes = flash.peek(PARTITION.offset, PARTITION.len as usize);
    let blank = bytes
        .chunks(4096)
        .filter(|page| page.iter().all(|byte| *byte == 0xFF));
    assert_eq!(
        blank.count(),
        3,
        "one page holds it all, and the others are given back"
    );
    let flash = esp_nvs::mem_flash::MemFlash::from_bytes(bytes);
    let mut nvs = esp_nvs::Nvs::new(0, PARTITION.len as usize, flash).unwrap();
    let namespace = esp_nvs::Key::from_str("otaria");
    let key = esp_nvs::Key::from_str;
    let network: Vec<u8> = nvs.get(&namespace, &key("network")).unwrap();
    assert!(network.windows(10).any(|bytes| bytes == b"network-19"));
    let signer: Vec<u8> = nvs.get(&namespace, &key("signer1")).unwrap();
    assert_eq!(signer, settings.signers[1]);
    let product: String = nvs.get(&namespace, &key("product")).unwrap();
    assert_eq!(product, "sensor");
    let install: u64 = nvs.get(&namespace, &key("install")).unwrap();
    assert_eq!(Some(install), settings.install);
}

#[test]
fn secrets_are_not_in_debug_output() {
    let broker = BrokerUrl::parse("mqtts://me:hush-1@host").unwrap();
    let settings = Settings {
        broker: Some(broker),
        wifi: vec![wifi("net", "hush-2-hush")],
        encryption_key: Some(SecretKey::new([0x55; 32])),
        tls: Tls {
            authorities: Vec::new(),
            identity: Some(Identity {
                chain: Vec::new(),
                key: SecretKey::new([0x55; 32]),
            }),
            psk: Some(Psk {
                id: "desk".to_owned(),
                key: SecretBytes::new(vec![0x55; 32]),
            }),
        },
        ..usual()
    };
    let text = format!("{settings:?} {}", settings.broker.as_ref().unwrap());
    assert!(!text.contains("hush") && !text.contains("85"), "{text}");
    assert!(text.contains("(secret)"));
}

#[test]
fn certificates_of_4_kib_are_read_over_three_pages_and_longer_ones_refused() {
    let with_chain = |len: u16| {
        let mut settings = usual();
        settings.tls.authorities = certificates(&[1500]);
        settings.tls.identity = Some(Identity {
            chain: certificates(&[2000, len - 2000]),
            key: SecretKey::new([7; 32]),
        });
        let image = image_of_entries(&entries(&settings), PARTITION.len as usize).unwrap();
        (settings, flash_with(&image))
    };
    let (settings, mut flash) = with_chain(4096);
    assert_eq!(load(&mut flash, PARTITION), Ok(settings));
    let (_, mut flash) = with_chain(4097);
    let why = ValueError::Length;
    let unreadable = SettingsError::Unreadable { name: "cert", why };
    assert_eq!(load(&mut flash, PARTITION), Err(unreadable));
}

#[test]
fn half_of_what_tls_needs_is_an_error_that_names_the_other_half() {
    let full = entries(&longest());
    for (left_out, named) in [
        ("cert", "cert"),
        ("key", "key"),
        ("psk", "psk"),
        ("psk_id", "psk_id"),
    ] {
        let some: Vec<Entry> = full
            .iter()
            .filter(|entry| entry.name != left_out)
            .cloned()
            .collect();
        let image = image_of_entries(&some, PARTITION.len as usize).unwrap();
        let error = load(&mut flash_with(&image), PARTITION).unwrap_err();
        assert!(
            matches!(error, SettingsError::Invalid { name, .. } if name == named),
            "{left_out}: {error}"
        );
    }
}

#[test]
fn keys_and_certificates_of_a_wrong_length_or_form_are_named() {
    for (name, bytes) in [
        ("ca", vec![0x30, 0x82, 0, 1]),
        ("ca", vec![0x31, 0x82, 0, 0]),
        ("ca", b"-----BEGIN CERTIFICATE-----".to_vec()),
        ("key", vec![1; 31]),
        ("enc_key", vec![1; 33]),
        ("psk", vec![1; 15]),
        ("psk", vec![1; 65]),
    ] {
        let mut all = entries(&longest());
        let entry = all.iter_mut().find(|entry| entry.name == name).unwrap();
        entry.value = Value::Blob(bytes.into());
        let image = image_of_entries(&all, PARTITION.len as usize).unwrap();
        let error = load(&mut flash_with(&image), PARTITION).unwrap_err();
        assert!(
            matches!(error, SettingsError::Invalid { name: named, .. } if named == name),
            "{name}: {error}"
        );
    }
}

#[test]
fn settings_that_leave_no_room_for_another_network_and_brokers_that_could_not_be_known_are_refused()
{
    let mut settings = longest();
    settings.tls.authorities = certificates(&[3000]);
    let len = PARTITION.len as usize;
    let refused = partition_image(&settings, len);
    assert!(matches!(refused, Err(HostError::NoRoomToChange(_))));
    settings.tls = Tls::default();
    let refused = partition_image(&settings, len);
    assert!(matches!(refused, Err(HostError::UnknownBroker)));
}

/// A partition that has something to do with NVS, or not.
fn partition() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((0..0x4000usize, any::<u8>(), 0..3u8), 0..40);
    let moves = prop::collection::vec((0..512usize, 0..512usize), 0..6);
    (any::<u64>(), changes, moves, any::<[bool; 4]>(), 0..4usize).prop_map(
        |(seed, changes, moves, sealed, pages)| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let base = match seed % 4 {
                0 => longest(),
                1 => usual(),
                _ => random(&mut rng),
            };
            let mut flash = flash_with(&image(&base));
            // Several pages, blobs in both versions and freed pages come from saving.
            for number in 0..pages * 9 {
                let networks = [wifi(&format!("n{number}"), &"p".repeat(60))];
                let _ = save_network(&mut flash, PARTITION, &networks, None);
            }
            let mut image = flash.peek(PARTITION.offset, 0x4000);
            for (from, to) in moves {
                image.copy_within(from * 32..from * 32 + 32, to * 32);
            }
            let used = image.iter().rposition(|byte| *byte != 0xFF).unwrap_or(0) + 64;
            for (at, byte, how) in changes {
                let at = if at % 3 == 0 {
                    at % 64
                } else {
                    at % used.min(0x4000)
                };
                image[at] = match how {
                    0 => byte,
                    1 => image[at] & byte,
                    _ => image[at] ^ (1 << (byte % 8)),
                };
            }
            for (page, sealed) in image.as_chunks_mut().0.iter_mut().zip(sealed) {
                if sealed {
                    seal_nvs(page);
                }
            }
            image
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_partition_is_read_and_saved_into(image in partition()) {
        let _ = read_and_save(&mut flash_with(&image));
    }

    #[test]
    fn any_bytes_are_read_and_saved_into(bytes in prop::collection::vec(any::<u8>(), 0..0x4000)) {
        let _ = read_and_save(&mut flash_with(&bytes));
    }
}
