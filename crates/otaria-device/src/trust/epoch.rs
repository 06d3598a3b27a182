//! Which keys count at the moment: the root keys of the settings, or those that a root key has put in their place.
//!
//! ```text
//! no key record              root keys sign packages, one signature is enough
//!     | a record with a root key's signature, for this product
//!     v
//! epoch 1                    the record's keys sign packages, as many as it says; root keys sign records only
//!     | a record with a higher epoch
//!     v
//! epoch 2 ...                a key that is not in it any more is revoked
//! ```
//!
//! # What a cut here leaves
//!
//! | step | a cut after it leaves |
//! |---|---|
//! | 1 the record is checked | nothing; the broker sends it again, it was not acknowledged |
//! | 2 it goes to the journal, in one write | the record in force at the next boot; it comes again and is known |
//! | 3 its keys count | the same |
//! | 4 PUBACK | done |

use core::cell::RefCell;
use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;
use otaria_wire::FixedText;
use otaria_wire::journal::KeyEpoch;
use otaria_wire::keys::{KeyRecord, KeyRecordError};
use otaria_wire::messages::{FailureCode, TrustedKeys};
use otaria_wire::package::{KeyId, SIGNATURE_LEN, SignatureError, VerifySignature};

use super::{KeyError, KeyRing};
use crate::install::Reason;
use crate::storage::journal::{Journal, JournalError};

/// Why a key record is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysError {
    /// It is no record.
    Malformed(KeyRecordError),
    /// One of its keys is none.
    Key(KeyError),
    /// It is for another product.
    Product(FixedText<32>),
    /// Its epoch is not above the one in force, and it says something else.
    Epoch {
        /// The record's.
        offered: u32,
        /// The one in force.
        held: u32,
    },
    /// No root key of this device has signed it.
    UnknownRoot,
    /// A root key of this device is said to have signed it, and has not.
    BadSignature,
    /// Too many came at once; it was not looked at, and has to be sent again.
    TooMany,
    /// The journal cannot be read, or does not take it.
    Journal(JournalError),
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Short: what exactly is wrong with a record is said where it is made.
        f.write_str(match self {
            Self::Malformed(_) => "this is no key record",
            Self::Key(_) => "a key in the record is none",
            Self::Product(_) => "the key record is for another product",
            Self::Epoch { offered, held } => {
                return write!(f, "key record {offered} does not replace {held}");
            }
            Self::UnknownRoot => "no root key of this device signed the key record",
            Self::BadSignature => "the key record's signature is wrong",
            Self::TooMany => "too many key records, send it again",
            Self::Journal(error) => return error.fmt(f),
        })
    }
}

impl core::error::Error for KeysError {}

impl KeysError {
    /// Of a record in the journal: it is one of this device's, and cannot be read any more. Any other does not count because the
    /// settings have changed.
    pub(crate) const fn is_damage(&self) -> bool {
        !matches!(self, Self::Product(_) | Self::UnknownRoot)
    }
}

impl Reason for KeysError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Malformed(_) | Self::Key(_) => FailureCode::KeysMalformed,
            Self::Product(_) => FailureCode::KeysProduct,
            Self::Epoch { .. } => FailureCode::KeysEpoch,
            Self::UnknownRoot => FailureCode::KeysUnknownRoot,
            Self::BadSignature => FailureCode::KeysBadSignature,
            Self::TooMany => FailureCode::KeysTooMany,
            Self::Journal(error) => error.code(),
        }
    }
}

impl From<JournalError> for KeysError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// The release keys of a record whose signature was checked.
#[derive(Debug)]
struct Release {
    epoch: u32,
    threshold: u8,
    keys: KeyRing,
}

impl Release {
    /// No package is good enough, and any epoch is higher.
    const fn of_nobody() -> Self {
        Self {
            epoch: 0,
            threshold: 1,
            keys: KeyRing::new(),
        }
    }
}

/// Whose packages are taken at the moment.
///
/// It changes while a package is on its way, so it is asked anew for each signature, and no answer is kept over an `await`
/// without asking [`Trust::epoch`] again.
#[derive(Debug)]
pub struct Trust<'a> {
    roots: &'a KeyRing,
    product: FixedText<32>,
    release: RefCell<Option<Release>>,
}

impl<'a> Trust<'a> {
    /// The root keys alone, for a device of this product.
    #[must_use]
    pub const fn new(roots: &'a KeyRing, product: FixedText<32>) -> Self {
        Self {
            roots,
            product,
            release: RefCell::new(None),
        }
    }

