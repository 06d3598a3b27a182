//! The certificate authority that the server makes for itself at its first start, and what it signs.
//!
//! ```text
//! DATA/tls/ca.pem       given to devices; whoever trusts it trusts this server          0644
//! DATA/tls/ca.key       signs servers and devices                                       0600
//! DATA/tls/server.pem   what this server shows; made anew when it runs out, or its names change
//! DATA/tls/server.key                                                                   0600
//! ```
//!
//! All keys are P-256. Certificates become valid when their authority did, not when they are made: a device's clock may
//! stand at the time when its firmware was built, and a certificate gains nothing by a later start. All times end before
//! 2050, after which X.509 writes them in another way that few small parsers have met.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use otaria_package::files::{Existing, Readers, write_atomically};
use otaria_wire::topics::DeviceId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use super::identity::hex;

const DAY: i64 = 24 * 60 * 60;
/// How long an authority lasts. Devices cannot be given another one without a visit.
const CA_DAYS: i64 = 20 * 365;
/// The longest that browsers and phones take from a server.
const SERVER_DAYS: i64 = 397;
/// A server certificate with less time left than this is made anew.
const RENEW_DAYS: i64 = 120;
/// Clocks that are a little slow must not find the authority's start in the future.
const SKEW: i64 = DAY;

/// Keys or certificates cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file cannot be used.
    #[error("cannot use {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// A file holds something else.
    #[error("{} holds {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is in it.
        what: &'static str,
    },
    /// A request for a certificate cannot be used.
    #[error("the certificate request {0}")]
    Request(&'static str),
    /// The library refuses, which the texts above should have caught.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// An external broker whose certificate nothing could be checked by.
    #[error(
        "mqtts:// needs the authority that the broker's certificate comes from (--mqtt-ca FILE), and a host that a certificate can name"
    )]
    UnknownBroker,
    /// The system's clock is out of range.
    #[error("this machine's clock says a time at which no certificate is valid; set it right")]
    Clock,
}

impl PkiError {
    pub(crate) fn content(path: &Path, what: &'static str) -> Self {
        Self::Content {
            path: path.to_owned(),
            what,
        }
    }
}

/// A certificate for a device, which has the key.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) pem: String,
    pub(crate) serial: String,
    pub(crate) not_after: i64,
}

/// The authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
    not_before: i64,
    not_after: i64,
}

