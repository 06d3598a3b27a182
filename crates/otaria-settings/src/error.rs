//! Why settings cannot be read or written.

use core::fmt;

use embedded_storage::nor_flash::NorFlashErrorKind;
use otaria_wire::nvs::ValueError;

use crate::{BrokerUrlError, WifiError};

/// Why settings cannot be read or written. Nothing in it is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsError {
    /// The flash failed.
    Flash(NorFlashErrorKind),
    /// The partition is not made of whole sectors within the flash.
    Region,
    /// The partition holds something, but no NVS pages.
    NotNvs,
    /// A page of another version of NVS.
    Version,
    /// An entry of the partition is damaged, nobody can say which.
    Damaged {
        /// Sector of the partition.
        page: u16,
        /// Entry in it.
        entry: u8,
    },
    /// A setting cannot be read.
    Unreadable {
        /// Its name in NVS.
        name: &'static str,
        /// What is wrong with it in flash.
        why: ValueError,
    },
    /// A setting has a value that cannot be.
    Invalid {
        /// Its name in NVS.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A Wi-Fi network is not as one can be.
    Wifi(WifiError),
    /// The broker's address is wrong.
    Broker(BrokerUrlError),
    /// The partition has no room.
    Full,
    /// What was written does not read back, or other settings are not what they were.
    NotSaved,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(kind) => write!(f, "settings: the flash failed ({kind:?})"),
            Self::Region => f.write_str("settings: the partition is not whole sectors in flash"),
            Self::NotNvs => f.write_str(
                "settings: the partition is no NVS partition; erase it, or write one with `otaria provision`",
            ),
            Self::Version => f.write_str(
                "settings: the partition is of another version of NVS; write it anew with `otaria provision`",
            ),
            Self::Damaged { page, entry } => write!(
                f,
                "settings: entry {entry} of sector {page} is damaged; write the partition anew with `otaria provision`"
            ),
            Self::Unreadable { name, why } => write!(f, "settings: cannot read {name}: {why}"),
            Self::Invalid { name, expected } => {
                write!(f, "settings: {name} is not {expected}")
            }
            Self::Wifi(why) => write!(f, "settings: {why}"),
            Self::Broker(why) => write!(f, "settings: {why}"),
            Self::Full => f.write_str("settings: the NVS partition is full"),
            Self::NotSaved => f.write_str("settings: what was written does not read back, or other settings changed with it"),
        }
    }
}

impl core::error::Error for SettingsError {}

impl From<WifiError> for SettingsError {
    fn from(why: WifiError) -> Self {
        Self::Wifi(why)
    }
}

impl From<BrokerUrlError> for SettingsError {
    fn from(why: BrokerUrlError) -> Self {
        Self::Broker(why)
    }
}
