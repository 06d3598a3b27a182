//! Who a certificate is for: one common name, which is a device's id.

use otaria_wire::topics::DeviceId;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Whom a verified certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The common name.
    pub(crate) device: DeviceId,
    /// Lower-case hexadecimal.
    pub(crate) serial: String,
}

/// Reads it. `None` unless there is exactly one common name, and it is a device's id.
pub(crate) fn identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    let (name, further) = (names.next()?, names.next());
    if further.is_some() {
        return None;
    }
    Some(Identity {
        device: DeviceId::new(name.as_str().ok()?).ok()?,
        serial: hex(parsed.tbs_certificate.raw_serial()),
    })
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
