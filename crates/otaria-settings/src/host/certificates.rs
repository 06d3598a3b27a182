//! Certificates and keys out of files, looked at before a device gets them: what it would refuse, nobody should have to find out
//! on the device.

use std::fs;
use std::path::Path;

use otaria_package::keys::SigningKey;
use otaria_wire::topics::DeviceId;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::HostError;
use crate::{Identity, MAX_CERTIFICATES_LEN, SecretKey};

/// Why certificates are not for a device.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No certificate, or something else.
    #[error("it holds no certificate in PEM or DER")]
    None,
    /// A certificate cannot be read.
    #[error("certificate {0} in it cannot be read")]
    Unreadable(usize),
    /// Too many for a device.
    #[error(
        "it has {0} bytes of certificates, and a device takes {MAX_CERTIFICATES_LEN}: leave out what the other side has itself"
    )]
    TooLong(usize),
    /// An authority that is none.
    #[error(
        "'{0}' is not an authority (CA), so that no server's certificate can come from it; the server's CA is wanted here, not the server's own certificate"
    )]
    NotAnAuthority(String),
    /// A key of another kind.
    #[error(
        "the key of '{0}' is not on P-256, and a device works with no other; make it with `openssl ecparam -name prime256v1 -genkey`"
    )]
    NotP256(String),
    /// Out of date.
    #[error("'{0}' has run out: it was valid until {1}")]
    Expired(String, String),
    /// An authority in the place of a device.
    #[error("'{0}' is an authority (CA), not a device's certificate; the device's own comes first")]
    NotADevice(String),
    /// The chain is not one.
    #[error(
        "'{0}' is not issued by '{1}', which follows it; a chain goes from the device's certificate upwards"
    )]
    Order(String, String),
    /// The key of another certificate.
    #[error("the private key that is given does not belong to the certificate of '{0}'")]
    OtherKey(String),
    /// The certificate of another device.
    #[error(
        "the certificate is for '{name}' and the device's id is '{id}'; a broker knows a device by its certificate's common name, so they have to be the same"
    )]
    OtherDevice {
        /// Its common name.
        name: String,
        /// The device's id.
        id: String,
    },
    /// One without the other.
    #[error("a device's certificate and its private key go together: --cert and --key")]
    Half,
}

/// A certificate that was looked at, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its common name, or its whole subject.
    pub name: String,
    /// When it runs out, for people.
    pub until: String,
}

/// The certificates that are one behind the other in `der`, for people. What cannot be read is left out.
#[must_use]
pub fn about(der: &[u8]) -> Vec<About> {
    let (mut rest, mut found) = (der, Vec::new());
    while let Ok((behind, certificate)) = X509Certificate::from_der(rest) {
        found.push(About {
            name: name(&certificate),
            until: until(&certificate),
        });
        rest = behind;
    }
    found
}

/// The authorities in a file (PEM or DER, one or more), as the settings have them. `now` is in unix seconds.
///
/// # Errors
/// See [`CertificateError`].
pub fn read_authorities(path: &Path, now: i64) -> Result<Vec<u8>, HostError> {
    let wrong = wrong(path);
    let der = read_certificates(path)?;
    for certificate in parsed(&der).map_err(&wrong)? {
        let may_sign = certificate
            .key_usage()
            .ok()
            .flatten()
            .is_none_or(|usage| usage.value.key_cert_sign());
        if !certificate.is_ca() || !may_sign {
            return Err(wrong(CertificateError::NotAnAuthority(name(&certificate))));
        }
        check(&certificate, now).map_err(&wrong)?;
    }
    Ok(der)
}

