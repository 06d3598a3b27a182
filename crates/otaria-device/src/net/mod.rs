//! Opening connections, and waiting on them for no longer than allowed.
//!
//! HTTP and MQTT both speak over a [`Connect`]. [`PlainTcp`] is the one for `http://` and plain MQTT; [`Tls`](tls::Tls) lies over
//! another one, and opens connections with TLS and without. Nothing above them differs.

mod error;
mod link;
mod plain;
#[cfg(test)]
pub(crate) mod testing;
pub mod tls;

use core::future::Future;

use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};

use crate::board::{Clock, Duration, Instant};

pub use error::{ConnectError, LinkError};
pub(crate) use link::Link;
pub use plain::PlainTcp;
pub(crate) use plain::literal;

/// The far end of a connection that is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// A name, an IPv4 address, or an IPv6 address with or without its brackets.
    pub host: &'a str,
    /// The TCP port.
    pub port: u16,
    /// Whether the connection has to be TLS. A connector that cannot do that answers [`ConnectError::TlsUnavailable`] and
    /// never falls back to plain TCP.
    pub tls: bool,
}

/// Opens connections.
pub trait Connect {
    /// An open connection. Dropping it closes it.
    ///
    /// Its reads must be cancel-safe: a read that is dropped before it completes has taken no byte from the stream. Sockets of
    /// embassy-net are; an implementation whose own reads are not (TLS records, say) has to keep what it has read so far.
    /// Writes and flushes are dropped only when the connection is dropped with them.
    type Connection<'a>: Read + Write
    where
        Self: 'a;

    /// Looks the host up and connects to it.
    ///
    /// # Errors
    ///
    /// Names the step that failed. At `deadline`, by `clock`, it gives up.
    fn connect<'a, K: Clock>(
        &'a self,
        clock: &K,
        deadline: Instant,
        target: &Target<'_>,
    ) -> impl Future<Output = Result<Self::Connection<'a>, ConnectError>>;

    /// How much of the time that opening `connection` took was the TLS handshake; zero without TLS.
    fn handshake<'a>(connection: &Self::Connection<'a>) -> Duration
    where
        Self: 'a,
    {
        let _ = connection;
        Duration::ZERO
    }
}

impl<T: Connect> Connect for &T {
    type Connection<'a>
        = T::Connection<'a>
    where
        Self: 'a;

    fn connect<'a, K: Clock>(
        &'a self,
        clock: &K,
        deadline: Instant,
        target: &Target<'_>,
    ) -> impl Future<Output = Result<Self::Connection<'a>, ConnectError>> {
        T::connect(self, clock, deadline, target)
    }

    fn handshake<'a>(connection: &Self::Connection<'a>) -> Duration
    where
        Self: 'a,
    {
        T::handshake(connection)
    }
}

/// The time ran out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// What `future` returns, unless `deadline` comes first; then `future` is dropped.
///
/// If both are ready at once the result wins over the time.
pub(crate) async fn until<F: Future, K: Clock>(
    clock: &K,
    deadline: Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    match select(future, clock.sleep_until(deadline)).await {
        Either::First(output) => Ok(output),
        Either::Second(()) => Err(Elapsed),
    }
}