impl Authority {
    /// Reads it, or makes it.
    pub(crate) fn open(dir: &Path, now: i64) -> Result<Self, PkiError> {
        let (cert, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        if !key.exists() && !cert.exists() {
            Self::make(&cert, &key, now)?;
        }
        let secret = Zeroizing::new(read(&key)?);
        let pair = KeyPair::from_pem(&secret)
            .map_err(|_| PkiError::content(&key, "no private key in PEM (PKCS#8)"))?;
        let pem = read(&cert)?;
        let wrong = |what| PkiError::content(&cert, what);
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| wrong("no certificate in PEM"))?;
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|_| wrong("no certificate that can be read"))?;
        if !parsed.is_ca() {
            return Err(wrong("a certificate that is no authority"));
        }
        if parsed.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
            return Err(wrong(
                "a certificate whose private key is not the one in ca.key",
            ));
        }
        let (not_before, not_after) = (
            parsed.validity().not_before.timestamp(),
            parsed.validity().not_after.timestamp(),
        );
        let issuer = Issuer::from_ca_cert_der(&der, pair)?;
        Ok(Self {
            issuer,
            pem,
            der,
            not_before,
            not_after,
        })
    }

    fn make(cert: &Path, key: &Path, now: i64) -> Result<(), PkiError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(
            DnType::CommonName,
            format!("Otaria CA {}", crate::id::random()),
        );
        params.not_before = time(now - SKEW)?;
        params.not_after = time(now + CA_DAYS * DAY)?;
        params.serial_number = Some(serial());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let made = params.self_signed(&pair)?;
        // The key first: a certificate without its key would look like an authority that somebody else keeps.
        let secret = Zeroizing::new(pair.serialize_pem());
        write(key, Readers::Owner, &secret)?;
        write(cert, Readers::Umask, &made.pem())
    }

    /// The certificate that devices trust.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The server's certificate and key as PEM files in `dir`, made anew if they are not there, run out, are of another
    /// authority, or name something else.
    pub(crate) fn server(
        &self,
        dir: &Path,
        names: &BTreeSet<String>,
        now: i64,
    ) -> Result<(PathBuf, PathBuf), PkiError> {
        let (cert, key) = (dir.join("server.pem"), dir.join("server.key"));
        let good = key.exists()
            && fs::read(&cert).is_ok_and(|pem| {
                CertificateDer::from_pem_slice(&pem)
                    .is_ok_and(|der| self.still_good(&der, names, now))
            });
        if !good {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
            self.leaf(&mut params, "Otaria server", now + SERVER_DAYS * DAY)?;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            let made = params.signed_by(&pair, &self.issuer)?;
            let secret = Zeroizing::new(pair.serialize_pem());
            write(&key, Readers::Owner, &secret)?;
            write(&cert, Readers::Umask, &made.pem())?;
            let names = names.iter().map(String::as_str).collect::<Vec<_>>();
            tracing::info!("a new server certificate for {}", names.join(", "));
        }
        Ok((cert, key))
    }

    fn still_good(&self, der: &CertificateDer<'_>, names: &BTreeSet<String>, now: i64) -> bool {
        let Ok((_, cert)) = X509Certificate::from_der(der) else {
            return false;
        };
        let Ok((_, ca)) = X509Certificate::from_der(&self.der) else {
            return false;
        };
        let named: BTreeSet<String> = cert
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|names| names.value.general_names.iter().filter_map(name).collect())
            .unwrap_or_default();
        let left = cert.validity().not_after.timestamp() - now;
        named == *names
            && left > RENEW_DAYS * DAY
            && cert.verify_signature(Some(ca.public_key())).is_ok()
    }

    /// Signs a device's request. Only its public key is taken from it; that the sender has the private key is checked.
    pub(crate) fn device(
        &self,
        device: &DeviceId,
        request: &str,
        not_after: Option<i64>,
        now: i64,
    ) -> Result<Issued, PkiError> {
        let request =
            CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).map_err(|_| {
                PkiError::Request("is not in PEM (-----BEGIN CERTIFICATE REQUEST-----)")
            })?;
        let request = CertificateSigningRequestParams::from_der(&request).map_err(|error| {
            PkiError::Request(match error {
                rcgen::Error::InvalidCertificationRequestSignature => {
                    "is not signed by the key that it names"
                }
                rcgen::Error::UnsupportedExtension => {
                    "asks for extensions that a device does not get; leave them out"
                }
                _ => "cannot be read; make one with `openssl req -new -key device.key`",
            })
        })?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(PkiError::Request(
                "is for a key that devices cannot use; it has to be on P-256, signed with SHA-256",
            ));
        }
        let not_after = not_after.unwrap_or(self.not_after).min(self.not_after);
        if not_after <= now {
            return Err(PkiError::Request("would run out before it is used"));
        }
        let mut params = CertificateParams::default();
        let serial = self.leaf(&mut params, device.as_str(), not_after)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let made = params.signed_by(&request.public_key, &self.issuer)?;
        Ok(Issued {
            pem: made.pem(),
            serial: hex(&serial.to_bytes()),
            not_after,
        })
    }

    /// What all certificates of servers and devices have in common.
    fn leaf(
        &self,
        params: &mut CertificateParams,
        name: &str,
        not_after: i64,
    ) -> Result<SerialNumber, PkiError> {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = time(self.not_before)?;
        params.not_after = time(not_after.min(self.not_after))?;
        let serial = serial();
        params.serial_number = Some(serial.clone());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        Ok(serial)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

/// A new key for a device, and the request for its certificate. Made by whoever keeps the key, not by the server.
///
/// # Errors
/// When the system gives no random numbers.
pub fn new_device_key(device: &DeviceId) -> Result<DeviceKey, PkiError> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, device.as_str());
    let request = params.serialize_request(&pair)?.pem()?;
    Ok(DeviceKey {
        request,
        pem: Zeroizing::new(pair.serialize_pem()),
        der: Zeroizing::new(pair.serialize_der()),
    })
}

/// A device's key, and the request for its certificate.
pub struct DeviceKey {
    /// The request, PEM.
    pub request: String,
    /// The private key, PKCS#8 in PEM.
    pub pem: Zeroizing<String>,
    /// The private key, PKCS#8 in DER.
    pub der: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceKey")
    }
}

