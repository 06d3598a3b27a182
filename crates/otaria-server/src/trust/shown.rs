//! The certificate that the server shows, which may be another one tomorrow.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{PkiError, certificates, provider};

#[derive(Debug)]
pub(super) struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    pub(super) fn read(cert: &Path, key: &Path) -> Result<Self, PkiError> {
        Ok(Self(RwLock::new(Arc::new(read(cert, key)?))))
    }

    /// Whether the files hold another certificate, which is shown from now on.
    pub(super) fn read_again(&self, cert: &Path, key: &Path) -> Result<bool, PkiError> {
        let new = read(cert, key)?;
        let mut shown = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = shown.cert != new.cert;
        if is_other {
            *shown = Arc::new(new);
        }
        Ok(is_other)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown))
    }
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, PkiError> {
    let chain = certificates(cert)?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|_| PkiError::content(key, "no private key in PEM that can be read"))?;
    CertifiedKey::from_der(chain, secret, &provider())
        .map_err(|_| PkiError::content(cert, "a certificate that does not fit the private key"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use super::super::{Trust, provider};
    use crate::config::Tls;

    const DAY: i64 = 24 * 60 * 60;

    /// The certificate that a client is shown now, which it verifies against the authority.
    async fn shown_to_a_client(trust: &Trust) -> CertificateDer<'static> {
        let mut roots = RootCertStore::empty();
        let ca = trust.server_ca().unwrap().as_bytes();
        roots
            .add(CertificateDer::from_pem_slice(ca).unwrap())
            .unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(16 * 1024);
        let name = "localhost".try_into().unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let acceptor = trust.https();
        let (client, server) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
        server.unwrap();
        let client = client.unwrap();
        let certificates = client.get_ref().1.peer_certificates().unwrap();
        certificates[0].clone()
    }

    #[tokio::test]
    async fn the_servers_certificate_is_renewed_while_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let now = crate::clock::now();
        let names = BTreeSet::from(["localhost".to_owned()]);
        // Made so long ago that it runs out in two months.
        let made = now - 337 * DAY;
        let trust = Trust::open(dir.path(), &Tls::default(), &names, made).unwrap();
        let before = shown_to_a_client(&trust).await;
        assert!(!trust.renew(made + DAY).unwrap());
        assert_eq!(shown_to_a_client(&trust).await, before);
        assert!(trust.renew(now).unwrap());
        let after = shown_to_a_client(&trust).await;
        assert_ne!(after, before);
        assert!(!trust.renew(now + DAY).unwrap());
    }

    #[tokio::test]
    async fn a_certificate_of_the_operators_is_taken_when_it_is_replaced_and_not_half() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let now = crate::clock::now();
        let file = |name: &str| dir.path().join(name);
        let names = BTreeSet::from(["localhost".to_owned()]);
        let make = |now: i64| {
            let trust = Trust::open(elsewhere.path(), &Tls::default(), &names, now).unwrap();
            trust.source.files(trust.authority(), now).unwrap()
        };
        let put = |from: &std::path::Path, name: &str| {
            std::fs::copy(from, file(name)).unwrap();
        };
        let (cert, key) = make(now - 337 * DAY);
        put(&cert, "cert.pem");
        put(&key, "key.pem");
        let tls = Tls {
            certificate: Some((file("cert.pem"), file("key.pem"))),
            ..Tls::default()
        };
        let trust = Trust::open(&file("tls"), &tls, &names, now).unwrap();
        assert!(!trust.renew(now).unwrap());
        let (cert, key) = make(now);
        put(&cert, "cert.pem");
        assert!(trust.renew(now).is_err(), "the key is still the old one");
        put(&key, "key.pem");
        assert!(trust.renew(now).unwrap());
    }
}
