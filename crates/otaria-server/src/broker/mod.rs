//! The embedded broker: mqtt5 (see docs/BROKER.md for the choice), configured for a fleet of devices.
//!
//! It keeps retained messages and sessions in `DATA/broker`. What only the server knows better is put right before the
//! first client can connect: nobody is online yet, and what is declared is what the store says.

mod doorman;
mod gate;
mod recorder;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mqtt5::QoS;
use mqtt5::broker::config::{BrokerConfig, StorageConfig};
use mqtt5::broker::storage::RetainedMessage;
use mqtt5::broker::{BrokerShutdownHandle, MqttBroker, ResourceLimits, StorageBackend as _};
use mqtt5::error::MqttError;
use mqtt5::packet::publish::PublishPacket;
use otaria_wire::topics::{self, NameError, Topic};
use tokio::task::JoinHandle;

use self::doorman::{Caller, Doorman, Server};
use self::gate::{Gate, Inside};
use self::recorder::Recorder;
use crate::access::secret;
use crate::bus::BrokerUrl;
use crate::shared::Shared;
use crate::store::StoreError;
use crate::trust::{self, TlsListener, plain_listener};

/// Connections at once; each costs some 33 KiB.
const MAX_CLIENTS: usize = 20_000;
/// Longest that a session outlives its connection: a week.
const MAX_SESSION_EXPIRY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Messages of devices are below 2 KiB.
const MAX_PACKET_LEN: usize = 64 * 1024;
/// Messages that wait for one client. The server's own session is such a client, and must not lose the presence of a
/// fleet that comes or goes all at once.
const MAX_QUEUED: (usize, usize) = (500_000, 256 * 1024 * 1024);

