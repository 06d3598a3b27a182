//! Somebody between device and broker who reads every packet, and passes it on, changes it, swallows it, adds to it or hangs up.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use embedded_nal_async::TcpConnect;
use otaria_sim::net::{Host, SimStream};

use super::{Front, Visit};

pub(crate) const CONNECT: u8 = 1;
pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const SUBSCRIBE: u8 = 8;
pub(crate) const SUBACK: u8 = 9;
pub(crate) const PINGREQ: u8 = 12;
pub(crate) const PINGRESP: u8 = 13;

/// A packet on its way.
pub(crate) struct Packet<'a> {
    pub(crate) from_device: bool,
    /// MQTT's packet type.
    pub(crate) kind: u8,
    /// Number of the connection, from 0.
    pub(crate) connection: usize,
    /// Packets of this kind and direction before it, in all connections.
    pub(crate) before: usize,
    pub(crate) bytes: &'a [u8],
}

impl Packet<'_> {
    /// Whether it is of this kind and comes from the device.
    pub(crate) fn is_devices(&self, kind: u8) -> bool {
        self.from_device && self.kind == kind
    }

    /// Whether it is of this kind and comes from the broker.
    pub(crate) fn is_brokers(&self, kind: u8) -> bool {
        !self.from_device && self.kind == kind
    }
}

/// What is done about a packet.
pub(crate) enum Deed {
    /// It goes where it was going.
    Pass,
    /// These bytes go to the device.
    ToDevice(Vec<u8>),
    /// The connection is closed.
    Close,
    /// Nothing is read or sent any more, and nobody hangs up.
    Silence,
}

/// What is done about each packet. Nothing: it is lost.
pub(crate) type Meddling = fn(&Packet<'_>) -> Vec<Deed>;

/// A front that meddles and otherwise passes everything on to the broker that listens at `inner`.
pub(crate) fn meddling(host: &Host, inner: std::net::SocketAddr, with: Meddling) -> Front {
    let host = host.clone();
    let seen: Rc<RefCell<BTreeMap<(bool, u8), usize>>> = Rc::default();
    let first: Rc<RefCell<Option<usize>>> = Rc::default();
    Rc::new(move |visit| {
        let (host, seen) = (host.clone(), seen.clone());
        let first = *first.borrow_mut().get_or_insert(visit.number);
        Box::pin(async move {
            let Visit { stream, number, .. } = visit;
            let Ok(broker) = host.connect(inner).await else {
                return;
            };
            let mut between = Between {
                device: Peer::new(stream),
                broker: Peer::new(broker),
                connection: number - first,
                seen,
                with,
            };
            while between.step().await.is_some() {}
        })
    })
}

struct Peer {
    stream: SimStream,
    input: Vec<u8>,
}

impl Peer {
    fn new(stream: SimStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
        }
    }

    /// The next whole packet.
    fn packet(&mut self) -> Option<Vec<u8>> {
        let mut len = 0;
        for (at, byte) in self.input.iter().skip(1).take(4).enumerate() {
            len |= usize::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                let whole = 2 + at + len;
                return (self.input.len() >= whole).then(|| self.input.drain(..whole).collect());
            }
        }
        None
    }
}

struct Between {
    device: Peer,
    broker: Peer,
    connection: usize,
    seen: Rc<RefCell<BTreeMap<(bool, u8), usize>>>,
    with: Meddling,
}

impl Between {
    /// Moves on what has arrived; `None` when the connection is over.
    async fn step(&mut self) -> Option<()> {
        while let Some(packet) = self.device.packet() {
            self.meddle(true, &packet).await?;
        }
        while let Some(packet) = self.broker.packet() {
            self.meddle(false, &packet).await?;
        }
        let (mut from_device, mut from_broker) = ([0; 2048], [0; 2048]);
        let read = select(
            self.device.stream.read(&mut from_device),
            self.broker.stream.read(&mut from_broker),
        );
        match read.await {
            Either::First(Ok(count)) if count > 0 => {
                self.device.input.extend_from_slice(&from_device[..count]);
                Some(())
            }
            Either::Second(Ok(count)) if count > 0 => {
                self.broker.input.extend_from_slice(&from_broker[..count]);
                Some(())
            }
            _ => None,
        }
    }

    async fn meddle(&mut self, from_device: bool, bytes: &[u8]) -> Option<()> {
        let kind = bytes[0] >> 4;
        let before = {
            let mut seen = self.seen.borrow_mut();
            let count = seen.entry((from_device, kind)).or_default();
            *count += 1;
            *count - 1
        };
        let deeds = (self.with)(&Packet {
            from_device,
            kind,
            connection: self.connection,
            before,
            bytes,
        });
        for deed in deeds {
            match deed {
                Deed::Pass => {
                    let to = if from_device {
                        &mut self.broker
                    } else {
                        &mut self.device
                    };
                    to.stream.write_all(bytes).await.ok()?;
                }
                Deed::ToDevice(bytes) => self.device.stream.write_all(&bytes).await.ok()?,
                Deed::Close => {
                    // What was sent before arrives before the end does.
                    let _ = self.device.stream.flush().await;
                    return None;
                }
                Deed::Silence => std::future::pending().await,
            }
        }
        Some(())
    }
}
