//! TCP without TLS.

use core::net::{IpAddr, SocketAddr};

use embedded_io_async::{Error as _, ErrorKind};
use embedded_nal_async::{AddrType, Dns, TcpConnect};

use super::{Connect, ConnectError, Target, until};
use crate::board::{Clock, Instant, Network};

/// Plain TCP over the board's network stack.
#[derive(Debug)]
pub struct PlainTcp<'n, N> {
    net: &'n N,
}

impl<'n, N> PlainTcp<'n, N> {
    /// Opens connections over `net`.
    pub const fn new(net: &'n N) -> Self {
        Self { net }
    }
}

impl<N> Clone for PlainTcp<'_, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for PlainTcp<'_, N> {}

impl<N: Network> Connect for PlainTcp<'_, N> {
    type Connection<'a>
        = <N as TcpConnect>::Connection<'a>
    where
        Self: 'a;

    async fn connect<'a, K: Clock>(
        &'a self,
        clock: &K,
        deadline: Instant,
        target: &Target<'_>,
    ) -> Result<Self::Connection<'a>, ConnectError> {
        if target.tls {
            return Err(ConnectError::TlsUnavailable);
        }
        let ip = match literal(target.host) {
            Some(ip) => ip,
            None => until(
                clock,
                deadline,
                Dns::get_host_by_name(self.net, target.host, AddrType::Either),
            )
            .await
            .map_err(|_| ConnectError::NameTimeout)?
            .map_err(|_| ConnectError::NameNotFound)?,
        };
        let opening = TcpConnect::connect(self.net, SocketAddr::new(ip, target.port));
        match until(clock, deadline, opening).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(match error.kind() {
                // embassy-net has no word for a refusal: the peer's RST is all that it sees.
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => ConnectError::Refused,
                ErrorKind::TimedOut => ConnectError::Timeout,
                kind => ConnectError::Failed(kind),
            }),
            Err(_) => Err(ConnectError::Timeout),
        }
    }
}

/// The address, if the host is one: name servers are asked for names only.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
        .parse()
        .ok()
}
