//! Everything together: started in the order in which the parts need each other, stopped the other way round.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use otaria_wire::topics::{NameError, Topic};
use tokio::task::JoinHandle;

use crate::access::{FirstAdmin, admin_at_start};
use crate::broker::{Broker, BrokerError};
use crate::bus::{Bus, Connector, Way};
use crate::config::{
    Access, Config, DeliveryError, Mqtt, PublicUrlError, delivery, host_of, public_url,
    server_names,
};
use crate::home_assistant::HomeAssistant;
use crate::http;
use crate::membership::{Keeper, Kind, Membership, Taken};
use crate::neighbours::{self, Teller};
use crate::packages::{BucketError, LOOK_EVERY, OpenError, Packages};
use crate::rollout;
use crate::shared::{Entry, Shared};
use crate::store::{Store, StoreError};
use crate::trust::{self, PkiError, TlsListener, Trust, plain_listener};
use crate::webhooks::{self, Sender, Targets};

/// How often history beyond what is kept is removed.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long open downloads may go on when the server is told to end.
const DRAIN: Duration = Duration::from_secs(3);

/// The server.
#[derive(Debug)]
pub struct Server;

/// Where the server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP, or HTTPS if there is TLS.
    pub http: SocketAddr,
    /// Where people find the page, and programs the API.
    pub page: String,
    /// The embedded broker, if there is one.
    pub mqtt: Option<SocketAddr>,
    /// The broker that the server uses, without a password.
    pub broker: String,
    /// Where devices reach the HTTP server.
    pub public_url: String,
}

