//! A power cut at every flash operation of [`save_network`], and again while the next call recovers.

mod common;

use common::{
    PARTITION, certificates, flash_with, longest, surroundings_are_untouched, usual, wifi,
};
use otaria_settings::host::{entries, image_of_entries, partition_image};
use otaria_settings::{BrokerUrl, Settings, SettingsError, WifiNetwork, load, save_network};
use otaria_sim::flash::{Cut, SimFlash};

/// A network and broker that are as long as their number says.
fn choice(number: usize) -> (Vec<WifiNetwork>, BrokerUrl) {
    let networks = (0..=number % 4)
        .map(|index| {
            wifi(
                &format!("net-{number}-{index}"),
                &"p".repeat(8 + number * 7 % 50),
            )
        })
        .collect();
    let broker = BrokerUrl::parse(&format!(
        "mqtt://me:secret-{number}@10.0.0.{}",
        number % 250
    ));
    (networks, broker.unwrap())
}

fn with(settings: &Settings, (wifi, broker): (Vec<WifiNetwork>, BrokerUrl)) -> Settings {
    Settings {
        wifi,
        broker: Some(broker),
        ..settings.clone()
    }
}

/// Saves choice `number` into `flash`, cut at every operation in every way. After each cut the settings must be the old or the
/// new ones, or those of an earlier call that was cut (`cut_before`), and the next save must succeed; with `again` that is cut,
/// too. Returns how many cuts were tried, and the flash as it is without any.
fn sweep(
    flash: SimFlash,
    number: usize,
    cut_before: Option<usize>,
    again: bool,
) -> (usize, SimFlash) {
    let mut flash = flash.with_history();
    let old = load(&mut flash, PARTITION);
    let base = old.clone().unwrap_or_default();
    let (networks, broker) = choice(number);
    let mut allowed = vec![old, Ok(with(&base, choice(number)))];
    allowed.extend(cut_before.map(|before| Ok(with(&base, choice(before)))));
    if base == Settings::default() {
        // The first page of a blank partition, half erased, or erased again.
        allowed.extend([Err(SettingsError::NotNvs), Ok(base.clone())]);
    }
    save_network(&mut flash, PARTITION, &networks, Some(&broker)).unwrap();
    assert_eq!(load(&mut flash, PARTITION), allowed[1]);
    assert_eq!(flash.violations(), []);
    let mut cuts = 0;
    for moment in 0..flash.moments() {
        let op = flash.op_at(moment);
        for cut in Cut::ALL.into_iter().filter(|cut| cut.applies_to(op.kind)) {
            cuts += 1;
            let mut left = flash.cut_at(moment, cut, cuts as u64);
            left.power_on();
            let context = format!("choice {number} after {cut_before:?}, {op:?}, {cut:?}");
            let found = load(&mut left, PARTITION);
            assert!(allowed.contains(&found), "{context}: {found:?}");
            if cut_before.is_none() && again {
                cuts += sweep(left.clone(), number + 1, Some(number), false).0;
            }
            let (networks, broker) = choice(number + 1);
            save_network(&mut left, PARTITION, &networks, Some(&broker)).expect(&context);
            let expected = with(&base, choice(number + 1));
            assert_eq!(load(&mut left, PARTITION), Ok(expected), "{context}");
            assert_eq!(left.violations(), [], "{context}");
            assert!(surroundings_are_untouched(&left), "{context}");
        }
    }
    let rest = flash_with(&flash.peek(PARTITION.offset, PARTITION.len as usize));
    (cuts, rest)
}

/// Saves sixty times. Those that erase, because a page is full, and a few others are cut everywhere, some of them twice.
/// Returns the number of cuts.
fn story(image: &[u8]) -> usize {
    let mut flash = flash_with(image);
    let first = load(&mut flash, PARTITION).unwrap();
    let (mut cuts, mut pages_freed) = (0, 0);
    for number in 0..60 {
        let mut tried = flash.clone().with_log();
        let (networks, broker) = choice(number);
        save_network(&mut tried, PARTITION, &networks, Some(&broker)).unwrap();
        let erases = tried.log().iter().filter(|op| op.kind.is_erase()).count();
        pages_freed += usize::from(erases > 1);
        if erases > 0 || number % 16 == 0 {
            let again = number % 16 == 0 || (erases > 1 && pages_freed <= 2);
            let (more, after) = sweep(flash, number, None, again);
            cuts += more;
            flash = after;
        } else {
            flash = tried;
        }
    }
    println!("{cuts} cuts, {pages_freed} pages freed");
    assert!(pages_freed > 2, "the sweep must see pages being freed");
    let last = load(&mut flash, PARTITION).unwrap();
    let kept = Settings {
        wifi: first.wifi.clone(),
        broker: first.broker.clone(),
        ..last
    };
    assert_eq!(kept, first);
    cuts
}

#[test]
fn a_cut_leaves_the_old_or_the_new_network_and_always_the_keys() {
    let image = partition_image(&usual(), PARTITION.len as usize).unwrap();
    assert!(story(&image) > 3000);
}

#[test]
fn the_same_on_a_partition_that_is_nearly_full() {
    let image = partition_image(&longest(), PARTITION.len as usize).unwrap();
    assert!(story(&image) > 3000);
}

/// Settings on three of the four pages, as `otaria provision` does not make them but other tools do.
fn crowded(authority: u16) -> Settings {
    let mut settings = longest();
    let host = settings.allowed_hosts[0].clone();
    settings.allowed_hosts.extend([host.clone(), host]);
    settings.tls.authorities = certificates(&[authority]);
    settings
}

#[test]
fn the_same_on_three_of_four_pages() {
    for authority in [1000, 2400, 3500] {
        let image = image_of_entries(&entries(&crowded(authority)), PARTITION.len as usize);
        let image = image.unwrap();
        let is_used = |page: &&[u8]| page.iter().any(|byte| *byte != 0xFF);
        assert_eq!(image.chunks(4096).filter(is_used).count(), 3);
        let mut flash = flash_with(&image);
        for number in 0..2 {
            flash = sweep(flash, number, None, true).1;
        }
    }
}

#[test]
fn a_first_save_into_a_blank_partition_survives_cuts() {
    let blank = vec![0xFF; PARTITION.len as usize];
    let (cuts, _) = sweep(flash_with(&blank), 0, None, true);
    println!("{cuts} cuts");
    assert!(cuts > 100);
}
