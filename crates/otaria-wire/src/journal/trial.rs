//! Payloads about a trial: what is on trial, written once, and its counters,
//! written at each boot.

use heapless::String;

use super::{PayloadReader, PayloadWriter, Record, timing};
use crate::Sha256Digest;
use crate::messages::Timing;

/// What is on trial. Written before activation, then left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialTarget {
    /// The slot on trial.
    pub slot: u8,
    /// The image in it.
    pub image_sha256: Sha256Digest,
    /// The package that it came in.
    pub identity: Sha256Digest,
    /// The package's sequence: the floor, once confirmed.
    pub sequence: u64,
    /// The package's security version: the floor, once confirmed.
    pub security_version: u32,
    /// The job.
    pub job: String<64>,
    /// Where the package came from: its host has to answer during the trial.
    pub url: String<512>,
    /// When the package was made, in unix seconds; 0: an earlier version did not say.
    pub created: u64,
    /// Where the time went until then, for the report of how the trial ends. An earlier version wrote none.
    pub timing: Option<Timing>,
}

impl Record for TrialTarget {
    const KIND: u8 = 0x05;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.u8(self.slot);
        payload.digest(&self.image_sha256);
        payload.digest(&self.identity);
        payload.u64(self.sequence);
        payload.u32(self.security_version);
        payload.text(&self.job);
        payload.text(&self.url);
        payload.u64(self.created);
        payload.u8(timing::bits(self.timing.as_ref()));
        if let Some(timing) = &self.timing {
            timing::write_first(payload, timing);
            timing::write_rest(payload, timing);
        }
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        let mut target = Self {
            slot: payload.u8(),
            image_sha256: payload.digest(),
            identity: payload.digest(),
            sequence: payload.u64(),
            security_version: payload.u32(),
            job: payload.text()?,
            url: payload.text()?,
            created: payload.u64(),
            timing: None,
        };
        let has = payload.u8();
        if timing::is_there(has) {
            let mut timing = timing::read_first(payload, has);
            timing::read_rest(payload, has, &mut timing);
            target.timing = Some(timing);
        }
        Some(target)
    }
}

/// Where a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrialStage {
    /// About to be activated, or running.
    Open,
    /// Failed: the trial's otadata entry is being erased. It stays so until the
    /// entry reads blank.
    RollingBack,
    /// Rolled back only for want of network: to be activated again once the old
    /// image has network itself.
    Inconclusive,
    /// Over, one way or the other.
    Closed,
}

impl TrialStage {
    fn number(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::RollingBack => 2,
            Self::Inconclusive => 3,
            Self::Closed => 4,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Open),
            2 => Some(Self::RollingBack),
            3 => Some(Self::Inconclusive),
            4 => Some(Self::Closed),
            _ => None,
        }
    }
}

/// How a trial goes. Counts only for the target with the same identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialCounters {
    /// First 8 bytes of the package's identity.
    pub identity8: [u8; 8],
    /// Where the trial stands.
    pub stage: TrialStage,
    /// Boots of any other kind than a crash.
    pub boots: u8,
    /// Boots after a panic, watchdog or brown-out.
    pub crashes: u8,
    /// How often it was activated again after an inconclusive trial.
    pub reactivations: u8,
    /// Why it failed, as a [`crate::messages::FailureCode`]; 0 while it has not.
    pub code: u16,
}

impl Record for TrialCounters {
    const KIND: u8 = 0x06;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.bytes(&self.identity8);
        payload.u8(self.stage.number());
        payload.u8(self.boots);
        payload.u8(self.crashes);
        payload.u8(self.reactivations);
        payload.u16(self.code);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            identity8: payload.array(),
            stage: TrialStage::from_number(payload.u8())?,
            boots: payload.u8(),
            crashes: payload.u8(),
            reactivations: payload.u8(),
            code: payload.u16(),
        })
    }
}
