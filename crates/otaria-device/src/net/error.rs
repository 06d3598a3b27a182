//! Why a connection could not be opened, or broke.

use core::fmt;

use embedded_io_async::ErrorKind;

use super::tls::TlsError;

/// Why a connection could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host's name has no address, or the name server says there is no such name.
    NameNotFound,
    /// The name server did not answer in time.
    NameTimeout,
    /// The host answered, but nothing listens on that port (or a firewall says so).
    Refused,
    /// The host did not answer in time.
    Timeout,
    /// The network has no way to the host, or another fault of the network.
    Failed(ErrorKind),
    /// TLS is asked for, but this build has no TLS connector.
    TlsUnavailable,
    /// The host answered, but no connection with TLS came of it.
    Tls(TlsError),
}

impl From<TlsError> for ConnectError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameNotFound => f.write_str("the host name could not be resolved"),
            Self::NameTimeout => f.write_str("the name server did not answer"),
            Self::Refused => f.write_str("connection refused: nothing listens on that port"),
            Self::Timeout => f.write_str("the host did not answer"),
            Self::Failed(kind) => write!(f, "no connection to the host: {kind}"),
            Self::TlsUnavailable => f.write_str("TLS is asked for, but this firmware has none"),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConnectError {}

/// How an open connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The other side closed it.
    Closed,
    /// Nothing could be read or written before the time ran out.
    Timeout,
    /// The network reports a fault (a reset, say).
    Broken(ErrorKind),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other side closed the connection"),
            Self::Timeout => f.write_str("the other side has gone silent"),
            Self::Broken(kind) => write!(f, "the connection broke: {kind}"),
        }
    }
}

impl core::error::Error for LinkError {}
