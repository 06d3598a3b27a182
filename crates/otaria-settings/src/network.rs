//! What the set-up page and Improv save: Wi-Fi networks and broker in one value, so that a power cut leaves all of it or
//! nothing.
//!
//! ```text
//! blob "network": cells of 32 bytes            record, over the cells' texts
//!  0   3  0xFF                                   1  version: 1
//!  3  29  the record, padded with 0              1  number of Wi-Fi networks, at most 4
//!                                                each: 1 length, name, 1 length, password
//!                                                2  length, address of the broker (0: none)
//!                                                2  length, user name (0: none)
//!                                                1  whether there is a password
//!                                                2  length, password
//! ```
//!
//! Cells, because a stranger may choose these texts: blobs lie in NVS entries of 32 bytes, and an entry whose third byte is
//! 0xFF spans more than a page, so no reader can take it for an item, whatever becomes of the entry in front of it.

use alloc::vec::Vec;

use otaria_wire::settings::{MAX_WIFI_NETWORKS, NETWORK};
use zeroize::Zeroizing;

use crate::{BrokerUrl, Secret, SettingsError, WifiError, WifiNetwork};

const VERSION: u8 = 1;
const CELL_LEN: usize = 32;
const TAG: [u8; 3] = [0xFF; 3];
const TEXT_LEN: usize = CELL_LEN - TAG.len();
/// Longest blob: four networks, address and credentials of a broker at their longest are 1,183 bytes of record.
pub(crate) const MAX_LEN: usize = 48 * CELL_LEN;

/// The blob's bytes.
pub(crate) fn encode(
    wifi: &[WifiNetwork],
    broker: Option<&BrokerUrl>,
) -> Result<Zeroizing<Vec<u8>>, SettingsError> {
    if wifi.len() > MAX_WIFI_NETWORKS {
        return Err(WifiError::TooMany.into());
    }
    let mut record = Zeroizing::new(Vec::with_capacity(MAX_LEN));
    record.push(VERSION);
    record.push(short(wifi.len())?);
    for network in wifi {
        // The fields are public, so that they may be anything.
        let network = WifiNetwork::new(&network.ssid, &network.password)?;
        for text in [network.ssid.as_str(), &network.password] {
            record.push(short(text.len())?);
            record.extend_from_slice(text.as_bytes());
        }
    }
    let address = broker.map(BrokerUrl::address).unwrap_or_default();
    let user = broker.and_then(|broker| broker.user.as_deref());
    let password = broker.and_then(|broker| broker.password.as_deref());
    long(&mut record, &address)?;
    long(&mut record, user.unwrap_or_default())?;
    record.push(u8::from(password.is_some()));
    long(&mut record, password.unwrap_or_default())?;

    let mut blob = Zeroizing::new(Vec::with_capacity(MAX_LEN));
    for text in record.chunks(TEXT_LEN) {
        blob.extend_from_slice(&TAG);
        blob.extend_from_slice(text);
    }
    let whole_cells = blob.len().next_multiple_of(CELL_LEN);
    blob.resize(whole_cells, 0);
    if blob.len() > MAX_LEN || decode(&blob)?.1.as_ref() != broker {
        return Err(INVALID);
    }
    Ok(blob)
}

fn short(len: usize) -> Result<u8, SettingsError> {
    u8::try_from(len).map_err(|_| INVALID)
}

fn long(record: &mut Vec<u8>, text: &str) -> Result<(), SettingsError> {
    let len = u16::try_from(text.len()).map_err(|_| INVALID)?;
    record.extend_from_slice(&len.to_le_bytes());
    record.extend_from_slice(text.as_bytes());
    Ok(())
}

const INVALID: SettingsError = SettingsError::Invalid {
    name: NETWORK,
    expected: "a record of Wi-Fi networks and a broker",
};

