//! ClientHello and ServerHello (RFC 8446, 4.1).

use super::TlsError;
use super::bytes::{Reader, Writer};
use super::keys::HASH_LEN;
use super::record::MESSAGE_HEADER_LEN;

/// TLS_CHACHA20_POLY1305_SHA256: the one suite.
const SUITE: u16 = 0x1303;
/// secp256r1: the one group.
const GROUP: u16 = 0x0017;
/// ecdsa_secp256r1_sha256: the one scheme of signatures, of certificates too.
pub(super) const SCHEME: u16 = 0x0403;
const TLS_1_2: u16 = 0x0303;
const TLS_1_3: u16 = 0x0304;
/// 2^12 bytes (RFC 6066, 4).
const FRAGMENT_LENGTH: u8 = 4;

pub(super) const POINT_LEN: usize = 65;

/// Extensions (RFC 8446, 4.2).
mod extension {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const MAX_FRAGMENT_LENGTH: u16 = 1;
    pub(super) const SUPPORTED_GROUPS: u16 = 10;
    pub(super) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(super) const PRE_SHARED_KEY: u16 = 41;
    pub(super) const SUPPORTED_VERSIONS: u16 = 43;
    pub(super) const PSK_KEY_EXCHANGE_MODES: u16 = 45;
    pub(super) const KEY_SHARE: u16 = 51;
}

/// The random number by which a ServerHello says that it is a HelloRetryRequest (4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What differs between one ClientHello and another.
pub(super) struct ClientHello<'a> {
    pub(super) random: &'a [u8; 32],
    /// The device's share of the key exchange: an uncompressed point.
    pub(super) share: &'a [u8],
    /// The server's name; none if it is called by an address (RFC 6066, 3).
    pub(super) name: Option<&'a str>,
    /// The name of the key that the two share.
    pub(super) psk_id: Option<&'a [u8]>,
}

/// What the binder of a shared key is long, with the lengths in front of it.
pub(super) const BINDERS_LEN: usize = 2 + 1 + HASH_LEN;

impl ClientHello<'_> {
    /// Writes the message. With a shared key its last [`BINDERS_LEN`] bytes are a binder of zeros, for the caller to fill in.
    pub(super) fn write<'b>(&self, buf: &'b mut [u8]) -> Result<&'b mut [u8], TlsError> {
        let mut out = Writer::new(buf);
        out.bytes(&[super::handshake::CLIENT_HELLO, 0]);
        let message = out.open();
        out.u16(TLS_1_2);
        out.bytes(self.random);
        // No session of old, one suite, no compression.
        out.u8(0);
        out.u16(2);
        out.u16(SUITE);
        out.bytes(&[1, 0]);
        let extensions = out.open();
        let mut extension = |id, write: &dyn Fn(&mut Writer<'_>)| {
            out.u16(id);
            let start = out.open();
            write(&mut out);
            out.close(start);
        };
        if let Some(name) = self.name {
            extension(extension::SERVER_NAME, &|out| {
                let list = out.open();
                out.u8(0);
                let start = out.open();
                out.bytes(name.as_bytes());
                out.close(start);
                out.close(list);
            });
        }
        extension(extension::MAX_FRAGMENT_LENGTH, &|out| {
            out.u8(FRAGMENT_LENGTH);
        });
        for (id, only) in [
            (extension::SUPPORTED_GROUPS, GROUP),
            (extension::SIGNATURE_ALGORITHMS, SCHEME),
        ] {
            extension(id, &|out| {
                out.u16(2);
                out.u16(only);
            });
        }
        extension(extension::SUPPORTED_VERSIONS, &|out| {
            out.u8(2);
            out.u16(TLS_1_3);
        });
        extension(extension::KEY_SHARE, &|out| {
            let shares = out.open();
            out.u16(GROUP);
            let start = out.open();
            out.bytes(self.share);
            out.close(start);
            out.close(shares);
        });
        if let Some(id) = self.psk_id {
            // With a key exchange of its own (psk_dhe_ke), so that the key alone does not open what was recorded.
            extension(extension::PSK_KEY_EXCHANGE_MODES, &|out| {
                out.bytes(&[1, 1]);
            });
            // The last one (4.2.11).
            extension(extension::PRE_SHARED_KEY, &|out| {
                let identities = out.open();
                let start = out.open();
                out.bytes(id);
                out.close(start);
                out.bytes(&[0; 4]);
                out.close(identities);
                let binders = out.open();
                out.u8(HASH_LEN as u8);
                out.bytes(&[0; HASH_LEN]);
                out.close(binders);
            });
        }
        out.close(extensions);
        out.close(message);
        out.end()
    }
}