/// A device's certificate with what is above it (PEM or DER), and its private key. `now` is in unix seconds.
///
/// # Errors
/// See [`CertificateError`].
pub fn read_identity(
    certificate: &Path,
    key: &SigningKey,
    now: i64,
) -> Result<Identity, HostError> {
    let wrong = wrong(certificate);
    let chain = read_certificates(certificate)?;
    let certificates = parsed(&chain).map_err(&wrong)?;
    let own = certificates.first().ok_or(CertificateError::None);
    let own = own.map_err(&wrong)?;
    if own.is_ca() {
        return Err(wrong(CertificateError::NotADevice(name(own))));
    }
    for certificate in &certificates {
        check(certificate, now).map_err(&wrong)?;
    }
    for pair in certificates.windows(2) {
        let [below, above] = pair else { continue };
        if below.issuer() != above.subject() {
            return Err(wrong(CertificateError::Order(name(below), name(above))));
        }
    }
    if own.public_key().subject_public_key.data.as_ref() != key.public_key().to_sec1() {
        return Err(wrong(CertificateError::OtherKey(name(own))));
    }
    Ok(Identity {
        key: SecretKey::new(*key.to_scalar()),
        chain,
    })
}

/// The id that a device's certificate gives it.
///
/// # Errors
/// The settings have another id.
pub fn id_of(identity: &Identity, set: Option<&DeviceId>) -> Result<Option<DeviceId>, HostError> {
    let Some(own) = about(&identity.chain).into_iter().next() else {
        return Ok(set.cloned());
    };
    match set {
        Some(id) if id.as_str() == own.name => Ok(Some(id.clone())),
        Some(id) => Err(HostError::Identity(CertificateError::OtherDevice {
            name: own.name,
            id: id.to_string(),
        })),
        // A name that is no id: a broker of another make may know devices by something else.
        None => Ok(DeviceId::new(&own.name).ok()),
    }
}

/// The certificates of a file, in DER, one behind the other.
fn read_certificates(path: &Path) -> Result<Vec<u8>, HostError> {
    let bytes = fs::read(path).map_err(|source| HostError::Read {
        path: path.to_owned(),
        source,
    })?;
    let der = if bytes.first() == Some(&0x30) {
        bytes
    } else {
        let blocks = Pem::iter_from_buffer(&bytes).filter_map(Result::ok);
        blocks
            .filter(|block| block.label == "CERTIFICATE")
            .flat_map(|block| block.contents)
            .collect()
    };
    match der.len() {
        0 => Err(wrong(path)(CertificateError::None)),
        len if len > MAX_CERTIFICATES_LEN => Err(wrong(path)(CertificateError::TooLong(len))),
        _ => Ok(der),
    }
}

fn parsed(der: &[u8]) -> Result<Vec<X509Certificate<'_>>, CertificateError> {
    let (mut rest, mut found) = (der, Vec::new());
    while !rest.is_empty() {
        let (behind, certificate) = X509Certificate::from_der(rest)
            .map_err(|_| CertificateError::Unreadable(found.len() + 1))?;
        found.push(certificate);
        rest = behind;
    }
    Ok(found)
}

/// What holds for every certificate.
fn check(certificate: &X509Certificate<'_>, now: i64) -> Result<(), CertificateError> {
    let algorithm = &certificate.public_key().algorithm;
    let curve = algorithm
        .parameters
        .as_ref()
        .and_then(|curve| curve.as_oid().ok());
    if algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_EC_P256) {
        return Err(CertificateError::NotP256(name(certificate)));
    }
    if certificate.validity().not_after.timestamp() < now {
        return Err(CertificateError::Expired(
            name(certificate),
            until(certificate),
        ));
    }
    Ok(())
}

fn name(certificate: &X509Certificate<'_>) -> String {
    let subject = certificate.subject();
    let common = subject.iter_common_name().next();
    let common = common.and_then(|name| name.as_str().ok());
    common.map_or_else(|| subject.to_string(), str::to_owned)
}

fn until(certificate: &X509Certificate<'_>) -> String {
    certificate.validity().not_after.to_string()
}

fn wrong(path: &Path) -> impl Fn(CertificateError) -> HostError {
    let path = path.to_owned();
    move |source| HostError::Certificate {
        path: path.clone(),
        source,
    }
}