    /// Goes by the record in the journal, if there is one that is good. What was stored is checked like what comes in: under
    /// other root keys or another product it does not count, and the root keys sign packages as on a new device.
    ///
    /// A record that is damaged says that there were release keys, and not which. Then nobody signs packages, for a root key or
    /// an older release key may be the very one that it had revoked, until a root key's record comes in. A power cut leaves no such
    /// record: one that is not whole is none, and the one before it stands.
    ///
    /// # Errors
    /// Why the record in the journal does not count. It stays there.
    pub fn load<R: NorFlash>(&self, journal: &mut Journal<R>) -> Result<(), KeysError> {
        let (release, result) = match self.stored(journal) {
            Ok(release) => (release, Ok(())),
            Err(error) => (error.is_damage().then(Release::of_nobody), Err(error)),
        };
        self.release.replace(release);
        result
    }

    /// The record in the journal.
    fn stored<R: NorFlash>(&self, journal: &mut Journal<R>) -> Result<Option<Release>, KeysError> {
        let Some(stored) = journal.latest::<KeyEpoch>(0)? else {
            return Ok(None);
        };
        let record = KeyRecord::parse(&stored.record).map_err(KeysError::Malformed)?;
        self.check_product(&record)?;
        self.check(&record).map(Some)
    }

    /// Looks at what came in, without arithmetic: `None` if it is the record in force.
    ///
    /// # Errors
    /// See [`KeysError`].
    pub fn examine<'b, R: NorFlash>(
        &self,
        journal: &mut Journal<R>,
        bytes: &'b [u8],
    ) -> Result<Option<KeyRecord<'b>>, KeysError> {
        let record = KeyRecord::parse(bytes).map_err(KeysError::Malformed)?;
        self.check_product(&record)?;
        let (offered, held) = (record.epoch(), self.epoch());
        if offered > held {
            return Ok(Some(record));
        }
        let stored = if offered == held {
            journal.latest::<KeyEpoch>(0)?
        } else {
            None
        };
        let known = stored.is_some_and(|stored| record.says_the_same_as(&stored.record));
        if known {
            Ok(None)
        } else {
            Err(KeysError::Epoch { offered, held })
        }
    }

    /// Goes by a record from now on, if a root key has signed it. It is in the journal when this returns.
    ///
    /// # Errors
    /// See [`KeysError`]. The keys that counted before count on.
    pub fn adopt<R: NorFlash>(
        &self,
        journal: &mut Journal<R>,
        record: &KeyRecord<'_>,
    ) -> Result<(), KeysError> {
        let release = self.check(record)?;
        let bytes = Vec::from_slice(record.as_bytes());
        let record = bytes.map_err(|_| KeysError::Malformed(KeyRecordError::Length))?;
        journal.append(0, &KeyEpoch { record })?;
        self.release.replace(Some(release));
        Ok(())
    }

    fn check_product(&self, record: &KeyRecord<'_>) -> Result<(), KeysError> {
        if *record.product() == self.product {
            Ok(())
        } else {
            Err(KeysError::Product(*record.product()))
        }
    }

    fn check(&self, record: &KeyRecord<'_>) -> Result<Release, KeysError> {
        record.verify(self.roots).map_err(|error| match error {
            SignatureError::UnknownKey => KeysError::UnknownRoot,
            SignatureError::BadSignature => KeysError::BadSignature,
        })?;
        Ok(Release {
            epoch: record.epoch(),
            threshold: record.threshold(),
            keys: KeyRing::of(record.keys()).map_err(KeysError::Key)?,
        })
    }

    /// The epoch of the record in force; 0 if there is none.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        let release = self.release.borrow();
        release.as_ref().map_or(0, |release| release.epoch)
    }

    /// How many different keys must have signed a package.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        let release = self.release.borrow();
        release.as_ref().map_or(1, |release| release.threshold)
    }

    /// What `state` says of it.
    #[must_use]
    pub fn report(&self) -> TrustedKeys {
        let release = self.release.borrow();
        let keys = release.as_ref().map_or(self.roots, |release| &release.keys);
        let mut report = TrustedKeys {
            epoch: release.as_ref().map_or(0, |release| release.epoch),
            threshold: release.as_ref().map_or(1, |release| release.threshold),
            ids: Vec::new(),
        };
        for id in keys.ids() {
            // A ring is no larger.
            let _ = report.ids.push(id);
        }
        report
    }
}

/// Signatures under packages.
impl VerifySignature for Trust<'_> {
    fn verify(
        &self,
        key_id: &KeyId,
        message: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SignatureError> {
        match self.release.borrow().as_ref() {
            Some(release) => release.keys.verify(key_id, message, signature),
            None => self.roots.verify(key_id, message, signature),
        }
    }
}

#[cfg(test)]
mod tests;