/// What the server has chosen.
pub(super) struct ServerHello<'a> {
    /// Its share of the key exchange.
    pub(super) share: &'a [u8; POINT_LEN],
    /// It takes the shared key.
    pub(super) psk: bool,
}

impl<'a> ServerHello<'a> {
    /// Reads the message's body. `psk_offered`: whether the server may take one.
    pub(super) fn read(body: &'a [u8], psk_offered: bool) -> Result<Self, TlsError> {
        let mut hello = Reader::new(body);
        let version = hello.u16()?;
        let random = hello.take(32)?;
        let session = hello.vector(1)?;
        let suite = hello.u16()?;
        let compression = hello.u8()?;
        // There was a time without extensions. And what a HelloRetryRequest asks for this device does not have.
        if version != TLS_1_2 || hello.is_empty() || random == RETRY {
            return Err(TlsError::NothingInCommon);
        }
        let mut extensions = hello.vector(2)?;
        hello.end()?;
        let (mut version, mut share, mut psk) = (None, None, None);
        let mut unasked = false;
        while !extensions.is_empty() {
            let id = extensions.u16()?;
            let mut value = extensions.vector(2)?;
            let twice = match id {
                extension::SUPPORTED_VERSIONS => version.replace(value.u16()?).is_some(),
                extension::KEY_SHARE => {
                    if value.u16()? != GROUP {
                        return Err(TlsError::Protocol);
                    }
                    let point = value.vector(2)?.rest();
                    let point = point.try_into().map_err(|_| TlsError::Protocol)?;
                    share.replace(point).is_some()
                }
                // The first of the list that was offered, which is the only one.
                extension::PRE_SHARED_KEY if psk_offered => {
                    if value.u16()? != 0 {
                        return Err(TlsError::Protocol);
                    }
                    psk.replace(()).is_some()
                }
                // Of an older version perhaps, of which more is to be said below.
                _ => {
                    unasked = true;
                    continue;
                }
            };
            value.end()?;
            if twice {
                return Err(TlsError::Protocol);
            }
        }
        if version != Some(TLS_1_3) {
            return Err(TlsError::NothingInCommon);
        }
        if unasked || suite != SUITE || compression != 0 || !session.is_empty() {
            return Err(TlsError::Protocol);
        }
        Ok(Self {
            share: share.ok_or(TlsError::Protocol)?,
            psk: psk.is_some(),
        })
    }
}

/// Reads EncryptedExtensions: nothing may be answered that was not asked (4.2).
pub(super) fn read_encrypted_extensions(body: &[u8]) -> Result<(), TlsError> {
    let mut body = Reader::new(body);
    let mut extensions = Extensions::of(&mut body)?;
    body.end()?;
    while let Some((id, value)) = extensions.next()? {
        match (id, value.rest()) {
            (extension::SERVER_NAME, [])
            | (extension::MAX_FRAGMENT_LENGTH, [FRAGMENT_LENGTH])
            // What it would have liked better.
            | (extension::SUPPORTED_GROUPS, _) => {}
            _ => return Err(TlsError::Protocol),
        }
    }
    Ok(())
}

/// Reads a CertificateRequest. Returns whether the device's signature would do.
pub(super) fn read_certificate_request(body: &[u8]) -> Result<bool, TlsError> {
    let mut body = Reader::new(body);
    // There is a context only after the handshake (4.3.2).
    if !body.vector(1)?.is_empty() {
        return Err(TlsError::Protocol);
    }
    let mut extensions = Extensions::of(&mut body)?;
    body.end()?;
    let mut fits = None;
    while let Some((id, mut value)) = extensions.next()? {
        if id == extension::SIGNATURE_ALGORITHMS {
            let mut schemes = value.vector(2)?;
            value.end()?;
            let mut found = false;
            while !schemes.is_empty() {
                found |= schemes.u16()? == SCHEME;
            }
            fits = Some(found);
        }
    }
    // It has to be there (4.3.2).
    fits.ok_or(TlsError::Protocol)
}

/// A block of extensions, of which none may be there twice (4.2).
struct Extensions<'a> {
    rest: Reader<'a>,
    /// One bit for each that there was. All that mean anything have lower numbers.
    seen: u64,
}