/// Wi-Fi networks and broker of a blob.
pub(crate) fn decode(blob: &[u8]) -> Result<(Vec<WifiNetwork>, Option<BrokerUrl>), SettingsError> {
    let (cells, rest) = blob.as_chunks::<CELL_LEN>();
    if !rest.is_empty() || blob.len() > MAX_LEN {
        return Err(INVALID);
    }
    let mut record = Zeroizing::new(Vec::with_capacity(blob.len()));
    for cell in cells {
        record.extend_from_slice(cell.strip_prefix(&TAG).ok_or(INVALID)?);
    }
    let mut reader = Reader(&record);
    if reader.byte()? != VERSION {
        return Err(INVALID);
    }
    let count = usize::from(reader.byte()?);
    if count > MAX_WIFI_NETWORKS {
        return Err(INVALID);
    }
    let mut wifi = Vec::with_capacity(count);
    for _ in 0..count {
        let (ssid, password) = (reader.short()?, reader.short()?);
        wifi.push(WifiNetwork::new(ssid, password)?);
    }
    let (address, user) = (reader.long()?, reader.long()?);
    let has_password = reader.byte()? != 0;
    let password = reader.long()?;
    if reader.0.len() >= TEXT_LEN || reader.0.iter().any(|byte| *byte != 0) {
        return Err(INVALID);
    }
    let password = has_password.then(|| Secret::from(password));
    let broker = match (address, user) {
        ("", _) => None,
        (address, "") => Some(BrokerUrl::parse(address)?),
        (address, user) => Some(BrokerUrl::parse(address)?.with_credentials(user, password)?),
    };
    Ok((wifi, broker))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, SettingsError> {
        let (byte, rest) = self.0.split_first().ok_or(INVALID)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn text(&mut self, len: usize) -> Result<&'a str, SettingsError> {
        let (text, rest) = self.0.split_at_checked(len).ok_or(INVALID)?;
        self.0 = rest;
        core::str::from_utf8(text).map_err(|_| INVALID)
    }

    fn short(&mut self) -> Result<&'a str, SettingsError> {
        let len = self.byte()?;
        self.text(len.into())
    }

    fn long(&mut self) -> Result<&'a str, SettingsError> {
        let len = u16::from_le_bytes([self.byte()?, self.byte()?]);
        self.text(len.into())
    }
}

/// Where two settings meet: what is saved must be what is read.
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn broker() -> BrokerUrl {
        BrokerUrl::parse("mqtts://me:p%40ss@broker.example:8884").unwrap()
    }

    #[test]
    fn the_bytes_are_these() {
        let wifi = [WifiNetwork::new("home", "correct horse").unwrap()];
        let blob = encode(&wifi, Some(&broker())).unwrap();
        let mut expected = Vec::new();
        let record = b"\x01\x01\x04home\x0dcorrect horse\
            \x1b\0mqtts://broker.example:8884\x02\0me\x01\x04\0p@ss";
        for text in record.chunks(29) {
            expected.extend([0xFF, 0xFF, 0xFF]);
            expected.extend(text);
        }
        expected.resize(96, 0);
        assert_eq!(*blob, expected);
        assert_eq!(decode(&blob), Ok((wifi.to_vec(), Some(broker()))));
    }

    #[test]
    fn the_longest_settings_fit() {
        let wifi: Vec<_> = (0..4)
            .map(|_| WifiNetwork::new(&"s".repeat(32), &"p".repeat(63)).unwrap())
            .collect();
        let host = [
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(61),
        ]
        .join(".");
        let credential = "u".repeat(crate::MAX_CREDENTIAL_LEN);
        let broker = BrokerUrl::parse(&format!("mqtts://{host}:65535"))
            .unwrap()
            .with_credentials(&credential, Some(credential.as_str().into()))
            .unwrap();
        let blob = encode(&wifi, Some(&broker)).unwrap();
        assert_eq!(decode(&blob), Ok((wifi, Some(broker))));
    }

    #[test]
    fn a_network_that_cannot_be_is_not_encoded() {
        let bad = WifiNetwork {
            ssid: std::string::String::new(),
            password: Secret::default(),
        };
        assert_eq!(
            encode(&[bad], None).unwrap_err(),
            SettingsError::Wifi(WifiError::SsidLength)
        );
        let network = WifiNetwork::new("a", "").unwrap();
        let many = vec![network; 5];
        assert_eq!(
            encode(&many, None).unwrap_err(),
            SettingsError::Wifi(WifiError::TooMany)
        );
    }

    proptest! {
        #[test]
        fn no_cell_of_a_blob_can_be_an_entry(
            ssid in "\\PC{1,8}",
            password in "[ -~]{8,63}",
            user in "[ -~]{1,80}",
        ) {
            let wifi = [WifiNetwork::new(&ssid, &password).unwrap()];
            let broker = BrokerUrl::parse("mqtt://host").unwrap();
            let broker = broker.with_credentials(&user, None).unwrap();
            let blob = encode(&wifi, Some(&broker)).unwrap();
            for cell in blob.as_chunks::<32>().0 {
                prop_assert!(otaria_wire::nvs::EntryHeader::parse(cell).is_none());
            }
            prop_assert_eq!(decode(&blob), Ok((wifi.to_vec(), Some(broker))));
        }

        #[test]
        fn any_blob_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), tagged: bool) {
            let mut bytes = bytes;
            if tagged {
                bytes.resize(bytes.len().next_multiple_of(32), 0);
                for cell in bytes.chunks_mut(32) {
                    cell[..3].fill(0xFF);
                }
                if let Some(version) = bytes.get_mut(3) {
                    *version = 1;
                }
            }
            if let Ok((wifi, broker)) = decode(&bytes) {
                let again = encode(&wifi, broker.as_ref()).unwrap();
                prop_assert_eq!(decode(&again), Ok((wifi, broker)));
            }
        }
    }
}
