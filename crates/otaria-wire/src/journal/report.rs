//! The final report of a job, kept until the broker has acknowledged it.

use heapless::String;

use super::timing::{self, bit};
use super::{PayloadReader, PayloadWriter, Record};
use crate::messages::{Event, EventKind, InstallId, MAX_JOB_LEN, MAX_TEXT_LEN};

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
// The other bits are the timing's.

impl Record for PendingReport {
    const KIND: u8 = 0x09;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        let Some(event) = &self.event else {
            payload.u8(ABSENT);
            return;
        };
        payload.u8(PRESENT);
        payload.u8(event.event.number());
        payload.u8(bit(event.job.is_some(), HAS_JOB)
            | bit(event.code.is_some(), HAS_CODE)
            | bit(event.text.is_some(), HAS_TEXT)
            | bit(event.retry_in_s.is_some(), HAS_RETRY)
            | timing::bits(event.timing.as_ref()));
        payload.u64(event.install.0);
        payload.u32(event.boot);
        payload.u32(event.n);
        payload.u16(event.code.unwrap_or_default());
        payload.u32(event.retry_in_s.unwrap_or_default());
        let timing = event.timing.unwrap_or_default();
        timing::write_first(payload, &timing);
        payload.text(event.job.as_deref().unwrap_or_default());
        payload.text(event.text.as_deref().unwrap_or_default());
        timing::write_rest(payload, &timing);
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
        let mut timing = timing::read_first(payload, has);
        let job: String<MAX_JOB_LEN> = payload.text()?;
        let text: String<MAX_TEXT_LEN> = payload.text()?;
        timing::read_rest(payload, has, &mut timing);
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
                timing: timing::is_there(has).then_some(timing),
            }),
        })
    }
}
