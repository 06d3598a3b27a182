//! The handshake (RFC 8446, 4) as a machine without I/O: messages in, keys and messages out.
//!
//! ```text
//! ServerHello -> EncryptedExtensions -+-> [CertificateRequest] -> Certificate -> CertificateVerify -+-> Finished -> over
//!                                     '-------------- the server has taken the shared key ----------'
//! ```
//!
//! There is one way to the end for each of the two ways in which a server proves who it is, and nothing to leave out: a message
//! that is not the next one ends the connection.

use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{PublicKey, SecretKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::TlsError;
use super::bytes::{Reader, Writer};
use super::certificate::{self, Demands, SIGNATURE_MAX};
use super::hello::{self, BINDERS_LEN, ClientHello, POINT_LEN, SCHEME, ServerHello};
use super::keys::{self, HASH_LEN, Schedule, Secret, Traffic};
use super::record::MESSAGE_HEADER_LEN;
use crate::settings::{TlsConfig, TlsIdentity, TlsPsk};
use crate::time::ValidityTime;

/// Kinds of messages.
pub(super) const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
pub(super) const NEW_SESSION_TICKET: u8 = 4;
const ENCRYPTED_EXTENSIONS: u8 = 8;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_REQUEST: u8 = 13;
const CERTIFICATE_VERIFY: u8 = 15;
const FINISHED: u8 = 20;
pub(super) const KEY_UPDATE: u8 = 24;

/// What a signature in CertificateVerify is over, before the hash (4.4.3).
const SERVER_CONTEXT: &[u8; 34] = b"TLS 1.3, server CertificateVerify\0";
const CLIENT_CONTEXT: &[u8; 34] = b"TLS 1.3, client CertificateVerify\0";

/// A shorter key can be found out by trying, by whoever has listened to one handshake.
const PSK_MIN: usize = 16;
/// So often a random number is thrown for the key exchange; one of 2^32 is none that can be used.
const THROWS: usize = 4;

/// The message that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    ServerHello,
    EncryptedExtensions,
    /// Or a request for one, if there was none yet.
    Certificate,
    CertificateVerify,
    Finished,
    Over,
}

/// What follows from a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next one.
    GoOn,
    /// Both sides seal what they say from here on; see [`Handshake::keys`].
    Seal,
    /// The server has proved who it is and said all. It is the device's turn; see [`Handshake::flight`].
    Answer,
}

/// One handshake.
pub(super) struct Handshake<'c> {
    config: &'c TlsConfig<'c>,
    demands: Demands<'c>,
    psk: Option<TlsPsk<'c>>,
    stage: Stage,
    transcript: Sha256,
    /// ClientHello's.
    random: [u8; 32],
    secret: SecretKey,
    schedule: Schedule,
    /// Of the handshake: the server's and the device's.
    server: Secret,
    client: Secret,
    /// The server's public key, once its certificate has been checked.
    key: [u8; POINT_LEN],
    /// Since when that certificate is valid.
    since: Option<u64>,
    /// The server has asked for a certificate, and whether the device's signature would do.
    asked: Option<bool>,
}

impl<'c> Handshake<'c> {
    /// Whether there is any way for that host to prove who it is.
    pub(super) fn possible(config: &TlsConfig<'_>, host: &str) -> Result<(), TlsError> {
        match psk_for(config, host) {
            Some(psk) if psk.key.len() < PSK_MIN || psk.id.is_empty() => Err(TlsError::Identity),
            None if config.anchors.is_empty() => Err(TlsError::NobodyTrusted),
            _ => Ok(()),
        }
    }

    /// Before the first message. `random` fills what it is given.
    pub(super) fn new(
        config: &'c TlsConfig<'c>,
        host: &'c str,
        time: ValidityTime,
        random: &dyn Fn(&mut [u8]),
    ) -> Result<Self, TlsError> {
        let mut hello = [0; 32];
        random(&mut hello);
        let mut scalar = Zeroizing::new([0; 32]);
        let mut throws = (0..THROWS).filter_map(|_| {
            random(&mut *scalar);
            SecretKey::from_slice(&*scalar).ok()
        });
        let secret = throws.next().ok_or(TlsError::NoRandomness)?;
        drop(throws);
        if !is_noise(&hello) || !is_noise(&scalar) || hello == *scalar {
            return Err(TlsError::NoRandomness);
        }
        let psk = psk_for(config, host);
        Ok(Self {
            config,
            demands: Demands {
                anchors: config.anchors,
                host,
                time,
            },
            psk,
            stage: Stage::ServerHello,
            transcript: Sha256::new(),
            random: hello,
            secret,
            schedule: Schedule::early(psk.map(|psk| psk.key))?,
            server: Secret::default(),
            client: Secret::default(),
            key: [0; POINT_LEN],
            since: None,
            asked: None,
        })
    }

    fn hash(&self) -> [u8; HASH_LEN] {
        self.transcript.clone().finalize().into()
    }

