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

use core::cell::{RefCell, RefMut};
use core::net::{IpAddr, Ipv4Addr};

use embassy_futures::select::{Either, select};
use embassy_net::Stack;
use embassy_net::dns::{DnsQueryType, Error as DnsError};
use embassy_net::tcp::{ConnectError as TcpConnectError, Error as TcpError, TcpSocket};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use otaria_device::board::{Clock, Instant};
use otaria_device::net::{Connect, ConnectError, Target};

/// Sockets that the network stack needs: the two connections, DHCP, name look-up, and one for time servers; or, while a person
/// sets the device up, two pages, DHCP's server, that of names, and name look-up, which has one place whether or not it is asked.
pub const SOCKETS: usize = 5;

/// The buffers of the two connections. Make one, in a `static`.
pub struct Sockets {
    broker_receives: [u8; 2 * 1024],
    broker_sends: [u8; 2 * 1024],
    packages_receive: [u8; 16 * 1024],
    packages_send: [u8; 1024],
}

impl Sockets {
    /// Buffers that nobody uses yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            broker_receives: [0; 2 * 1024],
            broker_sends: [0; 2 * 1024],
            packages_receive: [0; 16 * 1024],
            packages_send: [0; 1024],
        }
    }
}

impl Default for Sockets {
    fn default() -> Self {
        Self::new()
    }
}

/// Opens Otaria's connections. Each of its two sockets carries one after the other.
pub struct Network<'d> {
    stack: Stack<'d>,
    broker: RefCell<TcpSocket<'d>>,
    packages: RefCell<TcpSocket<'d>>,
    broker_at: (&'d str, u16),
}

impl<'d> Network<'d> {
    /// Over `stack`, with the buffers of `sockets`. Connections to `broker` get the small ones.
    #[must_use]
    pub fn new(stack: Stack<'d>, sockets: &'d mut Sockets, broker: (&'d str, u16)) -> Self {
        let Sockets {
            broker_receives,
            broker_sends,
            packages_receive,
            packages_send,
        } = sockets;
        let socket = |receive, send| RefCell::new(TcpSocket::new(stack, receive, send));
        Self {
            stack,
            broker: socket(broker_receives, broker_sends),
            packages: socket(packages_receive, packages_send),
            broker_at: broker,
        }
    }

    async fn look_up(&self, host: &str) -> Result<Ipv4Addr, ConnectError> {
        // An IPv6 address, in brackets or not.
        if host.contains(':') {
            return Err(ConnectError::Failed(ErrorKind::Unsupported));
        }
        // An IPv4 address comes back as it is, without a query.
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

impl<'d> Connect for Network<'d> {
    type Connection<'a>
        = Connection<'a, 'd>
    where
        Self: 'a;

    async fn connect<'a, K: Clock>(
        &'a self,
        clock: &K,
        deadline: Instant,
        target: &Target<'_>,
    ) -> Result<Connection<'a, 'd>, ConnectError> {
        if target.tls {
            return Err(ConnectError::TlsUnavailable);
        }
        if !self.stack.is_config_up() {
            return Err(ConnectError::Failed(ErrorKind::NotConnected));
        }
        let socket = if (target.host, target.port) == self.broker_at {
            &self.broker
        } else {
            &self.packages
        };
        let mut too_late = ConnectError::NameTimeout;
        // Safe to drop: embassy-net cancels the query, and the socket is closed with the connection.
        let opening = async {
            let address = self.look_up(target.host).await?;
            too_late = ConnectError::Timeout;
            let in_use = |_| ConnectError::Failed(ErrorKind::AddrInUse);
            let mut connection = Connection(socket.try_borrow_mut().map_err(in_use)?);
            // The connection before may still wait for the last word of its peer.
            connection.0.abort();
            match connection.0.connect((address, target.port)).await {
                Ok(()) => Ok(connection),
                // All that embassy-net says of a peer that does not want.
                Err(TcpConnectError::ConnectionReset) => Err(ConnectError::Refused),
                Err(TcpConnectError::TimedOut) => Err(ConnectError::Timeout),
                Err(TcpConnectError::NoRoute | TcpConnectError::InvalidState) => {
                    Err(ConnectError::Failed(ErrorKind::NotConnected))
                }
            }
        };
        match select(opening, clock.sleep_until(deadline)).await {
            Either::First(opened) => opened,
            Either::Second(()) => Err(too_late),
        }
    }
}

/// An open connection: to the broker, or to where packages come from.
pub struct Connection<'a, 'd>(RefMut<'a, TcpSocket<'d>>);

impl Drop for Connection<'_, '_> {
    fn drop(&mut self) {
        if self.0.may_recv() {
            // The peer would go on sending what nobody reads.
            self.0.abort();
        } else {
            self.0.close();
        }
    }
}

impl ErrorType for Connection<'_, '_> {
    type Error = TcpError;
}

impl Read for Connection<'_, '_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, TcpError> {
        self.0.read(buf).await
    }
}

impl Write for Connection<'_, '_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, TcpError> {
        self.0.write(buf).await
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        self.0.flush().await
    }
}
