//! Payloads about this device, its downloads and what it must not repeat.

use heapless::{String, Vec};

use super::{PayloadReader, PayloadWriter, Record};
use crate::Sha256Digest;
use crate::keys;
use crate::messages::ResetReason;
use crate::package::{KeyId, SIGNATURE_LEN};

/// Keys of [`Quarantine`] records are below this.
pub const QUARANTINE_KEYS: u16 = 8;
/// Keys of [`CommandSeen`] records are below this.
pub const COMMAND_KEYS: u16 = 8;

/// Names this installation in reports; made once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Install {
    /// A random number.
    pub install: u64,
}

impl Record for Install {
    const KIND: u8 = 0x01;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.u64(self.install);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            install: payload.u64(),
        })
    }
}

/// How often this device has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The number of this boot; the first one is 1.
    pub count: u32,
}

impl Record for Boot {
    const KIND: u8 = 0x02;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.u32(self.count);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            count: payload.u32(),
        })
    }
}

/// The download in the other slot: which package, and where it comes from; with everything that the wish declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Download {
    /// The package's identity.
    pub identity: Sha256Digest,
    /// The job.
    pub job: String<64>,
    /// Where it was declared to be, before any redirect.
    pub url: String<512>,
    /// The server's strong validator, or empty.
    pub etag: String<64>,
    /// The version that the package must declare.
    pub version: Option<String<32>>,
    /// The image that the package must contain.
    pub image_sha256: Option<Sha256Digest>,
    /// Not to be started before this time, in unix seconds.
    pub not_before: Option<u64>,
    /// Not to be started or retried after this time, in unix seconds.
    pub deadline: Option<u64>,
}

/// Which of the wish's declarations follow, in this order. An earlier version wrote none, which reads as 0.
const HAS_VERSION: u8 = 1;
const HAS_IMAGE: u8 = 2;
const HAS_NOT_BEFORE: u8 = 4;
const HAS_DEADLINE: u8 = 8;

impl Record for Download {
    const KIND: u8 = 0x03;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.digest(&self.identity);
        payload.text(&self.job);
        payload.text(&self.url);
        payload.text(&self.etag);
        let has = |bit, is: bool| if is { bit } else { 0 };
        payload.u8(has(HAS_VERSION, self.version.is_some())
            | has(HAS_IMAGE, self.image_sha256.is_some())
            | has(HAS_NOT_BEFORE, self.not_before.is_some())
            | has(HAS_DEADLINE, self.deadline.is_some()));
        if let Some(version) = &self.version {
            payload.text(version);
        }
        if let Some(image_sha256) = &self.image_sha256 {
            payload.digest(image_sha256);
        }
        if let Some(not_before) = self.not_before {
            payload.u64(not_before);
        }
        if let Some(deadline) = self.deadline {
            payload.u64(deadline);
        }
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        let mut download = Self {
            identity: payload.digest(),
            job: payload.text()?,
            url: payload.text()?,
            etag: payload.text()?,
            version: None,
            image_sha256: None,
            not_before: None,
            deadline: None,
        };
        let bits = payload.u8();
        let has = |bit| bits & bit != 0;
        if has(HAS_VERSION) {
            download.version = Some(payload.text()?);
        }
        download.image_sha256 = has(HAS_IMAGE).then(|| payload.digest());
        download.not_before = has(HAS_NOT_BEFORE).then(|| payload.u64());
        download.deadline = has(HAS_DEADLINE).then(|| payload.u64());
        Some(download)
    }
}

/// How far the other slot is erased and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// First 8 bytes of the package's identity: progress of any other package does not count.
    pub identity8: [u8; 8],
    /// Blocks from the first one on that are whole in the slot.
    pub blocks_held: u16,
    /// The slot is erased or written up to here (bytes from its start).
    pub erased_to: u32,
    /// An erase up to here was started; equal to `erased_to` when none is open.
    pub erasing_to: u32,
    /// The slot, counted from 1. 0: an earlier version did not say, or nothing of it counts.
    pub slot: u8,
}

impl Record for Progress {
    const KIND: u8 = 0x04;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.bytes(&self.identity8);
        payload.u16(self.blocks_held);
        payload.u32(self.erased_to);
        payload.u32(self.erasing_to);
        payload.u8(self.slot);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            identity8: payload.array(),
            blocks_held: payload.u16(),
            erased_to: payload.u32(),
            erasing_to: payload.u32(),
            slot: payload.u8(),
        })
    }
}

/// The last confirmed update: what runs, and the floors below which no package is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The slot that it is in.
    pub slot: u8,
    /// The image.
    pub image_sha256: Sha256Digest,
    /// The package that it came in.
    pub identity: Sha256Digest,
    /// The sequence floor.
    pub sequence: u64,
    /// The floor of the security version.
    pub security_version: u32,
}

impl Record for Confirmed {
    const KIND: u8 = 0x07;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.u8(self.slot);
        payload.digest(&self.image_sha256);
        payload.digest(&self.identity);
        payload.u64(self.sequence);
        payload.u32(self.security_version);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            slot: payload.u8(),
            image_sha256: payload.digest(),
            identity: payload.digest(),
            sequence: payload.u64(),
            security_version: payload.u32(),
        })
    }
}