    /// Writes ClientHello into `buf`, and returns its length.
    pub(super) fn hello(&mut self, buf: &mut [u8]) -> Result<usize, TlsError> {
        let host = self.demands.host;
        let share = self.secret.public_key().to_sec1_point(false);
        let hello = ClientHello {
            random: &self.random,
            share: share.as_bytes(),
            name: match crate::net::literal(host) {
                Some(_) => None,
                None => Some(host.strip_suffix('.').unwrap_or(host)),
            },
            psk_id: self.psk.map(|psk| psk.id),
        };
        let message = hello.write(buf)?;
        if self.psk.is_some()
            && let Some((before, binders)) = message
                .len()
                .checked_sub(BINDERS_LEN)
                .and_then(|at| message.split_at_mut_checked(at))
        {
            let hash = Sha256::digest(&*before).into();
            let binder = self.schedule.binder(&hash)?;
            if let Some(room) = binders.last_chunk_mut() {
                *room = *binder;
            }
        }
        self.transcript.update(&*message);
        Ok(message.len())
    }

    /// Takes the server's next message, with its header.
    pub(super) fn receive(&mut self, message: &[u8]) -> Result<Step, TlsError> {
        let kind = message.first().copied().unwrap_or_default();
        let body = hello::body(message);
        let before = self.hash();
        self.transcript.update(message);
        match (self.stage, kind) {
            (Stage::ServerHello, SERVER_HELLO) => {
                self.stage = Stage::EncryptedExtensions;
                return self.agree(body);
            }
            (Stage::EncryptedExtensions, ENCRYPTED_EXTENSIONS) => {
                hello::read_encrypted_extensions(body)?;
                self.stage = match self.psk {
                    Some(_) => Stage::Finished,
                    None => Stage::Certificate,
                };
            }
            (Stage::Certificate, CERTIFICATE_REQUEST) if self.asked.is_none() => {
                self.asked = Some(hello::read_certificate_request(body)?);
            }
            (Stage::Certificate, CERTIFICATE) => {
                let mut body = Reader::new(body);
                if !body.vector(1)?.is_empty() {
                    return Err(TlsError::Protocol);
                }
                let mut list = body.vector(3)?;
                body.end()?;
                let verified = certificate::check(&mut list, &self.demands)?;
                self.key = *verified.key;
                self.since = Some(verified.since);
                self.stage = Stage::CertificateVerify;
            }
            (Stage::CertificateVerify, CERTIFICATE_VERIFY) => {
                let mut body = Reader::new(body);
                let scheme = body.u16()?;
                let signature = body.vector(2)?.rest();
                body.end()?;
                if scheme != SCHEME {
                    return Err(TlsError::Protocol);
                }
                let signed = signed(SERVER_CONTEXT, &before);
                if !certificate::verify(&self.key, &signed, signature) {
                    return Err(TlsError::BadSignature);
                }
                self.stage = Stage::Finished;
            }
            (Stage::Certificate | Stage::CertificateVerify, _) if kind >= CERTIFICATE_VERIFY => {
                return Err(TlsError::NoCertificate);
            }
            (Stage::Finished, FINISHED) => {
                if !keys::is_finished(&self.server, &before, body)? {
                    return Err(TlsError::BadSignature);
                }
                self.stage = Stage::Over;
                return Ok(Step::Answer);
            }
            _ => return Err(TlsError::Protocol),
        }
        Ok(Step::GoOn)
    }