/// A server that runs until [`RunningServer::shutdown`]. Dropped without it, its tasks go on until the runtime ends.
pub struct RunningServer {
    /// Where it is reached.
    pub addresses: Addresses,
    /// Whoever starts a server for the first time is its administrator. To be shown once, and dropped.
    pub first_admin: Option<FirstAdmin>,
    /// What clients have to trust, PEM, if the server has made its certificate itself.
    pub server_ca: Option<String>,
    shared: Arc<Shared>,
    bus: Bus,
    home_assistant: Option<HomeAssistant>,
    broker: Option<Broker>,
    http: JoinHandle<()>,
    housekeeping: JoinHandle<()>,
    packages: JoinHandle<()>,
    rollouts: JoinHandle<()>,
    webhooks: JoinHandle<()>,
    neighbours: Option<JoinHandle<()>>,
    membership: Option<Arc<Membership>>,
    keeper: Option<Keeper>,
    _lock: File,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("cannot use the directory {}", .0.display())]
    Data(PathBuf, #[source] io::Error),
    /// Another server uses the same data.
    #[error("another server uses {} already", .0.display())]
    Locked(PathBuf),
    /// The store failed.
    #[error("cannot open the database")]
    Store(#[from] StoreError),
    /// Other servers use the database in a way that excludes this one.
    #[error(transparent)]
    Taken(#[from] Taken),
    /// The broker failed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// HTTP cannot listen.
    #[error("cannot listen for HTTP on {0}")]
    Http(SocketAddr, #[source] io::Error),
    /// Others would reach what is not protected.
    #[error("{0} would let other machines in {1}")]
    Exposed(SocketAddr, &'static str),
    /// Keys and certificates.
    #[error("TLS cannot start")]
    Pki(#[from] PkiError),
    /// The public address cannot be used.
    #[error(transparent)]
    PublicUrl(#[from] PublicUrlError),
    /// The bucket of packages cannot be used.
    #[error("packages cannot be kept in {0}")]
    Bucket(BucketError),
    /// Packages cannot be delivered as they should.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// The first level of topics is no name.
    #[error("the first level of topics is not usable")]
    Root(#[from] NameError),
}

impl Server {
    /// Starts everything. Devices and people are served when this returns.
    ///
    /// # Errors
    /// See [`StartError`]; nothing keeps running after an error.
    pub async fn start(config: Config) -> Result<RunningServer, StartError> {
        let data = |error| StartError::Data(config.data.clone(), error);
        refuse_exposed(&config)?;
        fs::create_dir_all(&config.data).map_err(data)?;
        let lock = lock(&config.data)?;
        let listener =
            trust::listen(config.http).map_err(|error| StartError::Http(config.http, error))?;
        let http_address = listener
            .local_addr()
            .map_err(|error| StartError::Http(config.http, error))?;
        let tls = config.tls.as_ref();
        let public_url = public_url(config.public_url.as_deref(), http_address, tls.is_some())?;
        let delivery = delivery(config.delivery, &config.packages, &public_url)?;
        let now = crate::clock::now();
        let trust = match tls {
            Some(tls) => {
                let names = server_names(&public_url, http_address.ip(), &tls.names);
                let trust = Trust::open(&config.data.join("tls"), tls, &names, now)?;
                Some(Arc::new(trust))
            }
            None => None,
        };

        let connector = match &config.mqtt {
            Mqtt::External(broker) if broker.tls => {
                Some(Connector::new(broker, &config.broker_tls)?)
            }
            Mqtt::External(_) | Mqtt::Embedded { .. } => None,
        };
        let home_connector = match &config.home_assistant {
            Some(home) if home.broker.tls => Some(Connector::new(&home.broker, &home.tls)?),
            Some(_) | None => None,
        };

        let receivers = match &config.webhook_ca {
            Some(ca) => trust::certificates(ca)?,
            None => Vec::new(),
        };

        let store = Store::open(&config.database, &config.data).await?;
        let client_id = format!("otaria-server-{}", store.instance().await?);
        let server = crate::id::random();
        let (teller, told) = match store.is_shared() {
            true => {
                let (teller, told) = Teller::new();
                (teller, Some(told))
            }
            false => (Teller::alone(), None),
        };
        let max = config.max_package_len;
        let packages = Packages::open(config.packages, &config.data, max, delivery).await;
        let packages = packages.map_err(|error| match error {
            OpenError::Io(error) => data(error),
            OpenError::Bucket(error) => StartError::Bucket(error),
        })?;
        if let Some(trust) = &trust {
            let (serials, devices) = store.revoked().await?;
            trust.load(serials, devices);
        }
        let entry = Entry {
            loopback: http_address.ip().is_loopback(),
            access: config.access,
            downloads: config.downloads,
        };
        let server_ca = trust
            .as_ref()
            .and_then(|trust| trust.server_ca().map(str::to_owned));
        let mut shared = Shared::new(store, packages, config.root, public_url, entry, trust);
        let private = config.webhooks_to_private;
        shared.webhooks = Sender::new(Targets { private }, &receivers);
        shared.neighbours = teller;
        let shared = Arc::new(shared);
        let kind = match config.mqtt {
            Mqtt::Embedded { .. } => Kind::Alone,
            Mqtt::External(_) => Kind::OneOfMany,
        };
        let membership = match shared.store.is_shared() {
            true => Some(Membership::begin(Arc::clone(&shared), kind, server.clone()).await??),
            false => None,
        };
        // At a broker outside it is renewed with the lanes.
        let keeper = match (&membership, kind) {
            (Some(membership), Kind::Alone) => Some(membership.keep()),
            (Some(_), Kind::OneOfMany) | (None, _) => None,
        };

        let moved = shared.note_address().await?;
        if moved > 0 {
            let address = &shared.public_url;
            tracing::warn!("{moved} devices are told that their packages are at {address} now");
        }

        let (broker, broker_url) = match config.mqtt {
            Mqtt::Embedded { listen } => {
                let mut tx = shared.store.write().await?;
                tx.all_offline().await?;
                tx.commit().await?;
                let files = config.data.join("broker");
                let broker =
                    Broker::start(listen, files, client_id.clone(), Arc::clone(&shared)).await?;
                let url = broker.own.clone();
                (Some(broker), url)
            }
            Mqtt::External(url) => (None, url),
        };
        let s = if shared.trust.is_some() { "s" } else { "" };
        if let Some(broker) = &broker {
            let host = host_of(&shared.public_url);
            let port = broker.address.port();
            // Set here and nowhere else.
            let _ = shared.broker_url.set(format!("mqtt{s}://{host}:{port}"));
        }
        let addresses = Addresses {
            http: http_address,
            page: format!("http{s}://{}", from_here(http_address)),
            mqtt: broker.as_ref().map(|broker| broker.address),
            broker: match &broker {
                Some(broker) => format!("mqtt{s}://{}", broker.address),
                None => broker_url.to_string(),
            },
            public_url: shared.public_url.clone(),
        };
        let listener = match &shared.trust {
            Some(trust) => TlsListener::start(listener, trust.https(), Arc::clone(trust)),
            None => plain_listener(listener),
        }
        .map_err(|error| StartError::Http(http_address, error))?;
        let first_admin = match config.access {
            Access::LogIn => admin_at_start(&shared, config.reset_admin, now).await?,
            Access::Open => None,
        };
        let home_assistant = config.home_assistant.map(|home| {
            let client_id = format!("{client_id}-ha");
            HomeAssistant::start(Arc::clone(&shared), home.broker, home_connector, client_id)
        });
        let way = Way {
            broker: broker_url,
            tls: connector.map(Arc::new),
            client_id,
            will: None,
        };
        let neighbours =
            told.map(|told| tokio::spawn(neighbours::run(Arc::clone(&shared), server, told)));
        let bus = match (&broker, &membership) {
            (None, Some(server)) => {
                shared.leads.send_replace(false);
                Bus::share(Arc::clone(&shared), way, Arc::clone(server))?
            }
            (None, None) => Bus::start(Arc::clone(&shared), way, &Topic::FROM_DEVICE, None)?,
            (Some(_), server) => {
                let lease = server.as_ref().map(|server| server.lease());
                Bus::start(Arc::clone(&shared), way, Broker::LEAVES, lease)?
            }
        };
        let http = tokio::spawn(serve(listener, Arc::clone(&shared)));
        let housekeeping = tokio::spawn(housekeeping(Arc::clone(&shared)));
        let packages = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move { shared.packages.watch(LOOK_EVERY).await }
        });
        let rollouts = tokio::spawn(rollout::runner::run(Arc::clone(&shared)));
        let webhooks = tokio::spawn(webhooks::run(Arc::clone(&shared)));
        Ok(RunningServer {
            addresses,
            first_admin,
            server_ca,
            shared,
            bus,
            home_assistant,
            broker,
            http,
            housekeeping,
            packages,
            rollouts,
            webhooks,
            neighbours,
            membership,
            keeper,
            _lock: lock,
        })
    }
}

impl RunningServer {
    /// Waits until the server is connected to its broker and receives reports.
    pub async fn connected(&self) {
        let mut connected = self.shared.broker_connected.subscribe();
        // The sender lives in `shared`, so this cannot fail.
        let _ = connected.wait_for(|connected| *connected).await;
    }

    /// Waits until this server must not go on, because others have taken over the database while it slept. Shut it down then.
    pub async fn taken(&self) -> Taken {
        match &self.membership {
            Some(membership) => membership.lost().await,
            None => std::future::pending().await,
        }
    }

    /// Ends everything in good order.
    pub async fn shutdown(mut self) {
        self.housekeeping.abort();
        self.packages.abort();
        self.rollouts.abort();
        self.webhooks.abort();
        if let Some(neighbours) = self.neighbours {
            neighbours.abort();
        }
        self.shared.stopping.send_replace(true);
        if tokio::time::timeout(DRAIN, &mut self.http).await.is_err() {
            self.http.abort();
        }
        if let Some(home_assistant) = self.home_assistant {
            home_assistant.stop().await;
        }
        self.bus.stop().await;
        if let Some(broker) = self.broker {
            broker.stop().await;
        }
        if let Some(keeper) = self.keeper {
            keeper.end().await;
        }
        if let Some(membership) = self.membership {
            membership.leave().await;
        }
        self.shared.store.close().await;
    }
}

impl std::fmt::Debug for RunningServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningServer")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// Other machines reach what is without TLS or without log-in only if that was said.
fn refuse_exposed(config: &Config) -> Result<(), StartError> {
    let mqtt = match config.mqtt {
        Mqtt::Embedded { listen } => Some(listen),
        Mqtt::External(_) => None,
    };
    let exposed = [Some(config.http), mqtt]
        .into_iter()
        .flatten()
        .find(|address| !address.ip().is_loopback());
    match (exposed, config.access, &config.tls) {
        _ if config.exposed => Ok(()),
        (None, _, _) | (_, Access::LogIn, Some(_)) => Ok(()),
        (Some(address), Access::Open, _) => Err(StartError::Exposed(
            address,
            "without log-in: whoever reaches it could publish, cancel and restart. Leave --open out, or say --insecure",
        )),
        (Some(address), Access::LogIn, None) => Err(StartError::Exposed(
            address,
            "without TLS: passwords could be read on the way, and anybody could play a device or declare what one is to \
             run. Say --tls, or --insecure if you trust the network",
        )),
    }
}

/// Keeps a second server off the same data. The lock ends with the process, however that ends.
fn lock(data: &Path) -> Result<File, StartError> {
    let failed = |error| StartError::Data(data.to_owned(), error);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(data.join("lock"))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Locked(data.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Where this machine reaches a listener of its own.
fn from_here(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

async fn serve(listener: TlsListener, shared: Arc<Shared>) {
    let mut stopping = shared.stopping.subscribe();
    let end = async move {
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    http::serve(listener, http::router(shared), end).await;
}

/// An error with its cause.
fn told(error: &PkiError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

async fn housekeeping(shared: Arc<Shared>) {
    let mut every = tokio::time::interval(PRUNE_EVERY);
    loop {
        every.tick().await;
        if let Err(error) = shared.store.prune().await {
            tracing::warn!("old history could not be removed: {error}");
        }
        if let Err(error) = shared.store.prune_access(crate::clock::now()).await {
            tracing::warn!("old sessions could not be removed: {error}");
        }
        if let Err(error) = shared.store.prune_deliveries(crate::clock::now()).await {
            tracing::warn!("old messages to webhooks could not be removed: {error}");
        }
        if let Err(error) = shared.store.prune_audit(crate::clock::now()).await {
            tracing::warn!("old entries of the audit trail could not be removed: {error}");
        }
        match shared
            .trust
            .as_ref()
            .map(|trust| trust.renew(crate::clock::now()))
        {
            Some(Ok(true)) => tracing::info!("new connections see the new certificate"),
            Some(Err(error)) => {
                tracing::warn!(
                    "the server's certificate could not be renewed: {}",
                    told(&error)
                );
            }
            Some(Ok(false)) | None => {}
        }
    }
}
