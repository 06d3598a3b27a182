//! Log records as a cut may leave them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_wire::flash_log::{CELL_LEN, Cell, SectorHeader, decode};

fuzz_target!(|input: (u32, &[u8])| {
    let (sequence, bytes) = input;
    if let Some(cell) = bytes.first_chunk::<CELL_LEN>() {
        let _ = SectorHeader::parse(cell);
        let _ = Cell::of(cell);
    }
    let _ = decode(sequence, bytes);
});
