//! MQTT over TLS. The session ends here, and the broker behind gets plain MQTT over loopback.
//!
//! mqtt5 has TLS of its own, but does not tell who the certificate names (docs/BROKER.md). So the gate does both: it
//! shakes hands, and gives each connection to the broker a local port that it has entered beforehand in [`Doors`] under
//! the certificate's device. The broker's [`Doorman`](super::doorman::Doorman) looks up from which port somebody comes. A
//! port that the gate holds cannot be anybody else's, so another program on this machine that finds the inner listener
//! is not in the list, and is refused.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use otaria_wire::topics::DeviceId;
use tokio::io::{AsyncWriteExt as _, copy, split};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::trust::{Secured, TlsListener};

/// How long the broker may take over what a device sent just before it closed.
const LINGER: Duration = Duration::from_secs(5);

/// Which local port belongs to which device.
#[derive(Debug, Default)]
pub(super) struct Doors(Mutex<HashMap<SocketAddr, DeviceId>>);

impl Doors {
    pub(super) fn behind(&self, address: SocketAddr) -> Option<DeviceId> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&address)
            .cloned()
    }

    fn open(self: &Arc<Self>, address: SocketAddr, device: DeviceId) -> Door {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address, device);
        Door {
            doors: Arc::clone(self),
            address,
        }
    }
}

/// An entry, as long as its port is ours.
struct Door {
    doors: Arc<Doors>,
    address: SocketAddr,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.doors
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.address);
    }
}

/// The running gate.
pub(super) struct Gate(JoinHandle<()>);

impl Gate {
    pub(super) fn start(
        mut listener: TlsListener,
        inner: SocketAddr,
        doors: Arc<Doors>,
        max: usize,
    ) -> Self {
        Self(tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(max));
            while let Some((stream, peer)) = listener.next().await {
                // The handshake required a certificate.
                let Some(identity) = peer.identity else {
                    continue;
                };
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    tracing::warn!("{}: no place for another connection", identity.device);
                    continue;
                };
                let doors = Arc::clone(&doors);
                tokio::spawn(async move {
                    if let Err(error) = pass(stream, inner, &doors, identity.device).await {
                        tracing::debug!("{}: {error}", peer.address);
                    }
                    drop(place);
                });
            }
        }))
    }

    pub(super) fn stop(&self) {
        self.0.abort();
    }
}

/// Passes on what both say, until one has ended.
async fn pass(
    outer: Secured,
    inner: SocketAddr,
    doors: &Arc<Doors>,
    device: DeviceId,
) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let door = doors.open(socket.local_addr()?, device);
    let stream: TcpStream = socket.connect(inner).await?;
    stream.set_nodelay(true)?;
    let (mut from_broker, mut to_broker) = stream.into_split();
    // Declared once more behind the stream, so that it goes first: an entry must not outlive the port that it names.
    let _door = door;
    let (mut from_device, mut to_device) = split(outer);
    let up = async {
        let ended = copy(&mut from_device, &mut to_broker).await;
        let _ = to_broker.shutdown().await;
        ended
    };
    let down = async {
        let ended = copy(&mut from_broker, &mut to_device).await;
        let _ = to_device.shutdown().await;
        ended
    };
    tokio::pin!(up, down);
    let ended = tokio::select! {
        ended = &mut down => ended,
        ended = &mut up => {
            // Closing with something unread would reset the connection, and take the device's last words with it.
            let _ = tokio::time::timeout(LINGER, down).await;
            ended
        }
    };
    ended.map(drop)
}
