//! Where the time of an update went, as part of two records.

use super::{PayloadReader, PayloadWriter};
use crate::messages::Timing;

/// The four upper bits of a byte that says what there is; the lower ones are the record's own.
const HAS_TIMING: u8 = 16;
const HAS_RSSI: u8 = 32;
const HAS_CONFIRM: u8 = 64;
const HAS_RECONNECTS: u8 = 128;

/// The bit `mask`, if something is `present`.
pub(super) fn bit(present: bool, mask: u8) -> u8 {
    if present { mask } else { 0 }
}

/// What there is of a timing. An earlier version knew the first two bits.
pub(super) fn bits(timing: Option<&Timing>) -> u8 {
    timing.map_or(0, |timing| {
        HAS_TIMING
            | bit(timing.rssi.is_some(), HAS_RSSI)
            | bit(timing.confirm_ms.is_some(), HAS_CONFIRM)
            | bit(timing.reconnects.is_some(), HAS_RECONNECTS)
    })
}

/// Whether [`bits`] were those of a timing.
pub(super) fn is_there(bits: u8) -> bool {
    bits & HAS_TIMING != 0
}

/// Writes what every version has known.
pub(super) fn write_first(payload: &mut PayloadWriter<'_>, timing: &Timing) {
    for field in [
        timing.connect_ms,
        timing.tls_ms,
        timing.receive_ms,
        timing.erase_ms,
        timing.write_ms,
        timing.verify_ms,
        timing.total_ms,
        timing.bytes,
        timing.heap_min,
    ] {
        payload.u32(field);
    }
    payload.bytes(&timing.rssi.unwrap_or_default().to_le_bytes());
}

/// Writes what was added.
pub(super) fn write_rest(payload: &mut PayloadWriter<'_>, timing: &Timing) {
    for field in [timing.confirm_ms, timing.reconnects].into_iter().flatten() {
        payload.u32(field);
    }
}

/// Reads what [`write_first`] has written.
pub(super) fn read_first(payload: &mut PayloadReader<'_>, bits: u8) -> Timing {
    Timing {
        connect_ms: payload.u32(),
        tls_ms: payload.u32(),
        receive_ms: payload.u32(),
        erase_ms: payload.u32(),
        write_ms: payload.u32(),
        verify_ms: payload.u32(),
        total_ms: payload.u32(),
        bytes: payload.u32(),
        heap_min: payload.u32(),
        rssi: Some(i8::from_le_bytes(payload.array())).filter(|_| bits & HAS_RSSI != 0),
        confirm_ms: None,
        reconnects: None,
    }
}

/// Reads what [`write_rest`] has written.
pub(super) fn read_rest(payload: &mut PayloadReader<'_>, bits: u8, timing: &mut Timing) {
    timing.confirm_ms = (bits & HAS_CONFIRM != 0).then(|| payload.u32());
    timing.reconnects = (bits & HAS_RECONNECTS != 0).then(|| payload.u32());
}
