//! Otaria's connections over embassy-net: one for the broker, one for packages, each with buffers of its own size.
//!
//! ```text
//!              receive    send
//!   broker     2 KiB      2 KiB    reports go out, a wish comes in
//!   packages   16 KiB     1 KiB    what has been acknowledged can wait here while flash is erased (150 ms a block, up to
//!                                  a second); and a window of 11 segments is what a round trip of 30 ms needs for 500 kB/s
//! ```
//!
//! IPv4 only: esp-radio's networks have it, and IPv6 would take another 20 KiB of flash. An IPv6 address in a URL is an
//! error of the connection, as is a name that has none but IPv6 addresses.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use embassy_futures::select::{Either, select};
use embassy_net::Stack;
use embassy_net::dns::{DnsQueryType, Error as DnsError};
use embassy_net::tcp::Error as TcpError;
use embassy_net::tcp::client::{TcpClient, TcpClientState, TcpConnection};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::TcpConnect;
use otaria_device::board::{Clock, Instant};
use otaria_device::net::{Connect, ConnectError, Target};

/// Bytes that the broker's connection sends and receives before somebody has to wait.
const BROKER: (usize, usize) = (2 * 1024, 2 * 1024);
/// The same of the connection that packages come over.
const PACKAGES: (usize, usize) = (1024, 16 * 1024);

/// Sockets that the network stack needs: the two connections, DHCP, name look-up; and one while a connection is replaced.
pub const SOCKETS: usize = 5;

type BrokerPool = TcpClientState<1, { BROKER.0 }, { BROKER.1 }>;
type PackagePool = TcpClientState<1, { PACKAGES.0 }, { PACKAGES.1 }>;

/// The buffers of the two connections. Make one, in a `static`.
pub struct Sockets {
    broker: BrokerPool,
    packages: PackagePool,
}

impl Sockets {
    /// Buffers that nobody uses yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            broker: TcpClientState::new(),
            packages: TcpClientState::new(),
        }
    }
}

impl Default for Sockets {
    fn default() -> Self {
        Self::new()
    }
}

/// Opens Otaria's connections.
pub struct Network<'d> {
    stack: Stack<'d>,
    broker: TcpClient<'d, 1, { BROKER.0 }, { BROKER.1 }>,
    packages: TcpClient<'d, 1, { PACKAGES.0 }, { PACKAGES.1 }>,
    broker_at: (&'d str, u16),
}

impl<'d> Network<'d> {
    /// Over `stack`, with the buffers of `sockets`. Connections to `broker` get the small ones.
    #[must_use]
    pub fn new(stack: Stack<'d>, sockets: &'d Sockets, broker: (&'d str, u16)) -> Self {
        Self {
            stack,
            broker: TcpClient::new(stack, &sockets.broker),
            packages: TcpClient::new(stack, &sockets.packages),
            broker_at: broker,
        }
    }

    async fn look_up(&self, host: &str) -> Result<Ipv4Addr, ConnectError> {
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        match literal.parse() {
            Ok(IpAddr::V4(address)) => return Ok(address),
            Ok(IpAddr::V6(_)) => return Err(ConnectError::Failed(ErrorKind::Unsupported)),
            Err(_) => {}
        }
        let found = self.stack.dns_query(host, DnsQueryType::A).await;
        let addresses = found.map_err(|error| match error {
            DnsError::InvalidName | DnsError::NameTooLong | DnsError::Failed => {
                ConnectError::NameNotFound
            }
        })?;
        // With IPv6 switched on by somebody else's features there may be other addresses.
        let first = addresses
            .iter()
            .find_map(|address| match IpAddr::from(*address) {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            });
        first.ok_or(ConnectError::NameNotFound)
    }
}

impl Connect for Network<'_> {
    type Connection<'a>
        = Connection<'a>
    where
        Self: 'a;

    async fn connect<'a, K: Clock>(
        &'a self,
        clock: &K,
        deadline: Instant,
        target: &Target<'_>,
    ) -> Result<Connection<'a>, ConnectError> {
        if target.tls {
            return Err(ConnectError::TlsUnavailable);
        }
        if !self.stack.is_config_up() {
            return Err(ConnectError::Failed(ErrorKind::NotConnected));
        }
        // Both are safe to drop: embassy-net cancels the query, and closes the socket.
        let looking = select(self.look_up(target.host), clock.sleep_until(deadline));
        let ip = match looking.await {
            Either::First(found) => found?,
            Either::Second(()) => return Err(ConnectError::NameTimeout),
        };
        let at = SocketAddr::new(IpAddr::V4(ip), target.port);
        let opening = async {
            if (target.host, target.port) == self.broker_at {
                self.broker.connect(at).await.map(Connection::Broker)
            } else {
                self.packages.connect(at).await.map(Connection::Packages)
            }
        };
        match select(opening, clock.sleep_until(deadline)).await {
            Either::First(Ok(connection)) => Ok(connection),
            // All that embassy-net says of a connection that did not come about.
            Either::First(Err(TcpError::ConnectionReset)) => Err(ConnectError::Refused),
            Either::Second(()) => Err(ConnectError::Timeout),
        }
    }
}

/// An open connection: to the broker, or to where packages come from.
#[allow(
    clippy::large_enum_variant,
    reason = "both are a socket and a pointer to its buffers"
)]
pub enum Connection<'a> {
    /// With the small buffers.
    Broker(TcpConnection<'a, 1, { BROKER.0 }, { BROKER.1 }>),
    /// With the large buffer.
    Packages(TcpConnection<'a, 1, { PACKAGES.0 }, { PACKAGES.1 }>),
}

impl ErrorType for Connection<'_> {
    type Error = TcpError;
}

impl Read for Connection<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, TcpError> {
        match self {
            Self::Broker(connection) => connection.read(buf).await,
            Self::Packages(connection) => connection.read(buf).await,
        }
    }
}

impl Write for Connection<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, TcpError> {
        match self {
            Self::Broker(connection) => connection.write(buf).await,
            Self::Packages(connection) => connection.write(buf).await,
        }
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        match self {
            Self::Broker(connection) => connection.flush().await,
            Self::Packages(connection) => connection.flush().await,
        }
    }
}