impl<'a> Extensions<'a> {
    fn of(body: &mut Reader<'a>) -> Result<Self, TlsError> {
        Ok(Self {
            rest: body.vector(2)?,
            seen: 0,
        })
    }

    fn next(&mut self) -> Result<Option<(u16, Reader<'a>)>, TlsError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let id = self.rest.u16()?;
        let value = self.rest.vector(2)?;
        let bit = 1u64.checked_shl(id.into()).unwrap_or_default();
        if self.seen & bit != 0 {
            return Err(TlsError::Protocol);
        }
        self.seen |= bit;
        Ok(Some((id, value)))
    }
}

/// The message behind its header.
pub(super) fn body(message: &[u8]) -> &[u8] {
    message.get(MESSAGE_HEADER_LEN..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const VERSION: &[u8] = &[0, 43, 0, 2, 3, 4];
    /// An extension that no device asks for: early_data.
    const UNASKED: &[u8] = &[0, 42, 0, 0];
    const PSK: &[u8] = &[0, 41, 0, 2, 0, 0];

    fn share() -> Vec<u8> {
        let mut share = std::vec![0, 51, 0, 69, 0, 23, 0, 65];
        share.extend_from_slice(&[4; POINT_LEN]);
        share
    }

    fn read(extensions: &[&[u8]], psk_offered: bool) -> Result<bool, TlsError> {
        let extensions = extensions.concat();
        let mut body = std::vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, 0x13, 3, 0]);
        body.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
        body.extend_from_slice(&extensions);
        ServerHello::read(&body, psk_offered).map(|hello| hello.psk)
    }

    #[test]
    fn what_was_not_offered_is_refused_wherever_it_stands() {
        let share = share();
        assert_eq!(read(&[VERSION, &share], false), Ok(false));
        assert_eq!(read(&[&share, VERSION], false), Ok(false));
        assert_eq!(read(&[&share, PSK, VERSION], true), Ok(true));
        for extension in [UNASKED, PSK] {
            for order in [
                [extension, VERSION, &share],
                [VERSION, extension, &share],
                [VERSION, &share, extension],
            ] {
                assert_eq!(read(&order, false), Err(TlsError::Protocol), "{order:?}");
            }
        }
    }

    /// A block of extensions without a value.
    fn block(extensions: &[&[u8]]) -> Vec<u8> {
        let extensions = extensions.concat();
        [&(extensions.len() as u16).to_be_bytes(), &extensions[..]].concat()
    }

    #[test]
    fn nothing_is_answered_twice_or_unasked_in_what_is_encrypted() {
        let (name, groups): (&[u8], &[u8]) = (&[0, 0, 0, 0], &[0, 10, 0, 4, 0, 2, 0, 23]);
        let length: &[u8] = &[0, 1, 0, 1, FRAGMENT_LENGTH];
        let read = |extensions: &[&[u8]]| read_encrypted_extensions(&block(extensions));
        assert_eq!(read(&[]), Ok(()));
        assert_eq!(read(&[groups, name, length]), Ok(()));
        for twice in [name, groups, length] {
            assert_eq!(read(&[twice, twice]), Err(TlsError::Protocol));
        }
        assert_eq!(read(&[name, UNASKED]), Err(TlsError::Protocol));
    }

    #[test]
    fn who_asks_for_a_certificate_says_how_it_may_be_signed() {
        let ours: &[u8] = &[0, 13, 0, 4, 0, 2, 4, 3];
        let others: &[u8] = &[0, 13, 0, 4, 0, 2, 5, 3];
        // certificate_authorities, and one of private use.
        let unknown: [&[u8]; 2] = [&[0, 47, 0, 2, 0, 0], &[0xff, 1, 0, 0]];
        let read = |extensions: &[&[u8]]| {
            let context: &[u8] = &[0];
            read_certificate_request(&[context, &block(extensions)].concat())
        };
        assert_eq!(read(&[unknown[0], ours, unknown[1]]), Ok(true));
        assert_eq!(read(&[others]), Ok(false));
        for bad in [
            &[][..],
            &unknown,
            &[ours, ours],
            &[ours, unknown[0], unknown[0]],
        ] {
            assert_eq!(read(bad), Err(TlsError::Protocol), "{bad:?}");
        }
    }

    #[test]
    fn a_server_of_an_older_version_is_named_as_such_whatever_it_answers() {
        // renegotiation_info.
        let older: &[u8] = &[0xff, 1, 0, 1, 0];
        assert_eq!(read(&[older], false), Err(TlsError::NothingInCommon));
    }
}