    /// The key exchange.
    fn agree(&mut self, body: &[u8]) -> Result<Step, TlsError> {
        let hello = ServerHello::read(body, self.psk.is_some())?;
        if self.psk.is_some() && !hello.psk {
            if self.config.anchors.is_empty() {
                return Err(TlsError::PskRefused);
            }
            self.psk = None;
            self.schedule = Schedule::early(None)?;
        }
        let point = PublicKey::from_sec1_bytes(hello.share).map_err(|_| TlsError::Protocol)?;
        let shared = p256::ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), point.as_affine());
        self.schedule = self.schedule.next(shared.raw_secret_bytes())?;
        let hash = self.hash();
        self.client = self.schedule.derive(b"c hs traffic", &hash)?;
        self.server = self.schedule.derive(b"s hs traffic", &hash)?;
        self.schedule = self.schedule.next(&[0; HASH_LEN])?;
        Ok(Step::Seal)
    }

    /// The keys for the rest of the handshake: the server's and the device's.
    pub(super) fn keys(&self) -> Result<(Traffic, Traffic), TlsError> {
        Ok((
            Traffic::new(self.server.clone())?,
            Traffic::new(self.client.clone())?,
        ))
    }

    /// The keys for data: the server's and the device's. To be asked for when it is the device's turn, before its flight.
    pub(super) fn data_keys(&self) -> Result<(Traffic, Traffic), TlsError> {
        let hash = self.hash();
        Ok((
            Traffic::new(self.schedule.derive(b"s ap traffic", &hash)?)?,
            Traffic::new(self.schedule.derive(b"c ap traffic", &hash)?)?,
        ))
    }

    /// A moment that has passed, as somebody says whom the device trusts: since when the server's certificate is valid.
    pub(super) const fn passed(&self) -> Option<u64> {
        self.since
    }

    /// The certificate that is shown: none if none was asked for, or an empty one.
    fn shown(&self) -> Option<TlsIdentity<'c>> {
        self.config.identity.filter(|_| self.asked == Some(true))
    }

    /// Room that [`flight`](Self::flight) needs at most.
    pub(super) fn flight_len(&self) -> usize {
        let chain = self.shown().map_or(&[][..], |identity| identity.chain);
        let entries = certificate::certificates(chain).count();
        let certificate = MESSAGE_HEADER_LEN + 1 + 3 + chain.len() + entries * (3 + 2);
        let verify = MESSAGE_HEADER_LEN + 2 + 2 + SIGNATURE_MAX;
        certificate + verify + MESSAGE_HEADER_LEN + HASH_LEN
    }

    /// Writes all that the device has to say into `buf`: its certificate if the server wants one, and Finished. Returns how much.
    pub(super) fn flight(&mut self, buf: &mut [u8]) -> Result<usize, TlsError> {
        let mut len = 0;
        if self.asked.is_some() {
            let identity = self.shown();
            let chain = identity.map_or(&[][..], |identity| identity.chain);
            len += self.say(buf, len, CERTIFICATE, |out| {
                out.bytes(&[0, 0]);
                let list = out.open();
                for certificate in certificate::certificates(chain) {
                    let certificate = certificate.map_err(|_| TlsError::Identity)?;
                    out.u8(0);
                    let start = out.open();
                    out.bytes(certificate);
                    out.close(start);
                    out.u16(0);
                }
                out.close(list);
                Ok(())
            })?;
            if let Some(identity) = identity {
                let signed = signed(CLIENT_CONTEXT, &self.hash());
                let mut room = [0; SIGNATURE_MAX];
                let signature = certificate::sign(identity.key, &signed, &mut room)?;
                len += self.say(buf, len, CERTIFICATE_VERIFY, |out| {
                    out.u16(SCHEME);
                    let start = out.open();
                    out.bytes(signature);
                    out.close(start);
                    Ok(())
                })?;
            }
        }
        let finished = keys::finished(&self.client, &self.hash())?;
        len += self.say(buf, len, FINISHED, |out| {
            out.bytes(&*finished);
            Ok(())
        })?;
        Ok(len)
    }

    /// Writes one message at `at`, and returns its length.
    fn say(
        &mut self,
        buf: &mut [u8],
        at: usize,
        kind: u8,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), TlsError>,
    ) -> Result<usize, TlsError> {
        let mut out = Writer::new(buf.get_mut(at..).unwrap_or_default());
        out.bytes(&[kind, 0]);
        let start = out.open();
        write(&mut out)?;
        out.close(start);
        let message = out.end()?;
        self.transcript.update(&*message);
        Ok(message.len())
    }
}

/// Whether that can have come from a generator of random numbers: one that is stuck repeats itself. The repetition count test of
/// SP 800-90B, 4.4.1, over words of 32 bits, of which two that are equal are too many: by chance that comes once in 300 million
/// handshakes.
fn is_noise(bytes: &[u8; 32]) -> bool {
    let (words, _) = bytes.as_chunks::<4>();
    words.windows(2).all(|pair| pair.first() != pair.last())
}

/// The shared key, if it is shared with that host.
fn psk_for<'c>(config: &TlsConfig<'c>, host: &str) -> Option<TlsPsk<'c>> {
    config.psk.filter(|psk| psk.host.eq_ignore_ascii_case(host))
}

/// What is signed in CertificateVerify.
fn signed(context: &[u8; 34], hash: &[u8; HASH_LEN]) -> [u8; 64 + 34 + HASH_LEN] {
    let mut signed = [b' '; 64 + 34 + HASH_LEN];
    let mut out = Writer::new(&mut signed);
    out.bytes(&[b' '; 64]);
    out.bytes(context);
    out.bytes(hash);
    signed
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// Whether a handshake begins with a generator whose nth answer `fill` makes.
    fn begins(fill: impl Fn(u8, &mut [u8])) -> bool {
        let config = TlsConfig {
            anchors: &[0x30, 0],
            ..TlsConfig::default()
        };
        let time = ValidityTime {
            seconds: 0,
            is_known: false,
        };
        let count = Cell::new(0);
        let random = |bytes: &mut [u8]| {
            count.set(count.get() + 1);
            fill(count.get(), bytes);
        };
        match Handshake::new(&config, "h", time, &random) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, TlsError::NoRandomness);
                false
            }
        }
    }

    fn count_up(from: u8, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(from..) {
            *byte = value;
        }
    }

    #[test]
    fn a_generator_that_is_stuck_makes_no_key() {
        assert!(begins(count_up));
        for stuck in [0x00, 0x5A, 0xFF] {
            assert!(!begins(|_, bytes| bytes.fill(stuck)), "{stuck}");
        }
        // Each time the same block, or the same word over and over, or one that got stuck on its way.
        assert!(!begins(|_, bytes| count_up(1, bytes)));
        assert!(!begins(|nth, bytes| {
            for word in bytes.chunks_mut(4) {
                count_up(nth, word);
            }
        }));
        assert!(!begins(|nth, bytes| {
            count_up(nth, bytes);
            bytes[20..].fill(0xA5);
        }));
    }
}