/// A package that failed its trial; one record for each key below [`QUARANTINE_KEYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The package's identity.
    pub identity: Sha256Digest,
    /// First 8 bytes of SHA-256 of the job under which it failed; another job may try again.
    pub job_hash8: [u8; 8],
    /// Why, as a [`crate::messages::FailureCode`].
    pub code: u16,
    /// Rises with each record: the lowest one is the next to be replaced.
    pub order: u32,
}

impl Record for Quarantine {
    const KIND: u8 = 0x08;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.digest(&self.identity);
        payload.bytes(&self.job_hash8);
        payload.u16(self.code);
        payload.u32(self.order);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            identity: payload.digest(),
            job_hash8: payload.array(),
            code: payload.u16(),
            order: payload.u32(),
        })
    }
}

/// A command that was taken; one record for each key below [`COMMAND_KEYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandSeen {
    /// First 8 bytes of SHA-256 of the command's id.
    pub id_hash8: [u8; 8],
    /// Rises with each record: the lowest one is the next to be replaced.
    pub order: u32,
}

impl Record for CommandSeen {
    const KIND: u8 = 0x0A;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.bytes(&self.id_hash8);
        payload.u32(self.order);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            id_hash8: payload.array(),
            order: payload.u32(),
        })
    }
}

/// What is known of the last crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCrash {
    /// The boot that crashed.
    pub boot: u32,
    /// How the chip came back.
    pub reset: ResetReason,
    /// Program counter, or 0.
    pub pc: u32,
    /// Seconds since the start.
    pub uptime_s: u32,
    /// The panic message, clipped.
    pub text: String<96>,
}

impl Record for LastCrash {
    const KIND: u8 = 0x0B;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.u32(self.boot);
        payload.u8(self.reset.number());
        payload.u32(self.pc);
        payload.u32(self.uptime_s);
        payload.text(&self.text);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            boot: payload.u32(),
            reset: ResetReason::from_number(payload.u8()),
            pc: payload.u32(),
            uptime_s: payload.u32(),
            text: payload.text()?,
        })
    }
}

/// What this device has seen its bootloader do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootloader {
    /// It turned NEW into `PENDING_VERIFY`: it is built with rollback.
    pub rollback: bool,
}

impl Record for Bootloader {
    const KIND: u8 = 0x0C;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.u8(u8::from(self.rollback));
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        match payload.u8() {
            0 => Some(Self { rollback: false }),
            1 => Some(Self { rollback: true }),
            _ => None,
        }
    }
}

/// A time that has certainly passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeFloor {
    /// In unix seconds.
    pub seconds: u64,
}

impl Record for TimeFloor {
    const KIND: u8 = 0x0D;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.u64(self.seconds);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            seconds: payload.u64(),
        })
    }
}

/// The account of what was begun to be downloaded, see `otaria_engine::wear`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wear {
    /// Running time that is owed, in seconds.
    pub owed_s: u32,
    /// The highest sequence of all packages that were begun.
    pub sequence: u64,
    /// First bytes of the identity of the package that was begun last.
    pub identity8: [u8; 8],
    /// Blocks of it that were in the slot then.
    pub blocks_held: u16,
}

impl Record for Wear {
    const KIND: u8 = 0x10;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.u32(self.owed_s);
        payload.u64(self.sequence);
        payload.bytes(&self.identity8);
        payload.u16(self.blocks_held);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            owed_s: payload.u32(),
            sequence: payload.u64(),
            identity8: payload.array(),
            blocks_held: payload.u16(),
        })
    }
}

/// The key epoch record that counts, as it came in: see [`crate::keys`]. Its root signature is checked again at each boot, so
/// that settings with another root key do away with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEpoch {
    /// The whole record.
    pub record: Vec<u8, { keys::MAX_LEN }>,
}

impl Record for KeyEpoch {
    const KIND: u8 = 0x0E;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.u16(u16::try_from(self.record.len()).unwrap_or(u16::MAX));
        payload.bytes(&self.record);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        let len = usize::from(payload.u16());
        let mut record = Vec::new();
        for _ in 0..len {
            record.push(payload.u8()).ok()?;
        }
        Some(Self { record })
    }
}

/// Who co-signed the package that is being downloaded, where more than one signature is required: after a power cut the image
/// is activated without reading that part of the package again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoSigned {
    /// First 8 bytes of the package's identity.
    pub identity8: [u8; 8],
    /// The key.
    pub key_id: KeyId,
    /// Its signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl Record for CoSigned {
    const KIND: u8 = 0x0F;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.bytes(&self.identity8);
        payload.bytes(&self.key_id.0);
        payload.bytes(&self.signature);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            identity8: payload.array(),
            key_id: KeyId(payload.array()),
            signature: payload.array(),
        })
    }
}

/// The record of another kind and the same key is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forget {
    /// The kind that is forgotten.
    pub kind: u8,
}

impl Record for Forget {
    const KIND: u8 = 0x7F;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.u8(self.kind);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self { kind: payload.u8() })
    }
}