/// 127 random bits. The library would take a hash of the public key, and a key that is certified twice would then have
/// one serial for both: to revoke the one would revoke the other.
fn serial() -> SerialNumber {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system's random number generator works");
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let ip = match bytes.len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
                _ => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
            };
            Some(ip.to_string())
        }
        _ => None,
    }
}

fn time(unix: i64) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .filter(|time| (2000..2050).contains(&time.year()))
        .ok_or(PkiError::Clock)
}

pub(super) fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|error| PkiError::File(path.to_owned(), error))
}

fn write(path: &Path, readers: Readers, text: &str) -> Result<(), PkiError> {
    write_atomically(path, readers, Existing::Replace, |file| {
        file.write_all(text.as_bytes())
    })
    .map_err(|error| PkiError::File(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_servers_certificate_is_renewed_before_it_runs_out_and_when_names_change() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW).unwrap();
        let made = |now, of: &[&str]| {
            let authority = Authority::open(dir.path(), now).unwrap();
            let (cert, _) = authority.server(dir.path(), &names(of), now).unwrap();
            fs::read_to_string(cert).unwrap()
        };
        let first = made(NOW, &["localhost", "127.0.0.1", "::1"]);
        assert_eq!(
            made(NOW + 200 * DAY, &["localhost", "127.0.0.1", "::1"]),
            first
        );
        let renewed = made(NOW + 300 * DAY, &["localhost", "127.0.0.1", "::1"]);
        assert_ne!(renewed, first);
        let named = made(NOW + 300 * DAY, &["ota.lan"]);
        assert_ne!(named, renewed);
        // The authority stays what devices trust.
        assert_eq!(
            Authority::open(dir.path(), NOW).unwrap().pem(),
            authority.pem()
        );
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_read_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW).unwrap();
        let (_, key) = authority
            .server(dir.path(), &names(&["localhost"]), NOW)
            .unwrap();
        for file in [dir.path().join("ca.key"), key] {
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
    }

    #[test]
    fn of_a_request_only_the_key_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW).unwrap();
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(vec!["ota.lan".to_owned()]).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "somebody-else");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let request = params.serialize_request(&pair).unwrap().pem().unwrap();
        let device = DeviceId::new("pump-1").unwrap();
        let issued = authority.device(&device, &request, None, NOW).unwrap();
        let again = authority.device(&device, &request, None, NOW).unwrap();
        assert_ne!(
            issued.serial, again.serial,
            "one serial for two certificates"
        );

        let der = CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap();
        let identity = super::super::identity::identity(&der).unwrap();
        assert_eq!(
            (&*identity.device, &identity.serial),
            ("pump-1", &issued.serial)
        );
        let (_, cert) = X509Certificate::from_der(&der).unwrap();
        assert!(!cert.is_ca());
        assert!(cert.subject_alternative_name().unwrap().is_none());
        let usage = cert.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        let usage = cert.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && !usage.key_cert_sign());
        assert_eq!(
            cert.public_key().subject_public_key.data,
            pair.public_key_raw()
        );
    }

    #[test]
    fn a_request_that_does_not_prove_its_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW).unwrap();
        let device = DeviceId::new("pump-1").unwrap();
        let refused = |request: &str| {
            let error = authority.device(&device, request, None, NOW).unwrap_err();
            assert!(matches!(error, PkiError::Request(_)), "{error}");
        };
        let good = new_device_key(&device).unwrap().request;
        let der = CertificateSigningRequestDer::from_pem_slice(good.as_bytes()).unwrap();
        let mut forged = der.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        let forged = pem(&forged);
        refused(&forged);
        refused("");
        refused("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n");
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let request = CertificateParams::default().serialize_request(&other);
        refused(&request.unwrap().pem().unwrap());
        assert!(authority.device(&device, &good, Some(NOW), NOW).is_err());
    }

    /// Hand-made PEM.
    fn pem(der: &[u8]) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::from("-----BEGIN CERTIFICATE REQUEST-----\n");
        for chunk in der.chunks(3) {
            let bits = chunk
                .iter()
                .fold(0, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for digit in 0..4 {
                let index = (bits >> (18 - 6 * digit) & 0x3f) as usize;
                text.push(if digit <= chunk.len() {
                    DIGITS[index].into()
                } else {
                    '='
                });
            }
        }
        text + "\n-----END CERTIFICATE REQUEST-----\n"
    }
}
