//! Hosts, links and TCP connections in virtual time.
//!
//! A [`Host`] hangs on the net by a link with a latency, a bandwidth and a loss rate, which all its connections share. Between two
//! hosts, latencies add up and both links are passed. What is modelled of TCP is what an update feels: segments, the receiver's
//! window (a reader that does not read stops the sender), acknowledgements that come a latency later, retransmission with
//! exponential backoff, half-close, resets, and peers that are silently gone. Not modelled: slow start and congestion control
//! (the link is the bottleneck, and its queue is never full), header bytes, and bandwidth used by acknowledgements.
//!
//! [`Host`] implements [`TcpConnect`](embedded_nal_async::TcpConnect) and [`Dns`](embedded_nal_async::Dns), so device code runs
//! on it unchanged; [`Host::bind`] is for the servers of a test.
//!
//! ```
//! use embedded_io_async::{Read, Write};
//! use embedded_nal_async::TcpConnect;
//! use otaria_sim::{net::{HostConfig, SimNet}, world::World};
//!
//! let world = World::new(1);
//! let net = SimNet::new(&world);
//! let server = net.host("server", [10, 0, 0, 1].into(), HostConfig::server());
//! let device = net.host("device", [10, 0, 0, 2].into(), HostConfig::device());
//!
//! let mut listener = server.bind(80)?;
//! world.spawn("server", async move {
//!     let mut stream = listener.accept().await;
//!     let _ = stream.write_all(b"hello").await;
//! });
//! let greeting = world.block_on(async {
//!     let mut stream = device.connect(([10, 0, 0, 1], 80).into()).await?;
//!     let mut greeting = [0; 5];
//!     stream.read_exact(&mut greeting).await.map(|()| greeting).map_err(|_| otaria_sim::net::NetError::Reset)
//! })?;
//! assert_eq!(&greeting, b"hello");
//! # Ok::<(), otaria_sim::net::NetError>(())
//! ```

mod faulty;
mod host;
mod listener;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;

use core::net::IpAddr;
use core::time::Duration;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use embedded_io_async::ErrorKind;

pub use faulty::{ConnectionFault, Faulty, FaultyError, FaultyLookup, FaultyStream};
pub use host::Host;
pub use listener::Listener;
pub use stream::SimStream;

use crate::world::Handle;
use host::HostInner;

/// Bytes that one segment carries at most: what Ethernet's 1500 leave after IPv4 and TCP headers.
pub const SEGMENT_LEN: usize = 1460;

/// Why a network call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The peer, or something between, has reset the connection.
    #[error("connection reset")]
    Reset,
    /// Retransmission was given up.
    #[error("timed out")]
    TimedOut,
    /// This side has closed the connection for writing.
    #[error("connection closed by this side")]
    Closed,
    /// The name is not known.
    #[error("unknown host name")]
    UnknownName,
    /// Somebody listens there already.
    #[error("address in use")]
    AddrInUse,
    /// The answer does not fit into the caller's buffer.
    #[error("buffer too small")]
    BufferTooSmall,
}

impl embedded_io_async::Error for NetError {
    fn kind(&self) -> ErrorKind {
        match self {
            NetError::Refused => ErrorKind::ConnectionRefused,
            NetError::Reset => ErrorKind::ConnectionReset,
            NetError::TimedOut => ErrorKind::TimedOut,
            NetError::Closed => ErrorKind::BrokenPipe,
            NetError::UnknownName => ErrorKind::NotFound,
            NetError::AddrInUse => ErrorKind::AddrInUse,
            NetError::BufferTooSmall => ErrorKind::OutOfMemory,
        }
    }
}

/// The link between a host and the net.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkConfig {
    /// Time from one end of the link to the other.
    pub latency: Duration,
    /// Payload bits that the link carries in a second, in each direction; 0 = no limit.
    pub bits_per_second: u64,
    /// The part of segments that is lost, from 0 to 1. A lost segment comes late by a retransmission time-out, and what was sent
    /// behind it waits for it.
    pub loss: f64,
    /// The first retransmission time-out. It doubles with each further loss of the same segment, up to a minute.
    pub retransmit: Duration,
}

