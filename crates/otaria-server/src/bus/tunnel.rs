//! TLS to a broker of the operator's.
//!
//! The MQTT client speaks to a Unix socket that nobody else can enter, and what comes there goes on with TLS 1.3 or 1.2. Its own
//! TLS would bring a second webpki, of a version with known flaws. A tunnel carries one connection, and ends with it.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::BrokerUrl;
use crate::config::BrokerTls;
use crate::trust::{PkiError, certificates, provider};

/// Shakes hands with one broker.
pub(crate) struct Connector {
    tls: TlsConnector,
    name: ServerName<'static>,
    at: (String, u16),
}

impl Connector {
    /// Reads what the broker is known by, and what the server shows it.
    pub(crate) fn new(broker: &BrokerUrl, files: &BrokerTls) -> Result<Self, PkiError> {
        let ca = files.ca.as_deref().ok_or(PkiError::UnknownBroker)?;
        let mut roots = RootCertStore::empty();
        for root in certificates(ca)? {
            roots
                .add(root)
                .map_err(|_| PkiError::content(ca, "a certificate that is no authority"))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has what rustls has by default")
            .with_root_certificates(roots);
        let config = match &files.identity {
            None => config.with_no_client_auth(),
            Some((cert, key)) => {
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|_| {
                    PkiError::content(key, "no private key in PEM that can be read")
                })?;
                config
                    .with_client_auth_cert(certificates(cert)?, secret)
                    .map_err(|_| {
                        PkiError::content(cert, "a certificate that does not fit the private key")
                    })?
            }
        };
        let name = ServerName::try_from(broker.host.clone());
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            name: name.map_err(|_| PkiError::UnknownBroker)?,
            at: (broker.host.clone(), broker.port),
        })
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

/// The way of one connection.
pub(super) struct Tunnel {
    failed: Arc<OnceLock<String>>,
    task: JoinHandle<()>,
    #[cfg(unix)]
    dir: tempfile::TempDir,
}

impl Tunnel {
    /// Why there was no TLS session, if that is why the connection has ended.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::path::PathBuf;
    use std::sync::{Arc, OnceLock};
    use std::time::Duration;

    use tokio::net::{TcpStream, UnixListener, UnixStream};

    use super::{Connector, Tunnel};

    /// How long the broker may take for the handshake.
    const HANDSHAKE: Duration = Duration::from_secs(10);

    impl Tunnel {
        /// Waits for the one who comes to [`Tunnel::socket`].
        pub(in super::super) fn open(to: Arc<Connector>) -> io::Result<Self> {
            // A directory that only its owner can enter, and a short path: a socket's has at most 107 bytes.
            let dir = tempfile::tempdir()?;
            let listener = UnixListener::bind(dir.path().join(SOCKET))?;
            let failed = Arc::<OnceLock<String>>::default();
            let tell = Arc::clone(&failed);
            let task = tokio::spawn(async move {
                if let Ok((near, _)) = listener.accept().await
                    && let Err(error) = carry(near, &to).await
                {
                    let _ = tell.set(error.to_string());
                }
            });
            Ok(Self { failed, task, dir })
        }

        pub(in super::super) fn socket(&self) -> PathBuf {
            self.dir.path().join(SOCKET)
        }
    }

    const SOCKET: &str = "mqtt";

    /// An error is one of the way to the TLS session; how that ends later, the two ends see themselves.
    async fn carry(mut near: UnixStream, to: &Connector) -> io::Result<()> {
        let shake = async {
            let (host, port) = &to.at;
            let far = TcpStream::connect((host.as_str(), *port)).await?;
            far.set_nodelay(true)?;
            to.tls.connect(to.name.clone(), far).await
        };
        let mut far = tokio::time::timeout(HANDSHAKE, shake)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no TLS session in 10 s"))??;
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        // With TLS 1.3 a refused certificate shows only now.
        Ok(())
    }
}
