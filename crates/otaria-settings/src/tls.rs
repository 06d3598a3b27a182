//! How the device knows servers and they know it, and what tells it the time for that.

use alloc::string::String;
use alloc::vec::Vec;

use otaria_wire::settings as names;

use crate::read::invalid;
use crate::{SecretBytes, SecretKey, SettingsError};

/// Longest run of certificates, of authorities or of the device: a handful of them, on P-256.
pub const MAX_CERTIFICATES_LEN: usize = 4096;
/// Lengths of a key that device and broker share, in bytes. A shorter one could be guessed by who has recorded a handshake.
pub const PSK_LEN: core::ops::RangeInclusive<usize> = 16..=64;
/// Longest name of such a key in bytes.
pub const MAX_PSK_ID_LEN: usize = 128;
/// Most time servers.
pub const MAX_TIME_SERVERS: usize = 4;

/// What TLS works with. Without any of it there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities that servers' certificates must come from: DER certificates, one behind the other. They are not looked at
    /// here.
    pub authorities: Vec<u8>,
    /// What the device shows of itself.
    pub identity: Option<Identity>,
    /// A key that it shares with the broker.
    pub psk: Option<Psk>,
}

/// The device's certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The device's certificate, and those between it and the authority that servers know: DER, one behind the other.
    pub chain: Vec<u8>,
    /// The private key of the first one.
    pub key: SecretKey,
}

/// A key that device and broker share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Psk {
    /// Its name, 1 to [`MAX_PSK_ID_LEN`] bytes.
    pub id: String,
    /// The key, [`PSK_LEN`] bytes.
    pub key: SecretBytes,
}

impl Tls {
    /// Whether there is anything by which a server could be known.
    #[must_use]
    pub fn knows_servers(&self) -> bool {
        !self.authorities.is_empty() || self.psk.is_some()
    }

    /// Checks what can be checked without looking into certificates.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        certificates(names::AUTHORITIES, &self.authorities)?;
        if let Some(identity) = &self.identity {
            certificates(names::CERTIFICATE, &identity.chain)?;
        }
        match &self.psk {
            Some(psk) if psk.id.is_empty() || psk.id.len() > MAX_PSK_ID_LEN => {
                Err(invalid(names::PSK_ID, "1 to 128 bytes"))
            }
            Some(psk) if !PSK_LEN.contains(&psk.key.reveal().len()) => {
                Err(invalid(names::PSK, "16 to 64 bytes"))
            }
            _ => Ok(()),
        }
    }
}

/// A certificate is a SEQUENCE whose length takes two bytes. More is looked at where it is used.
fn certificates(name: &'static str, der: &[u8]) -> Result<(), SettingsError> {
    let mut rest = der;
    while let [tag, form, high, low, behind @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        match behind.get(len..) {
            Some(next) if (*tag, *form) == (0x30, 0x82) => rest = next,
            _ => break,
        }
    }
    if rest.is_empty() && der.len() <= MAX_CERTIFICATES_LEN {
        Ok(())
    } else {
        Err(invalid(
            name,
            "X.509 certificates in DER, 4096 bytes at most",
        ))
    }
}
