//! The broker's door: connections that the server has accepted itself, handed to mqtt5.
//!
//! mqtt5 would listen by itself, but for a few connections that wait at a time, where a fleet comes all at once when its
//! network is back; and its own TLS does not tell who a certificate names (docs/BROKER.md). A connection from here has
//! shaken hands already, and has a [`Doorman`] of its own who knows whose it is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::tls_acceptor::TlsStreamWrapper;
use mqtt5::broker::transport::BrokerTransport;
use mqtt5::broker::{BrokerConfig, DynamicStorage, MqttBroker, ResourceMonitor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::doorman::{Caller, Doorman};
use crate::trust::{Peer, Secured, TlsListener};

/// How long connections may take to end when the server does.
const LINGER: Duration = Duration::from_secs(5);

/// Clients that arrive at once; the others wait for their turn. mqtt5 compares each one that connects with all
/// subscriptions, and each filter with all retained messages: some milliseconds with 10,000 devices. Were they all let in
/// together, all would be answered at the end, when most have given up and come again. For the same reason nothing is
/// done for those that have.
const ARRIVING: usize = 32;
/// A client that has not subscribed and published by then counts as there.
const ARRIVAL: Duration = Duration::from_secs(2);

/// What a connection needs of the broker.
pub(super) struct Inside {
    config: Arc<BrokerConfig>,
    router: Arc<MessageRouter>,
    storage: Option<Arc<DynamicStorage>>,
    stats: Arc<BrokerStats>,
    monitor: Arc<ResourceMonitor>,
    doorman: Doorman,
    arrivals: Arc<Semaphore>,
}

impl Inside {
    /// `config` is that of the broker; each connection gets a copy of the doorman.
    pub(super) fn new(broker: &MqttBroker, config: BrokerConfig, doorman: Doorman) -> Self {
        Self {
            config: Arc::new(config),
            router: broker.router(),
            storage: broker.storage(),
            stats: broker.stats(),
            monitor: broker.resource_monitor(),
            doorman,
            arrivals: Arc::new(Semaphore::new(ARRIVING)),
        }
    }

    /// Serves a connection until it ends, its device is cut off, or the server ends.
    async fn serve(
        &self,
        stream: Secured,
        peer: Peer,
        arriving: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) {
        let (transport, caller, cut) = match (stream, peer.identity) {
            (Secured::Plain(stream), _) => {
                let nobody_cuts_it = CancellationToken::new();
                (
                    BrokerTransport::tcp(stream),
                    Caller::Anybody,
                    nobody_cuts_it,
                )
            }
            (Secured::Tls(guarded), Some(identity)) => {
                let (stream, cut) = guarded.into_parts();
                let caller = Caller::Device(identity.device, cut.clone());
                let transport = BrokerTransport::tls(TlsStreamWrapper::new(stream));
                (transport, caller, cut)
            }
            // The handshake required a certificate.
            (Secured::Tls(_), None) => return,
        };
        let doorman = Arc::new(self.doorman.with(caller, Some(arriving)));
        let (end, ended) = broadcast::channel(1);
        let handler = ClientHandler::new(
            transport,
            peer.address,
            Arc::clone(&self.config),
            Arc::clone(&self.router),
            Arc::clone(&doorman) as _,
            self.storage.clone(),
            Arc::clone(&self.stats),
            Arc::clone(&self.monitor),
            ended,
        );
        let mut run = std::pin::pin!(handler.run());
        let to_end = async {
            tokio::select! { () = cut.cancelled() => {} () = stop.cancelled() => {} }
        };
        let slow = async {
            tokio::time::sleep(ARRIVAL).await;
            doorman.arrived();
            std::future::pending::<Infallible>().await
        };
        let result = tokio::select! {
            result = &mut run => result,
            never = slow => match never {},
            () = to_end => {
                // It says so to the client, publishes its will and leaves the broker's lists in order.
                let _ = end.send(());
                run.await
            }
        };
        if let Err(error) = result {
            tracing::debug!("{}: {error}", peer.address);
        }
    }
}

/// The open door.
pub(super) struct Gate {
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Gate {
    /// Lets in who comes, `max` at once. With TLS, a certificate has been required of everybody by then.
    pub(super) fn open(mut listener: TlsListener, inside: Inside, max: usize) -> Self {
        let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
        let (stopped, tracker, inside) = (stop.clone(), connections.clone(), Arc::new(inside));
        connections.spawn(async move {
            let places = Arc::new(Semaphore::new(max));
            while let Some(Some((stream, peer))) =
                stopped.run_until_cancelled(listener.next()).await
            {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    tracing::warn!("{}: no place for another connection", peer.address);
                    continue;
                };
                let (inside, stopped) = (Arc::clone(&inside), stopped.clone());
                tracker.spawn(async move {
                    let turn = Arc::clone(&inside.arrivals).acquire_owned();
                    if let Some(Ok(arriving)) = stopped.run_until_cancelled(turn).await
                        && !stream.has_gone()
                    {
                        inside.serve(stream, peer, arriving, stopped).await;
                    }
                    drop(place);
                });
            }
        });
        Self { stop, connections }
    }

    /// Takes nobody any more, and ends what is open.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.connections.close();
        // A client that does not read must not keep the server from ending.
        let _ = tokio::time::timeout(LINGER, self.connections.wait()).await;
    }
}
