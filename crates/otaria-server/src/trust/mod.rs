//! TLS: who the server is, whom it believes to be a device, and how a device is cut off.
//!
//! A device is cut off in three places, so that no moment lies between them: its certificate's serial is in the store,
//! new handshakes find it in [`Revocations`], and what it has open is ended by its [`CancellationToken`]. Connections take
//! their token *before* they ask whether they are revoked; [`Trust::cut_off`] enters the revocation *before* it cancels.

mod authority;
mod identity;
mod listener;
mod shown;
mod verifier;

pub(crate) use authority::{Authority, Issued};
pub use authority::{DeviceKey, PkiError, new_device_key};
pub(crate) use identity::{Identity, hex};
pub(crate) use listener::{Peer, Secured, TlsListener, listen, plain_listener};

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::shown::Shown;
use self::verifier::DeviceVerifier;
use crate::config::Tls;

/// What devices may not come in with any more.
#[derive(Debug, Default)]
pub(crate) struct Revocations(RwLock<Revoked>);

#[derive(Debug, Default)]
struct Revoked {
    serials: HashSet<String>,
    /// Devices whose certificates somebody else has made, and whose serials we do not know.
    devices: HashSet<String>,
}

impl Revocations {
    pub(crate) fn holds(&self, identity: &Identity) -> bool {
        let revoked = self.0.read().unwrap_or_else(PoisonError::into_inner);
        revoked.serials.contains(&identity.serial)
            || revoked.devices.contains(identity.device.as_str())
    }
}

/// Everything that TLS needs.
pub(crate) struct Trust {
    /// Signs devices and the server; none when neither is ours to sign.
    authority: Option<Authority>,
    signs_devices: bool,
    /// What the server shows of itself, and where that comes from.
    shown: Arc<Shown>,
    source: Source,
    /// What devices have to trust; none when the server's certificate comes from elsewhere.
    server_ca: Option<String>,
    revocations: Arc<Revocations>,
    open: Mutex<HashMap<String, CancellationToken>>,
    mqtt: TlsAcceptor,
    https: TlsAcceptor,
}

/// Where the server's certificate comes from.
struct Source {
    dir: PathBuf,
    /// The operator's files; none if the certificate is ours to make.
    given: Option<(PathBuf, PathBuf)>,
    names: BTreeSet<String>,
}

impl Source {
    /// The files with chain and key, made anew if they are ours to make and it is time.
    fn files(
        &self,
        authority: Option<&Authority>,
        now: i64,
    ) -> Result<(PathBuf, PathBuf), PkiError> {
        match (&self.given, authority) {
            (Some(given), _) => Ok(given.clone()),
            (None, Some(authority)) => authority.server(&self.dir, &self.names, now),
            (None, None) => unreachable!("without a given certificate there is an authority"),
        }
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl Trust {
    /// Reads or makes keys and certificates. `names` are those of the server, if its certificate is ours to make.
    pub(crate) fn open(
        dir: &Path,
        tls: &Tls,
        names: &BTreeSet<String>,
        now: i64,
    ) -> Result<Self, PkiError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |error| PkiError::File(path, error)
        };
        std::fs::create_dir_all(dir).map_err(file(dir))?;
        let authority = match (&tls.client_ca, &tls.certificate) {
            (Some(_), Some(_)) => None,
            _ => Some(Authority::open(dir, now)?),
        };
        let source = Source {
            dir: dir.to_owned(),
            given: tls.certificate.clone(),
            names: names.clone(),
        };
        let (cert, key) = source.files(authority.as_ref(), now)?;
        let shown = Arc::new(Shown::read(&cert, &key)?);
        let roots = match (&tls.client_ca, &authority) {
            (Some(path), _) => certificates(path)?,
            (None, Some(authority)) => vec![authority.der().clone()],
            (None, None) => Vec::new(),
        };
        let server_ca = match &tls.certificate {
            None => authority.as_ref().map(|ca| ca.pem().to_owned()),
            Some(_) => None,
        };
        let revocations = Arc::new(Revocations::default());
        let acceptor = |mandatory| -> Result<TlsAcceptor, PkiError> {
            let place = tls.client_ca.as_deref().unwrap_or(dir);
            let config = server_config(&shown, &roots, place, &revocations, mandatory)?;
            Ok(TlsAcceptor::from(Arc::new(config)))
        };
        let (mqtt, https) = (acceptor(true)?, acceptor(false)?);
        Ok(Self {
            authority,
            // With an authority of the operator's, ours signs the server alone.
            signs_devices: tls.client_ca.is_none(),
            shown,
            source,
            server_ca,
            revocations,
            open: Mutex::default(),
            mqtt,
            https,
        })
    }

    /// For devices: a certificate is required.
    pub(crate) fn mqtt(&self) -> TlsAcceptor {
        self.mqtt.clone()
    }

    /// For devices and people: a certificate is taken if there is one.
    pub(crate) fn https(&self) -> TlsAcceptor {
        self.https.clone()
    }

    /// What signs devices; none when the operator has an authority for them.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref().filter(|_| self.signs_devices)
    }

    /// Makes the server's certificate anew if it is time, or takes the one that the operator has put in its place. New
    /// connections get it; those that are open stay. Whether there was another one. After an error the old one is shown on.
    pub(crate) fn renew(&self, now: i64) -> Result<bool, PkiError> {
        let (cert, key) = self.source.files(self.authority.as_ref(), now)?;
        self.shown.read_again(&cert, &key)
    }

    /// What devices have to trust, as PEM.
    pub(crate) fn server_ca(&self) -> Option<&str> {
        self.server_ca.as_deref()
    }

    /// Enters what the store knows.
    pub(crate) fn load(&self, serials: Vec<String>, devices: Vec<String>) {
        let mut revoked = self
            .revocations
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        revoked.serials.extend(serials);
        revoked.devices.extend(devices);
    }

    /// Ends what a device has open, and keeps it out. The store has it already.
    pub(crate) fn cut_off(&self, device: &str, serials: Vec<String>) {
        self.load(serials, vec![device.to_owned()]);
        let token = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(device);
        if let Some(token) = token {
            token.cancel();
        }
    }

    /// A device may come again, with certificates that are not revoked themselves.
    pub(crate) fn let_in(&self, device: &str) {
        self.revocations
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .devices
            .remove(device);
    }

    /// What ends a connection of this device; `None` if it is revoked.
    fn admit(&self, identity: &Identity) -> Option<CancellationToken> {
        let token = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(identity.device.as_str().to_owned())
            .or_default()
            .clone();
        (!self.revocations.holds(identity)).then_some(token)
    }
}

pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let text = authority::read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or(PkiError::content(path, "no certificate in PEM"))
}

fn server_config(
    shown: &Arc<Shown>,
    roots: &[CertificateDer<'static>],
    place: &Path,
    revocations: &Arc<Revocations>,
    mandatory: bool,
) -> Result<ServerConfig, PkiError> {
    let provider = Arc::new(provider());
    let mut store = RootCertStore::empty();
    for root in roots {
        store
            .add(root.clone())
            .map_err(|_| PkiError::content(place, "a certificate that is no authority"))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider));
    let builder = match mandatory {
        true => builder,
        false => builder.allow_unauthenticated(),
    };
    let webpki = builder
        .build()
        .map_err(|_| PkiError::content(place, "no authority for devices"))?;
    let verifier = Arc::new(DeviceVerifier {
        webpki,
        revocations: Arc::clone(revocations),
    });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(shown) as _);
    // A resumed session would skip the look at the client's certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
