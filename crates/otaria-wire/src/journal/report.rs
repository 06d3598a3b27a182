//! The final report of a job, kept until the broker has acknowledged it.

use heapless::String;

use super::{PayloadReader, PayloadWriter, Record};
use crate::messages::{Event, EventKind, InstallId, MAX_JOB_LEN, MAX_TEXT_LEN, Timing};

/// The event that reports how a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingReport {
    /// The event exactly as it is published; `None` once it was acknowledged.
    pub event: Option<Event>,
}

const ABSENT: u8 = 0;
const PRESENT: u8 = 1;
const HAS_JOB: u8 = 1;
const HAS_CODE: u8 = 2;
const HAS_TEXT: u8 = 4;
const HAS_RETRY: u8 = 8;
const HAS_TIMING: u8 = 16;
const HAS_RSSI: u8 = 32;

fn bit(present: bool, mask: u8) -> u8 {
    if present { mask } else { 0 }
}

impl Record for PendingReport {
    const KIND: u8 = 0x09;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        let Some(event) = &self.event else {
            payload.u8(ABSENT);
            return;
        };
        let timing = event.timing.unwrap_or_default();
        payload.u8(PRESENT);
        payload.u8(event.event.number());
        payload.u8(bit(event.job.is_some(), HAS_JOB)
            | bit(event.code.is_some(), HAS_CODE)
            | bit(event.text.is_some(), HAS_TEXT)
            | bit(event.retry_in_s.is_some(), HAS_RETRY)
            | bit(event.timing.is_some(), HAS_TIMING)
            | bit(timing.rssi.is_some(), HAS_RSSI));
        payload.u64(event.install.0);
        payload.u32(event.boot);
        payload.u32(event.n);
        payload.u16(event.code.unwrap_or_default());
        payload.u32(event.retry_in_s.unwrap_or_default());
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
        payload.text(event.job.as_deref().unwrap_or_default());
        payload.text(event.text.as_deref().unwrap_or_default());
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        match payload.u8() {
            ABSENT => return Some(Self { event: None }),
            PRESENT => {}
            _ => return None,
        }
        let event = EventKind::from_number(payload.u8())?;
        let has = payload.u8();
        let install = InstallId(payload.u64());
        let boot = payload.u32();
        let n = payload.u32();
        let code = payload.u16();
        let retry_in_s = payload.u32();
        let mut timing = Timing {
            connect_ms: payload.u32(),
            tls_ms: payload.u32(),
            receive_ms: payload.u32(),
            erase_ms: payload.u32(),
            write_ms: payload.u32(),
            verify_ms: payload.u32(),
            total_ms: payload.u32(),
            bytes: payload.u32(),
            heap_min: payload.u32(),
            rssi: None,
        };
        let rssi = i8::from_le_bytes(payload.array());
        timing.rssi = (has & HAS_RSSI != 0).then_some(rssi);
        let job: String<MAX_JOB_LEN> = payload.text()?;
        let text: String<MAX_TEXT_LEN> = payload.text()?;
        Some(Self {
            event: Some(Event {
                install,
                boot,
                n,
                job: (has & HAS_JOB != 0).then_some(job),
                event,
                code: (has & HAS_CODE != 0).then_some(code),
                text: (has & HAS_TEXT != 0).then_some(text),
                retry_in_s: (has & HAS_RETRY != 0).then_some(retry_in_s),
                timing: (has & HAS_TIMING != 0).then_some(timing),
            }),
        })
    }
}