/// The broker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Most often another program has the port.
    #[error("cannot listen for MQTT on {0}")]
    Bind(SocketAddr, #[source] io::Error),
    /// Its files are damaged, or of another version.
    #[error("the broker cannot use its files in {}; moved away, they are made again from the database", .0.display())]
    Files(PathBuf, #[source] MqttError),
    /// Anything else.
    #[error("the MQTT broker does not start")]
    Start(#[source] MqttError),
    /// What is declared could not be read.
    #[error("cannot read the database")]
    Store(#[source] StoreError),
    /// The first level of topics is no name.
    #[error("the first level of topics is not usable")]
    Root(#[from] NameError),
}

/// The running broker.
pub(crate) struct Broker {
    /// Where devices find it.
    pub(crate) address: SocketAddr,
    /// How the server itself comes in. Holds a password.
    pub(crate) own: BrokerUrl,
    gate: Gate,
    shutdown: BrokerShutdownHandle,
    task: JoinHandle<()>,
}

impl Broker {
    /// Reports of devices that the broker does not store by itself.
    pub(crate) const LEAVES: &[Topic] = &[Topic::Presence];

    /// Starts it. `server` is the server's own client id. The library's own listener is where only this machine reaches
    /// it, for the server itself; devices come through the gate.
    pub(crate) async fn start(
        listen: SocketAddr,
        dir: PathBuf,
        server: String,
        shared: Arc<Shared>,
    ) -> Result<Self, BrokerError> {
        let bind = |error| BrokerError::Bind(listen, error);
        let outer = trust::listen(listen).map_err(bind)?;
        let outer = match &shared.trust {
            Some(trust) => TlsListener::start(outer, trust.mqtt(), Arc::clone(trust)),
            None => plain_listener(outer),
        }
        .map_err(bind)?;
        let address = outer.address();

        let password = secret::random();
        let doorman = Doorman::new(Server {
            root: shared.root.clone(),
            id: server.clone(),
            password: (*password).clone(),
        });
        let config = config(dir.clone(), server.clone(), &shared);
        let mut broker =
            MqttBroker::with_config(config.clone())
                .await
                .map_err(|error| match error {
                    MqttError::Io(_) => BrokerError::Files(dir.clone(), error),
                    error => BrokerError::Start(error),
                })?;
        let inside = Inside::new(&broker, config, doorman.with(Caller::Anybody, None));
        broker = broker.with_auth_provider(Arc::new(doorman));
        broker.resource_monitor().update_limits(ResourceLimits {
            max_connections: MAX_CLIENTS,
            // A whole fleet may come through one address translator.
            max_connections_per_ip: MAX_CLIENTS,
            max_connection_rate: u32::MAX,
            max_message_rate_per_client: 0,
            max_bandwidth_per_client: 0,
            ..ResourceLimits::default()
        });
        let inner = broker.local_addr().ok_or_else(|| {
            BrokerError::Start(MqttError::InvalidState(
                "the broker has no listener".to_owned(),
            ))
        })?;
        restore(&broker, &shared)
            .await
            .map_err(|error| match error {
                RestoreError::Name(error) => BrokerError::Root(error),
                RestoreError::Mqtt(error) => BrokerError::Files(dir, error),
                RestoreError::Store(error) => BrokerError::Store(error),
            })?;
        // Set here and nowhere else.
        let _ = shared.metrics.broker.set(broker.stats());
        let shutdown = broker.shutdown_handle();
        let mut ready = broker.ready_receiver();
        let task = tokio::spawn(async move {
            if let Err(error) = broker.run().await {
                tracing::error!("the MQTT broker has stopped: {error}");
            }
        });
        // An error here means that `run` has ended, and has said why.
        let _ = ready.wait_for(|ready| *ready).await;
        let mut own = BrokerUrl::from(inner);
        own.login = Some((server, (*password).clone()));
        Ok(Self {
            address,
            own,
            gate: Gate::open(outer, inside, MAX_CLIENTS),
            shutdown,
            task,
        })
    }

    /// Closes all connections and writes what is not on disk yet.
    pub(crate) async fn stop(self) {
        self.gate.close().await;
        self.shutdown.shutdown();
        let _ = self.task.await;
    }
}

fn config(dir: PathBuf, server: String, shared: &Arc<Shared>) -> BrokerConfig {
    let storage = StorageConfig::new()
        .with_base_dir(dir)
        .with_cleanup_interval(Duration::from_secs(300))
        .with_max_queued_messages_per_client(MAX_QUEUED.0)
        .with_max_queued_bytes_per_client(MAX_QUEUED.1);
    let mut config = BrokerConfig::new()
        .with_bind_address((Ipv4Addr::LOCALHOST, 0))
        .with_max_clients(MAX_CLIENTS)
        .with_session_expiry(MAX_SESSION_EXPIRY)
        .with_max_packet_size(MAX_PACKET_LEN)
        .with_storage(storage);
    config.sys_topics_enabled = false;
    config.event_handler = Some(Arc::new(Recorder::start(Arc::clone(shared), server)));
    config
}

enum RestoreError {
    Name(NameError),
    Mqtt(MqttError),
    Store(StoreError),
}

impl From<NameError> for RestoreError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

impl From<MqttError> for RestoreError {
    fn from(error: MqttError) -> Self {
        Self::Mqtt(error)
    }
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Puts the retained messages right.
async fn restore(broker: &MqttBroker, shared: &Shared) -> Result<(), RestoreError> {
    let Some(storage) = broker.storage() else {
        return Ok(());
    };
    let root = shared.root.as_str();
    // Whoever was connected when the broker last ran is not now, even if it ended without a word.
    let presences = topics::filter(root, Topic::Presence)?;
    for (topic, _) in storage.get_retained_messages(&presences).await? {
        let offline = retained(topic.clone(), r#"{"online":false}"#);
        storage.store_retained_message(&topic, offline).await?;
    }

    let mut missing: HashMap<String, String> = shared.store.wishes().await?.into_iter().collect();
    let declared = topics::filter(root, Topic::Desired)?;
    for (topic, message) in storage.get_retained_messages(&declared).await? {
        let Some((device, _)) = topics::parse(root, &topic) else {
            continue;
        };
        match missing.get(device) {
            Some(wish) if wish.as_bytes() == message.payload => drop(missing.remove(device)),
            // The store has heard of every declaration before the broker kept it (see `recorder`): its word is newer.
            Some(_) => {}
            // Taken back, but the broker's files did not get that far.
            None if shared.store.is_own_wish(device, &message.payload).await? => {
                storage.remove_retained_message(&topic).await?;
            }
            None => {}
        }
    }
    for (device, wish) in missing {
        let topic = topics::Topics::new(root, &device)?
            .name(Topic::Desired)
            .as_str()
            .to_owned();
        storage
            .store_retained_message(&topic, retained(topic.clone(), &wish))
            .await?;
    }
    Ok(())
}

fn retained(topic: String, payload: &str) -> RetainedMessage {
    let mut packet = PublishPacket::new(topic, payload.as_bytes().to_vec(), QoS::AtLeastOnce);
    packet.retain = true;
    RetainedMessage::new(packet)
}
