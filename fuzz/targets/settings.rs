//! Whatever lies in the NVS partition: reading settings changes nothing, and what is saved is what is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_settings::{BrokerUrl, Region, Settings, WifiNetwork, load, save_network};
use otaria_sim::flash::SimFlash;

const PARTITION: Region = Region {
    offset: 4096,
    len: 4 * 4096,
};

fuzz_target!(|input: (u8, Vec<(u16, Vec<u8>)>)| {
    let (sealed, pieces) = input;
    let mut flash = SimFlash::new(6 * 4096);
    for (at, bytes) in &pieces {
        let at = PARTITION.offset + u32::from(*at) % (PARTITION.len - 4096);
        flash.load(at, &bytes[..bytes.len().min(4096)]);
    }
    // No fuzzer finds a CRC, so pages are made good.
    for page in (0..4).filter(|page| sealed & 1 << page != 0) {
        let at = PARTITION.offset + page * 4096;
        let mut bytes: [u8; 4096] = flash.peek(at, 4096).try_into().expect("a page");
        otaria_wire::fuzz::seal_nvs(&mut bytes);
        flash.load(at, &bytes);
    }
    let before = load(&mut flash, PARTITION);
    assert_eq!(flash.op_count(), 0, "reading changes nothing");
    let network = WifiNetwork::new("a network", "a password").expect("good");
    let broker = BrokerUrl::parse("mqtt://me:too@broker").expect("good");
    let saved = save_network(
        &mut flash,
        PARTITION,
        std::slice::from_ref(&network),
        Some(&broker),
    );
    let after = load(&mut flash, PARTITION);
    if saved.is_ok() {
        let after = after.expect("what was saved can be read");
        let others = before.unwrap_or_else(|_| after.clone());
        let expected = Settings {
            wifi: vec![network],
            broker: Some(broker),
            ..others
        };
        assert_eq!(after, expected);
    }
    let around = [flash.peek(0, 4096), flash.peek(PARTITION.end(), 4096)];
    assert!(around.concat().iter().all(|byte| *byte == 0xFF));
});