impl LinkConfig {
    /// No latency, no limit, no loss.
    pub const IDEAL: LinkConfig = LinkConfig {
        latency: Duration::ZERO,
        bits_per_second: 0,
        loss: 0.0,
        retransmit: Duration::from_secs(1),
    };

    /// A device on middling Wi-Fi: 5 ms and 4 Mbit/s.
    pub const WIFI: LinkConfig = LinkConfig {
        latency: Duration::from_millis(5),
        bits_per_second: 4_000_000,
        ..LinkConfig::IDEAL
    };
}

/// What happens when a program drops a connection that it has not shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDrop {
    /// As an operating system does it: what was written is still sent, then the peer reads the end. If there is unread data, the
    /// peer is reset.
    Close,
    /// As embassy-net does it (0.9, `TcpSocket::drop`): the socket is removed at once. What was not sent yet is lost, the peer is
    /// not told, and is reset when it sends something.
    Vanish,
}

/// What a host's TCP and link are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostConfig {
    /// The link.
    pub link: LinkConfig,
    /// Receive window in bytes: what may be on its way to this host, or unread there, for each connection.
    pub window: usize,
    /// Send buffer in bytes: what may be written and not yet acknowledged, for each connection.
    pub send_buffer: usize,
    /// What dropping a connection does.
    pub on_drop: OnDrop,
    /// How long a segment is sent again and again before the connection fails. Linux: about a quarter of an hour.
    pub give_up: Duration,
}

impl HostConfig {
    /// A server on an ideal link.
    pub fn server() -> Self {
        HostConfig {
            link: LinkConfig::IDEAL,
            window: 65_535,
            send_buffer: 65_536,
            on_drop: OnDrop::Close,
            give_up: Duration::from_secs(924),
        }
    }

    /// A device with embassy-net on Wi-Fi: an 8 KiB window and a 4 KiB send buffer.
    pub fn device() -> Self {
        HostConfig {
            link: LinkConfig::WIFI,
            window: 8_192,
            send_buffer: 4_096,
            on_drop: OnDrop::Vanish,
            ..HostConfig::server()
        }
    }
}

/// All hosts of a world.
///
/// A clone is the same net.
#[derive(Clone)]
pub struct SimNet(Rc<NetInner>);

struct NetInner {
    world: Handle,
    /// A host lives as long as somebody has a handle, a listener or a connection of it.
    hosts: RefCell<BTreeMap<IpAddr, Weak<HostInner>>>,
    names: RefCell<BTreeMap<String, IpAddr>>,
}

impl SimNet {
    /// A net without hosts.
    pub fn new(world: &Handle) -> Self {
        SimNet(Rc::new(NetInner {
            world: world.clone(),
            hosts: RefCell::default(),
            names: RefCell::default(),
        }))
    }

    /// Adds a host under an address and a name. It is there as long as a handle, a listener or a connection of it is.
    ///
    /// # Panics
    /// If the address is taken.
    pub fn host(&self, name: &str, addr: IpAddr, config: HostConfig) -> Host {
        let inner = Rc::new(HostInner::new(&self.0, addr, config));
        let old = self
            .0
            .hosts
            .borrow_mut()
            .insert(addr, Rc::downgrade(&inner));
        assert!(
            old.is_none_or(|old| old.strong_count() == 0),
            "{addr} is taken"
        );
        self.name(name, addr);
        Host::new(inner)
    }

    /// Lets `name` stand for `addr`, whatever it stood for before.
    pub fn name(&self, name: &str, addr: IpAddr) {
        self.0
            .names
            .borrow_mut()
            .insert(name.to_ascii_lowercase(), addr);
    }

    /// Forgets a name.
    pub fn forget_name(&self, name: &str) {
        self.0.names.borrow_mut().remove(&name.to_ascii_lowercase());
    }
}
