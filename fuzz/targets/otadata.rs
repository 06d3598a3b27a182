//! Two otadata entries, and the bootloader's choice between them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_wire::otadata::{ENTRY_LEN, Entry, next_seq, select};

fuzz_target!(|bytes: [u8; 2 * ENTRY_LEN]| {
    let entry = |at: usize| {
        let bytes: [u8; ENTRY_LEN] = bytes[at..at + ENTRY_LEN]
            .try_into()
            .expect("an entry's length");
        let entry = Entry::parse(&bytes).ok();
        if let Some(entry) = entry {
            assert_eq!(Entry::parse(&entry.encode()), Ok(entry));
        }
        entry
    };
    let (first, second) = (entry(0), entry(ENTRY_LEN));
    let _ = select(first, second);
    for slot in 0..2 {
        if let Some(seq) = next_seq(first, second, slot, 2) {
            // The next sequence number selects the slot that it was made for, over both entries.
            assert_eq!((seq - 1) % 2, slot);
        }
    }
});
