//! Settings on the host: out of a device file, into an NVS partition image, into a flash image.

mod certificates;
mod device_file;
mod flash_image;
mod image;

use std::path::PathBuf;

use otaria_package::keyfile::KeyFileError;
use otaria_wire::partitions::PartitionError;

use crate::{BrokerUrlError, SettingsError, WifiError};

pub use certificates::{About, CertificateError, about, id_of, read_authorities, read_identity};
pub use device_file::{from_toml, psk_from_hex, read_device_file};
pub use flash_image::{FLASH_LEN, flash_image, nvs_region, put_into_flash};
pub use image::{Entry, Value, entries, image_of_entries, partition_image, read_partition};

/// Why settings cannot be made or placed on the host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The device file is not as it should be. Its text is not repeated: it may hold passwords.
    #[error("the device file is wrong{}: {message}", line.map(|line| format!(" in line {line}")).unwrap_or_default())]
    DeviceFile {
        /// Where, if that is known.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// An environment variable that the device file names is not set, or not UTF-8.
    #[error("the environment variable {0}, which the device file names, is not set")]
    Variable(String),
    /// A public key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A file with certificates is not for a device.
    #[error("cannot take the certificates of {}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// Certificates, key and id do not go together.
    #[error(transparent)]
    Identity(CertificateError),
    /// The broker is to be reached with TLS, and the device could not know it.
    #[error(
        "mqtts:// needs something by which the device knows the broker: its CA (--ca FILE), or a key that both have (--psk-id NAME --psk-file FILE)"
    )]
    UnknownBroker,
    /// Encrypted packages alone, and no key that opens them.
    #[error(
        "a device that takes encrypted packages alone needs the key that opens them (--encryption-key FILE, from `otaria keygen`)"
    )]
    NoEncryptionKey,
    /// A name of a shared key without the key, or the other way round, or the key is not written in hexadecimal digits.
    #[error(
        "a shared key has a name of 1 to 128 bytes (psk_id) and 32 to 128 hexadecimal digits (psk), as `openssl rand -hex 32` makes them"
    )]
    Psk,
    /// More keys than a device takes.
    #[error("a device trusts at most four keys")]
    TooManyKeys,
    /// A Wi-Fi network is not as one can be.
    #[error(transparent)]
    Wifi(#[from] WifiError),
    /// The broker's address is wrong.
    #[error(transparent)]
    Broker(#[from] BrokerUrlError),
    /// A setting has a value that a device would refuse.
    #[error("a device would refuse these settings")]
    Refused(#[source] SettingsError),
    /// NVS needs three sectors: one to write to, one that is full, one in reserve.
    #[error("an NVS partition is a multiple of 4096 bytes, and at least 12288; this one has {0}")]
    PartitionLength(u64),
    /// The settings need more room.
    #[error("the settings do not fit into an NVS partition of {0} bytes")]
    TooLong(usize),
    /// The settings fit, but the device could not change its network.
    #[error(
        "the settings take more than half of an NVS partition of {0} bytes, so that the device could not change its network; use shorter certificate chains, or fewer hosts"
    )]
    NoRoomToChange(usize),
    /// The flash image has no partition table, or a damaged one.
    #[error(
        "the flash image has no usable partition table at 0x8000; was it made with a partition table (a merged image)?"
    )]
    Table(#[source] PartitionError),
    /// The table has no NVS partition.
    #[error("the partition table in the flash image has no nvs partition (type data, subtype nvs)")]
    NoNvs,
    /// The NVS partition is encrypted.
    #[error("the nvs partition is marked encrypted, which cannot be written from here")]
    Encrypted,
    /// The NVS partition ends behind the image.
    #[error("the nvs partition ends at {end:#x}, and the flash image at {len:#x}")]
    Outside {
        /// End of the partition.
        end: u32,
        /// Length of the image.
        len: usize,
    },
    /// A part of a flash image is longer than its place.
    #[error("the {what} has {len} bytes, and its place in flash {room}")]
    NoRoom {
        /// Which part.
        what: &'static str,
        /// Its length.
        len: usize,
        /// Length of its place.
        room: usize,
    },
    /// The new partition is not as long as the one in the table.
    #[error("the nvs partition in the flash image has {there} bytes, and the new one {new}")]
    OtherLength {
        /// Length in the table.
        there: u32,
        /// Length of what should go in.
        new: usize,
    },
}
