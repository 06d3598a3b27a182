//! Journal records as a cut may leave them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_wire::journal::{
    Boot, CELL_LEN, Cell, CommandSeen, Confirmed, Download, HalfHeader, Install, PendingReport,
    Progress, Quarantine, RecordView, TrialCounters, TrialTarget,
};

fuzz_target!(|input: (u32, &[u8])| {
    let (epoch, bytes) = input;
    if let Some(cell) = bytes.first_chunk::<CELL_LEN>() {
        let _ = HalfHeader::parse(cell);
        let _ = Cell::of(cell);
    }
    let Ok(record) = RecordView::parse(epoch, bytes) else {
        return;
    };
    let _ = record.decode::<Install>();
    let _ = record.decode::<Boot>();
    let _ = record.decode::<Download>();
    let _ = record.decode::<Progress>();
    let _ = record.decode::<Confirmed>();
    let _ = record.decode::<Quarantine>();
    let _ = record.decode::<CommandSeen>();
    let _ = record.decode::<PendingReport>();
    let _ = record.decode::<TrialTarget>();
    let _ = record.decode::<TrialCounters>();
});
