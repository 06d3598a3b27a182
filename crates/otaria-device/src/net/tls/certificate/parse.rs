//! A certificate taken apart (RFC 5280, 4.1 and 4.2).

use super::TlsError;
use super::der::{self, BIT_STRING, Der, INTEGER, OBJECT, OCTET_STRING, SEQUENCE};
use super::time;

const MALFORMED: TlsError = TlsError::BadCertificate;

/// ecdsa-with-SHA256 (RFC 5758, 3.2), as an AlgorithmIdentifier's content.
const ECDSA_SHA256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
/// id-ecPublicKey with secp256r1 (RFC 5480, 2.1), the same way.
const P256: &[u8] = &[
    0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
];
/// id-ce, the arc of the extensions that are known here; each has one more byte.
const ID_CE: &[u8] = &[0x55, 0x1d];
const KEY_USAGE: u8 = 15;
const SUBJECT_ALT_NAME: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const NAME_CONSTRAINTS: u8 = 30;
const EXT_KEY_USAGE: u8 = 37;
/// id-kp-serverAuth (4.2.1.12).
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

/// Bits of a key usage (4.2.1.3), as they stand in its first byte.
const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_CERT_SIGN: u8 = 0x04;

/// What matters of a certificate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Certificate<'a> {
    /// What is signed.
    pub(super) signed: &'a [u8],
    /// The issuer's signature, in DER; `None` if it is not ECDSA with SHA-256.
    pub(super) signature: Option<&'a [u8]>,
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    /// The public key, as an uncompressed point; `None` if it is not of P-256.
    pub(super) key: Option<&'a [u8; 65]>,
    /// May issue certificates.
    pub(super) authority: bool,
    /// So many authorities may stand between this one and the last certificate.
    pub(super) path_len: Option<u8>,
    key_usage: Option<u8>,
    /// There is a list of purposes, and whether it has that of a server.
    server_auth: Option<bool>,
    /// The names that it is for; empty if it says nothing.
    pub(super) names: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Takes `whole` apart. An extension that is critical and unknown is refused, as 4.2 demands; so are restrictions of names,
    /// because to leave them unheeded would be worse.
    pub(super) fn parse(whole: &'a [u8]) -> Result<Self, TlsError> {
        let mut outer = Der::new(whole);
        let mut parts = outer.expect(SEQUENCE)?;
        outer.end()?;
        let body = parts.element()?;
        let algorithm = parts.expect(SEQUENCE)?.rest();
        let signature = parts.bytes_of_bits()?;
        parts.end()?;

        let mut body_parts = Der::new(Der::new(body.whole).expect(SEQUENCE)?.rest());
        // Version 3: others have no extensions, so that nothing says who is an authority.
        let mut version = body_parts.optional(0xa0)?.ok_or(MALFORMED)?;
        if der::unsigned::<1>(&mut version)? != [2] {
            return Err(MALFORMED);
        }
        body_parts.expect(INTEGER)?;
        if body_parts.expect(SEQUENCE)?.rest() != algorithm {
            return Err(MALFORMED);
        }
        let issuer = body_parts.element()?;
        let mut validity = body_parts.expect(SEQUENCE)?;
        let not_before = time::next(&mut validity)?;
        let not_after = time::next(&mut validity)?;
        validity.end()?;
        let subject = body_parts.element()?;
        let mut key_info = body_parts.expect(SEQUENCE)?;
        let key_algorithm = key_info.expect(SEQUENCE)?.rest();
        let key = key_info.bytes_of_bits()?;
        key_info.end()?;
        // Unique identifiers, which nobody uses.
        body_parts.optional(0x81)?;
        body_parts.optional(0x82)?;

        let mut certificate = Self {
            signed: body.whole,
            signature: (algorithm == ECDSA_SHA256).then_some(signature),
            issuer: issuer.whole,
            subject: subject.whole,
            not_before,
            not_after,
            key: key.try_into().ok().filter(|_| key_algorithm == P256),
            authority: false,
            path_len: None,
            key_usage: None,
            server_auth: None,
            names: &[],
        };
        if let Some(mut tagged) = body_parts.optional(0xa3)? {
            let mut extensions = tagged.expect(SEQUENCE)?;
            tagged.end()?;
            certificate.read_extensions(&mut extensions)?;
        }
        body_parts.end()?;
        Ok(certificate)
    }

    fn read_extensions(&mut self, extensions: &mut Der<'a>) -> Result<(), TlsError> {
        // One bit for each of those that are known.
        let mut seen = 0u64;
        while !extensions.is_empty() {
            let mut extension = extensions.expect(SEQUENCE)?;
            let id = extension.expect(OBJECT)?.rest();
            let critical = extension.flag()?;
            let mut value = Der::new(extension.expect(OCTET_STRING)?.rest());
            extension.end()?;
            let known = match id.strip_prefix(ID_CE) {
                Some(&[known]) => known,
                _ => 0,
            };
            match known {
                BASIC_CONSTRAINTS => {
                    let mut constraints = value.expect(SEQUENCE)?;
                    self.authority = constraints.flag()?;
                    if !constraints.is_empty() {
                        self.path_len = Some(u8::from_be_bytes(der::unsigned(&mut constraints)?));
                    }
                    constraints.end()?;
                }
                KEY_USAGE => match value.expect(BIT_STRING)?.rest() {
                    [0..=7, bits, ..] => self.key_usage = Some(*bits),
                    _ => return Err(MALFORMED),
                },
                EXT_KEY_USAGE => {
                    let mut purposes = value.expect(SEQUENCE)?;
                    let mut found = false;
                    while !purposes.is_empty() {
                        found |= purposes.expect(OBJECT)?.rest() == SERVER_AUTH;
                    }
                    self.server_auth = Some(found);
                }
                SUBJECT_ALT_NAME => self.names = value.expect(SEQUENCE)?.rest(),
                NAME_CONSTRAINTS => return Err(MALFORMED),
                _ if critical => return Err(MALFORMED),
                _ => continue,
            }
            value.end()?;
            let bit = 1 << (known & 63);
            if seen & bit != 0 {
                return Err(MALFORMED);
            }
            seen |= bit;
        }
        Ok(())
    }

    /// Whether its key may sign certificates of servers. Purposes hold for all below: 4.2.1.12 leaves that open, but whoever has an
    /// authority made for devices alone, say, relies on it, and OpenSSL and browsers have it so.
    pub(super) fn may_issue(&self) -> bool {
        self.authority
            && self.server_auth != Some(false)
            && self
                .key_usage
                .is_none_or(|usage| usage & KEY_CERT_SIGN != 0)
    }

    /// Whether it is for a server, and its key may sign a handshake. An authority's own certificate is not.
    pub(super) fn may_serve(&self) -> bool {
        !self.authority
            && self.server_auth != Some(false)
            && self
                .key_usage
                .is_none_or(|usage| usage & DIGITAL_SIGNATURE != 0)
    }
}
